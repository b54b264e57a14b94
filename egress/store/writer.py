"""How the batches of an audit store are written: in a thread, or by a process of its own (L{ProcessWriter})."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from egress.runtime.threads import Offload
from egress.store.batches import BatchReport, SpoolReport, StoreBatches
from egress.store.record_codec import decode_entry


class BatchWriter(Protocol):
    """Writes batches of serialized records, one after the other."""

    def spool(self) -> SpoolReport | None:
        """Return the state of the spool before the first batch; C{None} if the store has none."""

    def prepare(self) -> None:
        """Start what a batch needs, if it does not run: a batch follows soon."""

    def write(self, records: Sequence[bytes]) -> Deferred[BatchReport]:
        """Write a batch; the batch before it is finished.

        @return: fires with the result; fails if the records must be written again.
        """

    def extend(self, records: Sequence[bytes]) -> bool:
        """Add records to the batch that is being written, if this brings them out of the memory of this process.

        The result of the batch is that of all its records.

        @return: whether they were added.
        """

    def close(self, records: Sequence[bytes]) -> BatchReport:
        """Wait for the end of the current batch, write the last records, and close the store."""


class ThreadWriter:
    """Writes batches in a thread of this process.

    This is for an application that contains a proxy: the interpreter of C{sys.executable} need not have the modules of
    the application, and it need not even be a Python interpreter.

    @param offload: runs a call in a thread, one after the other.
    @param batches: writes them.
    """

    def __init__(self, offload: Offload, batches: StoreBatches) -> None:
        self._offload = offload
        self._batches = batches

    def spool(self) -> SpoolReport | None:
        """Return the state of the spool; see L{BatchWriter.spool}."""
        return self._batches.spool()

    def prepare(self) -> None:
        """Do nothing: a thread starts immediately; see L{BatchWriter.prepare}."""

    def write(self, records: Sequence[bytes]) -> Deferred[BatchReport]:
        """Write a batch; see L{BatchWriter.write}."""
        return self._offload(lambda: self._batches.work(list(map(decode_entry, records))))

    def extend(self, records: Sequence[bytes]) -> bool:
        """Add no records: a thread has its records in this process, too; see L{BatchWriter.extend}."""
        return False

    def close(self, records: Sequence[bytes]) -> BatchReport:
        """Write the last records; see L{BatchWriter.close}."""
        return self._batches.finish(list(map(decode_entry, records)))
