"""A key that few processes ever need: made when it is first needed, in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from egress.runtime.threads import Offload

K = TypeVar("K")


class LazyKey(Generic[K]):
    """A key that is made once.

    @param make: makes it.
    @param in_thread: runs C{make}, which takes long.
    @ivar key: the key, once it is there.
    """

    def __init__(self, make: Callable[[], K], in_thread: Offload) -> None:
        self.key: K | None = None
        self._make = make
        self._in_thread = in_thread
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
            self._in_thread(self._make).addBoth(self._made)
        return waiting

    def _forget(self, waiting: Deferred[K]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def _made(self, result: K | Failure) -> None:
        waiting, self._waiting = self._waiting, []
        self._making = False
        if not isinstance(result, Failure):
            self.key = result
        for each in waiting:
            # One that is cancelled by another of them has been called.
            if not each.called:
                each.callback(result)
