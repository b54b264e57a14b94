"""The audit sink that writes to an audit store, in batches and in a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.interfaces import IAuditSink
from egress.model.record import ExchangeRecord
from egress.model.statistics import SpoolStats
from egress.runtime.threads import Offload
from egress.store.interfaces import IAuditStore, ISpooledStore, StoreError

QUEUE: Final = 20_000
"""The maximum number of records that wait to be written."""

_BATCH: Final = 1000
_BATCH_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 1.0
_PRUNE_SECONDS: Final = 60.0
_ROLL_UP_SECONDS: Final = 10.0
# The steps between two batches.
_ROLL_UP_STEPS: Final = 4
# The steps between two batches.
_PRUNE_STEPS: Final = 10
_CATCH_UP_STEPS: Final = 10
_LOG_EVERY: Final = 60.0
_CHECKPOINT_SECONDS: Final = 3600.0
_DAY: Final = 86400.0

_log = Logger()


@implementer(IAuditSink)
class StoreAudit:
    """An audit sink that writes to a store.

    Records that cannot be written wait for a second.  A record is lost if the queue is full, or if it cannot be written
    when the sink is closed.

    @param clock: schedules the batches.
    @param offload: runs a call in a thread, one after the other.
    @param store: the store, which this sink closes.
    @param now: returns the seconds since the epoch.
    @param days: the maximum age of records, in days.
    @param max_bytes: the maximum size of the store, in bytes.
    @param rolls_up: whether it updates the rollups of the store, which the web console reads.
    @ivar lost: the number of lost records.
    @ivar fault: the reason why the last records could not be written; C{None} if they were written.
    """

    def __init__(
        self,
        clock: IReactorTime,
        offload: Offload,
        store: IAuditStore,
        *,
        now: Callable[[], float],
        days: int,
        max_bytes: int,
        rolls_up: bool = False,
    ) -> None:
        self.lost = 0
        self.fault: str | None = None
        self._clock = clock
        self._offload = offload
        self._store = store
        self._now = now
        self._days = days
        self._max_bytes = max_bytes
        self._queue: deque[ExchangeRecord] = deque()
        # The records of the call that runs.
        self._batch: list[ExchangeRecord] = []
        self._scheduled: Any = None
        self._rolls_up = rolls_up
        self._prune_at = self._roll_up_at = clock.seconds()
        self._logged: float | None = None
        # Whether the end of a failure will be logged.
        self._reported = False
        self._checkpoint_at = clock.seconds()
        self._closed = False
        self._spooled: Any = store if ISpooledStore.providedBy(store) else None
        self._refused = self._late = 0
        self._waits = False
        if self._spooled is not None:
            # An earlier process can have left records.
            self._schedule(_BATCH_SECONDS)

    def write(self, record: ExchangeRecord) -> None:
        """Queue one record (L{IAuditSink.write})."""
        if self.waiting >= QUEUE:
            self._failed("the queue is full", 1)
            return
        self._queue.append(record)
        if self._scheduled is None and not self._batch:
            self._schedule(_BATCH_SECONDS)

    @property
    def waiting(self) -> int:
        """The number of records that wait to be written."""
        return len(self._queue) + len(self._batch)

    def spool_stats(self) -> SpoolStats | None:
        """Return the state of the spool; C{None} if the store has none."""
        store = self._spooled
        if store is None:
            return None
        return SpoolStats(
            reached=store.fault is None,
            records=store.waiting,
            size=store.waiting_bytes,
            oldest=store.oldest_waiting,
        )

    def _schedule(self, seconds: float) -> None:
        self._scheduled = self._clock.callLater(seconds, self._begin)

    def _begin(self) -> None:
        """Write the next records in the thread."""
        self._scheduled = None
        batch = self._batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
        self._offload(lambda: self._work(batch)).addCallbacks(self._written, self._not_written)

    def _work(self, batch: list[ExchangeRecord]) -> tuple[bool, list[str]]:
        """Write records, update the rollups, and delete old records, in the thread.

        @return: whether there are more records to write or to delete, and the errors of records that cannot be stored.
        """
        try:
            errors = append_all(self._store, batch)
        finally:
            # A full spool accepts no record before records of it are stored.
            spooled = self._spooled is not None and all(self._spooled.catch_up() for _ in range(_CATCH_UP_STEPS))
        more = self._maintain()
        # The server can be lost while old records are deleted, too.
        away = self._spooled is not None and self._spooled.fault is not None
        return spooled or more or away, errors

    def _maintain(self) -> bool:
        """Update the rollups, and delete old records; tell whether there are more records to delete."""
        if self._rolls_up and self._clock.seconds() >= self._roll_up_at:
            now = self._now()
            if not all(self._store.roll_up(now) for _ in range(_ROLL_UP_STEPS)):
                self._roll_up_at = self._clock.seconds() + _ROLL_UP_SECONDS
        if self._clock.seconds() < self._prune_at:
            return False
        before = self._now() - self._days * _DAY
        more = all(self._store.prune(before, self._max_bytes) for _ in range(_PRUNE_STEPS))
        if not more:
            self._prune_at = self._clock.seconds() + _PRUNE_SECONDS
        return more

    def _written(self, result: tuple[bool, list[str]]) -> None:
        more, errors = result
        self._batch = []
        self.fault = None
        if self._reported and not errors:
            self._reported = False
            _log.info("audit store: records are written again; {lost} records lost in total", lost=self.lost)
        if errors:
            self._failed(errors[0], len(errors))
        self._report_spool()
        if self._clock.seconds() >= self._checkpoint_at:
            self._checkpoint_at = self._clock.seconds() + _CHECKPOINT_SECONDS
            self._log_checkpoint()
        if not self._closed and (self._queue or more):
            self._schedule(0.0 if len(self._queue) >= _BATCH else _BATCH_SECONDS)

    def _not_written(self, failure: Failure) -> None:
        if self._closed:
            return
        self._report_spool()
        batch, self._batch = self._batch, []
        cancelled = isinstance(failure.value, CancelledError)
        if cancelled or isinstance(failure.value, StoreError):
            # The records remain first in the queue.  A store ignores records that it has.
            self._queue.extendleft(reversed(batch))
            if cancelled:
                # The threads were stopped: closing the sink writes the records.
                return
            self._failed(failure.getErrorMessage(), 0)
        else:
            # The records are stored: the error is that of the deletion of old ones.
            self._failed(failure.getErrorMessage(), 0)
        self._schedule(_RETRY_SECONDS)

    def close(self) -> None:
        """Write all records, and close the store (L{IAuditSink.close})."""
        self._closed = True
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        records = [*self._batch, *self._queue]
        self._batch = []
        self._queue.clear()
        try:
            # This waits for the call that runs in the thread.  The store ignores the records that it wrote.
            errors = append_all(self._store, records)
        except StoreError as error:
            self._fail_at_end(str(error), len(records))
        else:
            if errors:
                self._fail_at_end(errors[0], len(errors))
        self._log_checkpoint()
        self._store.close()

    def _log_checkpoint(self) -> None:
        """Log the last signed block: it shows later whether the newest records were removed."""
        checkpoint = getattr(self._store, "checkpoint", None)
        if checkpoint is not None:
            _log.info("audit store: checkpoint {checkpoint}", checkpoint=str(checkpoint))

    def _fail_at_end(self, reason: str, lost: int) -> None:
        # The log has the final number, however short ago an earlier one was logged.
        self._logged = None
        self._failed(reason, lost)

    def _report_spool(self) -> None:
        """Log the beginning and the end of a time in which records wait, and count records that the server refuses."""
        if self._spooled is None:
            return
        fault, waiting = self._spooled.fault, self._spooled.waiting
        if fault is not None and not self._waits:
            self._waits, self._late = True, self._spooled.late
            _log.warn("audit store: records wait in the spool: {reason}", reason=fault)
        elif self._waits and fault is None and not waiting:
            self._waits = False
            late = self._spooled.late - self._late
            _log.info("audit store: the server is reached again; {late} records of the spool are stored", late=late)
        if self._spooled.refused > self._refused:
            lost, self._refused = self._spooled.refused - self._refused, self._spooled.refused
            self._failed("the server cannot store records of the spool", lost)

    def _failed(self, reason: str, lost: int) -> None:
        self.lost += lost
        self.fault = reason
        now = self._clock.seconds()
        if self._logged is not None and now - self._logged < _LOG_EVERY:
            return
        self._logged, self._reported = now, True
        _log.error(
            "audit store: {reason}; {waiting} records wait, {lost} records lost in total",
            reason=reason,
            waiting=self.waiting,
            lost=self.lost,
        )


def append_all(store: IAuditStore, records: Sequence[ExchangeRecord]) -> list[str]:
    """Store records; if one of them cannot be stored, store the others.

    @return: the errors of records that cannot be stored.
    @raise StoreError: if the store cannot be used; the records that it has are ignored when they are stored again.
    """
    if not records:
        return []
    try:
        store.append(records)
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - such as an integer that is too large
        if len(records) == 1:
            return [str(error)]
        return [text for record in records for text in append_all(store, [record])]
    return []
