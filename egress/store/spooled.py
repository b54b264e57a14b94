"""An audit store whose records wait in a spool while its server cannot be reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import RLock
from typing import Any, Final, Protocol

from zope.interface import implementer

from egress.model.policy_use import PolicyUse
from egress.model.record import ExchangeRecord
from egress.store.chain import Checkpoint
from egress.store.interfaces import IAuditStore, ISpooledStore, StoreError, StoreUnreachable
from egress.store.postgresql_partitions import day_start
from egress.store.spool import Spool

_BATCH: Final = 1000
# The seconds between two attempts to reach a server: at first, and at most.
_FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 5.0
_TAKE_OVER_SECONDS: Final = 60.0
_MAX_POLICIES: Final = 20


class EncodingStore(Protocol):
    """The store of a server, which stores records in the form in which they wait in a spool."""

    def encode(self, record: ExchangeRecord) -> bytes:
        """Return a record as a line."""

    def append_encoded(self, lines: Sequence[bytes]) -> None:
        """Store lines in one transaction; a line whose request id is stored already is ignored.

        @raise StoreError: if the server cannot be used.
        @raise ValueError: if one of them cannot be stored; then none of them is.
        """

    def connect(self) -> None:
        """Connect to the server.

        @raise StoreUnreachable: if it does not accept the connection.
        @raise StoreError: if its database cannot be used.
        """

    def release(self) -> None:
        """Close the connection until the next use."""


@implementer(ISpooledStore)
class SpooledStore:
    """Stores records, or lets them wait in a spool.

    @param store: the store of the server, an L{IAuditStore}.
    @param spool: the spool.
    @param seconds: returns the seconds of a monotonic clock.
    @ivar fault: the reason why records wait; C{None} if they do not.
    @ivar refused: the number of waiting records that the server could not store.
    @ivar late: the number of records that were stored after they had waited.
    @ivar oldest_waiting: the time of the oldest waiting record, in seconds since the epoch; C{None} if none waits.
    """

    def __init__(self, store: Any, spool: Spool, seconds: Callable[[], float]) -> None:
        self.fault: str | None = None
        self.refused = 0
        self.late = 0
        # Metrics read it at any time, also while a call in the thread has the lock.
        self.oldest_waiting: float | None = None
        self._store: Any = store
        self._encoding: EncodingStore = store
        self._spool = spool
        self._seconds = seconds
        self._delay = _FIRST_DELAY
        self._retry_at = 0.0
        self._take_over_at = 0.0
        self._closed = False
        self._policies: list[PolicyUse] = []
        self._lock = RLock()

    @property
    def waiting(self) -> int:
        """The number of waiting records (L{ISpooledStore.waiting})."""
        return self._spool.records

    @property
    def waiting_bytes(self) -> int:
        """Their size (L{ISpooledStore.waiting_bytes})."""
        return self._spool.size

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The last block that the store signed; C{None} if it signed none."""
        found: Checkpoint | None = getattr(self._store, "checkpoint", None)
        return found

    def check(self) -> None:
        """Connect to the server for a moment, to find errors that no later attempt can overcome.

        @raise StoreError: for such an error.
        """
        with self._lock:
            try:
                self._store.connect()
            except StoreUnreachable as error:
                self._failed(error)
            finally:
                self._store.release()

    def append(self, records: Sequence[ExchangeRecord]) -> None:
        """Store records, or let them wait; see L{IAuditStore.append}.

        @raise StoreError: if they cannot wait, either.
        """
        lines = list(map(self._encoding.encode, records))
        with self._lock:
            # The order of records remains: a record does not overtake waiting ones.
            if self.fault is None and not self._spool.records:
                try:
                    self._encoding.append_encoded(lines)
                    return
                except StoreError as error:
                    self._failed(error)
            self._spool.append(lines)
            if self.oldest_waiting is None:
                self.oldest_waiting = self._spool.oldest()

    def record_policies(self, uses: Sequence[PolicyUse]) -> None:
        """Add entries to the history of policies; they wait in memory while the server cannot be reached.

        A process that starts again adds the policy that it uses.
        """
        with self._lock:
            self._policies = [*self._policies, *uses][-_MAX_POLICIES:]
            if self.fault is None:
                try:
                    self._store_policies()
                except StoreError as error:
                    self._failed(error)

    def _store_policies(self) -> None:
        waiting, self._policies = self._policies, []
        try:
            if waiting:
                self._store.record_policies(waiting)
        except StoreError:
            self._policies = waiting
            raise

    def catch_up(self) -> bool:
        """Store a number of waiting records; see L{ISpooledStore.catch_up}."""
        with self._lock:
            now = self._seconds()
            if self._closed:
                return False
            if now < self._retry_at:
                return True
            try:
                if now >= self._take_over_at:
                    self._take_over_at = now + _TAKE_OVER_SECONDS
                    self._spool.take_over()
                if self.fault is not None:
                    self._encoding.connect()
                lines = self._spool.next_lines(_BATCH)
                if lines:
                    self._store_late(lines)
                    self._spool.remove(lines)
                self._store_policies()
            except (StoreError, OSError) as error:
                self._failed(error)
                return True
            finally:
                self.oldest_waiting = self._spool.oldest()
            self.fault = None
            self._delay = _FIRST_DELAY
            return bool(self._spool.records)

    def _store_late(self, lines: Sequence[bytes]) -> None:
        """Store waiting records, and count the records that the server refuses."""
        try:
            self._encoding.append_encoded(lines)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 - such as a number that is too large, or a damaged line
            if len(lines) == 1:
                self.refused += 1
                return
            middle = len(lines) // 2
            self._store_late(lines[:middle])
            self._store_late(lines[middle:])
        else:
            self.late += len(lines)

    def _failed(self, error: Exception) -> None:
        self.fault = str(error)
        self._retry_at = self._seconds() + self._delay
        self._delay = min(2 * self._delay, _LONGEST_DELAY)

    def close(self) -> None:
        """Close the store and the spool, in which records can remain (L{IAuditStore.close})."""
        with self._lock:
            self._closed = True
            self._spool.close()
            self._store.close()

    # -- the rest of an audit store

    def prune(self, before: float, max_bytes: int) -> bool:
        """Delete old records, unless the server cannot be reached; see L{IAuditStore.prune}.

        The server has a partition for each day, and drops whole partitions because of their age.
        """
        return self._maintain(lambda: self._store.prune(day_start(before), max_bytes))

    def roll_up(self, now: float) -> bool:
        """Add records to the rollups, unless the server cannot be reached; see L{IAuditStore.roll_up}."""
        return self._maintain(lambda: self._store.roll_up(now))

    def _maintain(self, call: Callable[[], bool]) -> bool:
        """Call a function that can also be called later, for which no record waits."""
        if self.fault is not None:
            return False
        try:
            return call()
        except StoreError as error:
            self._failed(error)
            return False

    def __getattr__(self, name: str) -> Any:
        """Return a method of the store that only reads."""
        if name in IAuditStore:
            return getattr(self._store, name)
        raise AttributeError(name)
