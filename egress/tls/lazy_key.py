"""A rarely needed key, which is generated in a thread when it is first requested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from egress.runtime.threads import Offload

K = TypeVar("K")


class LazyKey(Generic[K]):
    """A key that is generated once.

    @param make: generates it.
    @param in_thread: runs C{make}, which takes a long time.
    @ivar key: the key, after it is generated.
    """

    def __init__(self, make: Callable[[], K], in_thread: Offload) -> None:
        self.key: K | None = None
        self._make = make
        self._in_thread = in_thread
        self._waiting: list[Deferred[K]] = []
        self._generating = False

    def get(self) -> Deferred[K]:
        """Return the key, after it is generated.

        @return: fires with the key; cancelling it does not affect other callers.
        """
        if self.key is not None:
            return succeed(self.key)
        waiting: Deferred[K] = Deferred(self._forget)
        self._waiting.append(waiting)
        if not self._generating:
            self._generating = True
            self._in_thread(self._make).addBoth(self._generated)
        return waiting

    def _forget(self, waiting: Deferred[K]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def _generated(self, result: K | Failure) -> None:
        waiting, self._waiting = self._waiting, []
        self._generating = False
        if not isinstance(result, Failure):
            self.key = result
        for each in waiting:
            # A callback of an earlier Deferred may have cancelled this one.
            if not each.called:
                each.callback(result)
