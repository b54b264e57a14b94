"""Tests for L{egress.tracing.export_queue}."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event

from twisted.trial.unittest import SynchronousTestCase

from egress.tracing import export_queue
from egress.tracing.export_queue import ExportFailed, ExportQueue
from egress.tracing.settings import QueueSettings


class ExportQueueTests(SynchronousTestCase):
    """The thread is run by the test, except where a test says so."""

    def setUp(self) -> None:
        self.threads: list[Callable[[], None]] = []
        self.batches: list[list[int]] = []
        self.reasons: list[str] = []
        self.closed = 0
        self.error: Exception | None = None
        self.patch(export_queue, "start_daemon", lambda target, name: self.threads.append(target))

    def queue(self, size: int = 5, batch: int = 2) -> ExportQueue[int]:
        return ExportQueue("test", QueueSettings(size, batch, 0.0), self.export, self.reasons.append)

    def export(self, batch: Sequence[int]) -> None:
        self.batches.append(list(batch))
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed += 1

    def test_batches(self) -> None:
        queue = self.queue()
        for number in range(5):
            queue.put(number)
        self.assertEqual((len(self.threads), self.batches), (1, []))
        queue.close(self.close)
        self.assertEqual(self.closed, 0)
        self.threads[0]()
        self.assertEqual((self.batches, self.closed, queue.dropped), ([[0, 1], [2, 3], [4]], 1, 0))

    def test_full(self) -> None:
        queue = self.queue()
        for number in range(8):
            queue.put(number)
        self.assertEqual(queue.dropped, 3)
        queue.close(self.close)
        self.threads[0]()
        self.assertEqual([each for batch in self.batches for each in batch], list(range(5)))

    def test_failures(self) -> None:
        """The thread continues after a failure."""
        queue = self.queue()
        for number in range(3):
            queue.put(number)
        queue.close(self.close)
        self.error = ExportFailed("no collector")
        self.threads[0]()
        self.assertEqual((self.reasons, queue.dropped, self.closed), (["no collector"] * 2, 3, 1))

    def test_an_error_without_text(self) -> None:
        queue = self.queue()
        queue.put(1)
        queue.close(self.close)
        self.error = KeyError()
        self.threads[0]()
        self.assertEqual(self.reasons, ["KeyError"])

    def test_closed(self) -> None:
        """Without an item there is no thread, and after the end there is none either."""
        queue = self.queue()
        queue.close(self.close)
        queue.put(1)
        self.assertEqual((self.closed, self.threads, queue.dropped), (1, [], 1))

    def test_no_thread(self) -> None:
        def fail(target: object, name: str) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(export_queue, "start_daemon", fail)
        queue = self.queue()
        queue.put(1)
        self.assertEqual(queue.dropped, 1)
        self.patch(export_queue, "start_daemon", lambda target, name: self.threads.append(target))
        queue.put(2)
        self.assertEqual((queue.dropped, len(self.threads)), (1, 1))


class ThreadTests(SynchronousTestCase):
    """With a real thread."""

    def test_a_full_batch_does_not_wait(self) -> None:
        exported, closed = Event(), Event()
        batches: list[Sequence[int]] = []

        def export(batch: Sequence[int]) -> None:
            batches.append(batch)
            exported.set()

        queue: ExportQueue[int] = ExportQueue("test", QueueSettings(5, 2, 600.0), export, lambda reason: None)
        queue.put(1)
        queue.put(2)
        self.assertTrue(exported.wait(30))
        queue.put(3)
        queue.close(closed.set)
        self.assertTrue(closed.wait(30))
        self.assertEqual(batches, [[1, 2], [3]])

    def test_an_export_that_hangs(self) -> None:
        """The queue neither grows nor blocks."""
        begun, release, closed = Event(), Event(), Event()

        def export(batch: Sequence[int]) -> None:
            begun.set()
            release.wait(30)

        queue: ExportQueue[int] = ExportQueue("test", QueueSettings(2, 1, 600.0), export, lambda reason: None)
        queue.put(0)
        self.assertTrue(begun.wait(30))
        for number in range(100):
            queue.put(number)
        self.assertEqual(queue.dropped, 98)
        queue.close(closed.set)
        self.assertFalse(closed.is_set())
        release.set()
        self.assertTrue(closed.wait(30))
