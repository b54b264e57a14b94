"""Reloads of files while they are in use: in a thread, one reload after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.python.failure import Failure

from egress.runtime.threads import Offload

T = TypeVar("T")


class Reloader(Generic[T]):
    """Reads files, and then puts their content to use.

    The files are read when it is the reload's turn, so the latest content is used last.  Callers that request a reload
    which has not started yet share it.  There is no timeout: a thread cannot be cancelled, and the next thread would
    block as well.

    @param turns: the lock of all reloads whose order matters.
    @param read: reads the files in a thread; it shares no state with other threads.
    @param use: puts the complete result to use, in the reactor's thread; not called if reading fails.
    """

    def __init__(
        self, turns: DeferredLock, in_threads: Offload, read: Callable[[], T], use: Callable[[T], object]
    ) -> None:
        self._turns = turns
        self._in_threads = in_threads
        self._read = read
        self._use = use
        self._waiting: list[Deferred[None]] = []

    def begin(self) -> Deferred[None]:
        """Read the files as soon as no other reload is running.

        @return: fires when the new content is in use, or fails with the exception of C{read}.
        """
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        if len(self._waiting) == 1:
            self._turns.run(self._turn)
        return done

    def _turn(self) -> Deferred[None]:
        waiting, self._waiting = self._waiting, []

        def over(result: object) -> None:
            for done in waiting:
                if isinstance(result, Failure):
                    done.errback(result)
                else:
                    done.callback(None)

        return maybeDeferred(self._in_threads, self._read).addCallback(self._use).addBoth(over)
