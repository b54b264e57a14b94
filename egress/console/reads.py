"""Reads of the audit store in threads of their own, so that the console delays neither the proxy nor its writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from egress.runtime.threads import Offload
from egress.store.filter_language import Filter
from egress.store.interfaces import IAuditStore

_T = TypeVar("_T")


class StoreReads:
    """Reads of one audit store.  Every method returns a Deferred, which fails with C{StoreError}.

    @param connect: opens the store to read it; the first read calls it, because the proxy creates the store.
    @param in_thread: runs one call after the other in a thread.
    """

    def __init__(self, connect: Callable[[], IAuditStore], in_thread: Offload) -> None:
        self._connect = connect
        self._in_thread = in_thread
        self._store: IAuditStore | None = None

    def call(self, read: Callable[[IAuditStore], _T]) -> Deferred[_T]:
        """Run a function of the store in the thread."""
        return self._in_thread(lambda: read(self._opened()))

    def _opened(self) -> IAuditStore:
        # Only the thread of the reads calls this.
        if self._store is None:
            self._store = self._connect()
        return self._store

    def search(self, given: Filter, limit: int) -> Deferred[list[Mapping[str, Any]]]:
        """Find records, the newest first."""
        return self.call(lambda store: list(store.search(given, limit)))

    def statistics(self, given: Filter, top: int) -> Deferred[Mapping[str, Any]]:
        """Count records; see L{IAuditStore.statistics}."""
        return self.call(lambda store: store.statistics(given, top))

    def stop(self) -> Deferred[None]:
        """Close the store, after the reads in progress."""
        return self._in_thread(self._close)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
