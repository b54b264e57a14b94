"""Tests for L{egress.store.writer}."""

from __future__ import annotations

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.store.batches import BatchReport, Retention, StoreBatches
from egress.store.record_codec import encode_record
from egress.store.writer import BatchWriter, ThreadWriter
from tests.observability.records import ALLOWED
from tests.store.test_sink import NOW, MemoryStore, SpooledMemoryStore
from tests.threads import Later


class ThreadWriterTests(SynchronousTestCase):
    """Batches are written in a thread."""

    def setUp(self) -> None:
        self.later = Later()
        self.store = MemoryStore()
        self.writer = self.writer_of(self.store)

    def writer_of(self, store: MemoryStore) -> BatchWriter:
        return ThreadWriter(
            self.later, StoreBatches(store, seconds=Clock().seconds, now=lambda: NOW, retention=Retention(2, 1000))
        )

    def test_write(self) -> None:
        done = self.writer.write([encode_record(attrs.evolve(ALLOWED, request_id=name)) for name in "ab"])
        self.assertEqual(self.store.stored, [])
        self.later.begun.pop()()
        self.assertEqual((self.successResultOf(done), self.store.stored), (BatchReport(), ["a", "b"]))

    def test_memory(self) -> None:
        """A thread needs no start, and keeps records in the memory of the same process."""
        self.writer.prepare()
        self.assertFalse(self.writer.extend([encode_record(ALLOWED)]))
        self.assertEqual((self.later.begun, self.store.stored), ([], []))

    def test_close(self) -> None:
        self.assertEqual(self.writer.close([encode_record(ALLOWED)]), BatchReport())
        self.assertEqual((self.store.stored, self.store.closed), ([ALLOWED.request_id], True))

    def test_spool(self) -> None:
        self.assertIsNone(self.writer.spool())
        self.assertIsNotNone(self.writer_of(SpooledMemoryStore()).spool())
