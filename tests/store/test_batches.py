"""Tests for L{egress.store.batches}; L{tests.store.test_sink} has those of pruning and of the spool."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.store.batches import BatchReport, Retention, StoreBatches, merged
from egress.store.interfaces import StoreError
from tests.observability.records import ALLOWED
from tests.store.test_sink import NOW, MemoryStore, SpooledMemoryStore


class BatchTests(SynchronousTestCase):
    """The work for a batch has a result, whatever happens."""

    def setUp(self) -> None:
        self.use(MemoryStore())

    def use(self, store: Any) -> None:
        self.store = store
        self.batches = StoreBatches(
            store, seconds=Clock().seconds, now=lambda: NOW, retention=Retention(days=2, max_bytes=1000)
        )

    def work(self, *names: str) -> BatchReport:
        return self.batches.work([attrs.evolve(ALLOWED, request_id=name) for name in names])

    def test_written(self) -> None:
        self.store.checkpoint = "1:ab"
        self.assertEqual(self.work("a", "b"), BatchReport(checkpoint="1:ab"))
        self.assertEqual(self.store.stored, ["a", "b"])

    def test_unstorable_records(self) -> None:
        self.store.unstorable = {"b"}
        self.assertEqual(self.work("a", "b", "c"), BatchReport(errors=("int too large",)))
        self.assertEqual(self.store.stored, ["a", "c"])

    def test_error_without_a_text(self) -> None:
        def append(records: object) -> None:
            raise MemoryError

        self.patch(self.store, "append", append)
        self.assertEqual(self.work("a"), BatchReport(errors=("MemoryError",)))

    def test_failures(self) -> None:
        """Records are written again unless they are stored."""
        self.store.error = StoreError("disk full")
        self.assertEqual(self.work("a"), BatchReport(fault="disk full", again=True))
        self.store.error = None
        self.patch(self.store, "prune", lambda *_: 1 / 0)
        self.assertEqual(self.work("a"), BatchReport(fault="division by zero"))

    def test_finish(self) -> None:
        self.assertEqual(self.batches.finish([ALLOWED]), BatchReport())
        self.assertEqual((self.store.stored, self.store.closed), ([ALLOWED.request_id], True))
        self.use(MemoryStore())
        self.store.error = StoreError("disk full")
        self.assertEqual(self.batches.finish([ALLOWED]), BatchReport(fault="disk full", again=True))
        self.assertTrue(self.store.closed)

    def test_spool(self) -> None:
        """The result has the state of the spool, also after a failure."""
        self.assertIsNone(self.batches.spool())
        self.use(SpooledMemoryStore())
        self.store.fault = "away"
        report = self.work("a", "b")
        assert report.spool is not None
        self.assertEqual((report.more, report.spool.fault, report.spool.stats.records), (True, "away", 2))
        report = self.work("c", "d")
        report = self.work("e")
        assert report.spool is not None
        self.assertEqual((report.fault, report.again, report.spool.stats.records), ("the spool is full", True, 4))
        self.assertEqual(self.batches.spool(), report.spool)


class MergedTests(SynchronousTestCase):
    """The results of the parts of a batch are one result."""

    def test_merged(self) -> None:
        one = BatchReport(errors=("a",), more=True, checkpoint="1:ab")
        self.assertEqual(merged([(3, one)]), one)
        two, three = BatchReport(fault="full", again=True), BatchReport(fault="away", errors=("b",))
        expected = BatchReport(fault="full", again=True, written=3, errors=("a",), checkpoint="1:ab")
        self.assertEqual(merged([(3, one), (4, two), (5, two)]), expected)
        found = merged([(3, three), (4, BatchReport(checkpoint="2:cd"))])
        self.assertEqual(found, BatchReport(fault="away", errors=("b",), checkpoint="2:cd"))
