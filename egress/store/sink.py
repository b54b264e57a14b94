"""The audit sink that queues the records of an audit store, and has them written in batches."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any, Final

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.interfaces import IAuditSink
from egress.model.policy_use import PolicyUse
from egress.model.record import ExchangeRecord
from egress.model.statistics import SpoolStats
from egress.store.batches import BatchReport
from egress.store.record_codec import encode_policy, encode_record
from egress.store.writer import BatchWriter

QUEUE: Final = 20_000
"""The maximum number of records that wait to be written."""

_BATCH: Final = 1000
_BATCH_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 1.0
_LOG_EVERY: Final = 60.0
_CHECKPOINT_SECONDS: Final = 3600.0
# The time in which a writer that has just been started must have written the first batch.
_START_SECONDS: Final = 5.0

_log = Logger()


@implementer(IAuditSink)
class StoreAudit:
    """An audit sink that writes to a store.

    The queue has serialized records: they take less memory than objects, and no time of the garbage collector.

    Records that cannot be written wait for a second.  A record is lost if the queue is full, or if it cannot be written
    when the sink is closed.

    @param clock: schedules the batches.
    @param writer: writes the batches; this sink closes it.
    @param is_awaited: whether the proxy is ready only when the writer of a server has started.
    @ivar lost: the number of lost records.
    @ivar fault: the reason why the last records could not be written; C{None} if they were written.
    """

    def __init__(self, clock: IReactorTime, writer: BatchWriter, *, is_awaited: bool = True) -> None:
        self.lost = 0
        self.fault: str | None = None
        self._clock = clock
        self._writer = writer
        self._queue: deque[bytes] = deque()
        # The records of the batch that is being written, and whether there is one: it can have no record.
        self._batch: list[bytes] = []
        self._is_busy = False
        self._scheduled: Any = None
        self._logged: float | None = None
        # Whether the end of a failure will be logged.
        self._reported = False
        self._checkpoint_at = clock.seconds()
        self._checkpoint: str | None = None
        self._closed = False
        self._spool = writer.spool()
        self._refused = self._late = 0
        self._waits = False
        self._begun_at = self._starts_until = clock.seconds()
        if self._spool is not None:
            # An earlier process can have left records.  And the writer is ready before many records wait for it.
            self._schedule(0.0)
            if is_awaited and self._spool.fault is None:
                self._starts_until += _START_SECONDS

    def write(self, record: ExchangeRecord) -> None:
        """Queue one record (L{IAuditSink.write})."""
        queue = self._queue
        if len(queue) + len(self._batch) >= QUEUE:
            self._failed("the queue is full", 1)
            return
        queue.append(encode_record(record))
        if self._scheduled is None:
            self._writer.prepare()
            self._schedule(_BATCH_SECONDS)

    def write_policy(self, use: PolicyUse) -> None:
        """Queue an entry for the history of policies, which is written with the next record.

        So an idle proxy needs no writer process.  Without space in the queue, the entry is left out.
        """
        if len(self._queue) + len(self._batch) < QUEUE:
            self._queue.append(encode_policy(use))

    @property
    def waiting(self) -> int:
        """The number of records that wait to be written."""
        return len(self._queue) + len(self._batch)

    @property
    def note(self) -> str | None:
        """Which records are not in the store; C{None} if all are."""
        if self.fault is not None:
            return f"the audit store cannot be written: {self.fault}"
        spool = self._spool
        if spool is None or not spool.stats.records:
            return None
        reason = "" if spool.fault is None else f": {spool.fault}"
        return f"{spool.stats.records} audit records wait in the spool{reason}"

    @property
    def is_starting(self) -> bool:
        """Whether records wait in memory because the writer has just been started, and has not written a batch yet.

        This is for a store on a server that was reached; it is for a few seconds at most.
        """
        return self._clock.seconds() < self._starts_until

    def spool_stats(self) -> SpoolStats | None:
        """Return the state of the spool; C{None} if the store has none."""
        return None if self._spool is None else self._spool.stats

    def _schedule(self, seconds: float) -> None:
        self._scheduled = self._clock.callLater(seconds, self._begin)

    def _begin(self) -> None:
        """Write the next records, or add them to the batch that is being written."""
        self._scheduled = None
        if self._is_busy:
            # Another writer recognizes the records of one batch if it gets them again.
            records = list(islice(self._queue, _BATCH - len(self._batch)))
            if records and self._writer.extend(records):
                self._batch += records
                for _ in records:
                    self._queue.popleft()
            return
        self._is_busy, self._begun_at = True, self._clock.seconds()
        batch = self._batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
        self._writer.write(batch).addCallbacks(self._written, self._not_written)

    def _written(self, report: BatchReport) -> None:
        if self._closed:
            return
        batch = self._finished()
        self._examine(report)
        if report.fault is not None:
            if report.again:
                self._queue.extendleft(reversed(batch[report.written :]))
            self._failed(report.fault, len(report.errors))
            self._schedule(_RETRY_SECONDS)
            return
        self.fault = None
        if self._reported and not report.errors:
            self._reported = False
            _log.info("audit store: records are written again; {lost} records lost in total", lost=self.lost)
        if report.errors:
            self._failed(report.errors[0], len(report.errors))
        self._count_refused()
        if self._clock.seconds() >= self._checkpoint_at:
            self._checkpoint_at = self._clock.seconds() + _CHECKPOINT_SECONDS
            self._log_checkpoint()
        if self._queue:
            # Records that have waited for a slow batch wait no longer.
            seconds = self._begun_at + _BATCH_SECONDS - self._clock.seconds()
            self._schedule(0.0 if len(self._queue) >= _BATCH else max(0.0, seconds))
        elif report.more:
            self._schedule(_BATCH_SECONDS)

    def _not_written(self, failure: Failure) -> None:
        if self._closed:
            return
        # The records remain first in the queue.  A store ignores records that it has.
        batch = self._finished()
        self._queue.extendleft(reversed(batch))
        if not isinstance(failure.value, CancelledError):
            self._failed(failure.getErrorMessage(), 0)
            self._schedule(_RETRY_SECONDS)
        # Otherwise, the threads were stopped: closing the sink writes the records.

    def _finished(self) -> list[bytes]:
        """Return the records of the batch that has ended."""
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        batch, self._batch = self._batch, []
        self._is_busy, self._starts_until = False, self._clock.seconds()
        return batch

    def close(self) -> None:
        """Write all records, and close the store (L{IAuditSink.close})."""
        self._closed = True
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        records = [*self._batch, *self._queue]
        self._batch = []
        self._queue.clear()
        # This waits for the batch that is being written.  The store ignores the records that it wrote.
        report = self._writer.close(records)
        self._checkpoint = report.checkpoint or self._checkpoint
        # The log has the final number, however short ago an earlier one was logged.
        if report.fault is not None:
            self._logged = None
            self._failed(report.fault, len(records) if report.again else 0)
        elif report.errors:
            self._logged = None
            self._failed(report.errors[0], len(report.errors))
        self._log_checkpoint()

    def _log_checkpoint(self) -> None:
        """Log the last signed block: it shows later whether the newest records were removed."""
        if self._checkpoint is not None:
            _log.info("audit store: checkpoint {checkpoint}", checkpoint=self._checkpoint)

    def _examine(self, report: BatchReport) -> None:
        """Take over the state of the store, and log the beginning and the end of a time in which records wait."""
        self._checkpoint = report.checkpoint or self._checkpoint
        self._spool = spool = report.spool or self._spool
        if spool is None:
            return
        if spool.fault is not None and not self._waits:
            self._waits, self._late = True, spool.late
            _log.warn("audit store: records wait in the spool: {reason}", reason=spool.fault)
        elif self._waits and spool.fault is None and not spool.stats.records:
            self._waits = False
            # The counter of another process begins at zero.
            late = max(0, spool.late - self._late)
            _log.info("audit store: the server is reached again; {late} records of the spool are stored", late=late)

    def _count_refused(self) -> None:
        """Count the records of the spool that the server could not store."""
        if self._spool is None:
            return
        refused, self._refused = self._spool.refused - self._refused, self._spool.refused
        if refused > 0:
            self._failed("the server cannot store records of the spool", refused)

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
