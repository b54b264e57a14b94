"""Files that are read anew while others are served: in a thread, one reading after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.python.failure import Failure

from egress.runtime.threads import Offload

T = TypeVar("T")


class Reloader(Generic[T]):
    """Reads files, and then has what was in them used.

    The files are looked at when it is its turn, so what was in them last is used last.  Whoever asks for a reading
    that has not begun shares it.  There is no deadline: a thread cannot be given up, and the next one would not get
    further.

    @param turns: is the same for all whose order matters.
    @param read: reads them, in a thread: it shares nothing with others.
    @param use: takes what was read, in the reactor's time; it is all there, or this is not called.
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
        """Read the files as soon as nobody else does.

        @return: fires when what was in them is in use, or fails with what C{read} raises.
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
