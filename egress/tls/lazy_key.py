"""A key that few processes ever need: made at the first need, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

K = TypeVar("K")


class LateKey(Generic[K]):
    """A key that is made once.

    @param make: makes it.
    @param reactor: those that wait are told in its thread.
    @ivar key: the key, once it is there.
    """

    def __init__(self, make: Callable[[], K], reactor: Any) -> None:
        self.key: K | None = None
        self._make = make
        self._reactor = reactor
        self._waiting: list[Deferred[K]] = []
        self._making = False

    def get(self) -> Deferred[K]:
        """Wait for the key.

        @return: fires with it; cancelling it leaves the others waiting.
        """
        if self.key is not None:
            return succeed(self.key)
        waiting: Deferred[K] = Deferred(self._forget)
        self._waiting.append(waiting)
        if not self._making:
            self._making = True
            # Not one of the reactor's threads, which may all wait for name servers.
            threading.Thread(target=self._work, name="a leaf key", daemon=True).start()
        return waiting

    def _forget(self, waiting: Deferred[K]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def _work(self) -> None:
        result: Any
        try:
            result = self._make()
        except Exception:  # noqa: BLE001 - it is told to those that wait
            result = Failure()  # type: ignore[no-untyped-call]
        self._reactor.callFromThread(self._made, result)

    def _made(self, result: K | Failure) -> None:
        waiting, self._waiting = self._waiting, []
        self._making = False
        if not isinstance(result, Failure):
            self.key = result
        for each in waiting:
            # One that is cancelled by another of them has been called.
            if not each.called:
                each.callback(result)
