"""Tests for L{egress.transport.write_batch}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.transport.write_batch import WriteBatch


class Broken(Exception):
    """The write fails."""


class WriteBatchTests(SynchronousTestCase):
    """Writes of several connections."""

    def setUp(self) -> None:
        self.batch = WriteBatch()
        self.written: list[str] = []

    def first(self) -> None:
        self.written.append("first")

    def second(self) -> None:
        self.written.append("second")

    def broken(self) -> None:
        raise Broken

    def test_no_batch(self) -> None:
        """A write is made immediately."""
        self.batch.add(self.first)
        self.batch.add(self.first)
        self.assertEqual(self.written, ["first", "first"])

    def test_batch(self) -> None:
        """Each connection is written to once, at the end."""
        with self.batch:
            self.batch.add(self.first)
            self.batch.add(self.second)
            self.batch.add(self.first)
            self.assertEqual(self.written, [])
        self.assertEqual(self.written, ["first", "second"])

    def test_nested(self) -> None:
        """Only the end of the outermost block writes."""
        with self.batch:
            with self.batch:
                self.batch.add(self.first)
            self.assertEqual(self.written, [])
        self.assertEqual(self.written, ["first"])

    def test_a_write_causes_a_write(self) -> None:
        """It is made at once: the block is over."""

        def both() -> None:
            self.batch.add(self.first)
            self.second()

        with self.batch:
            self.batch.add(both)
        self.assertEqual(self.written, ["first", "second"])
        with self.batch:
            self.assertEqual(self.written, ["first", "second"])
        self.assertEqual(self.written, ["first", "second"])

    def test_an_error_in_the_block(self) -> None:
        """What was added before is written."""
        with self.assertRaises(Broken), self.batch:
            self.batch.add(self.first)
            raise Broken
        self.assertEqual(self.written, ["first"])

    def test_an_error_of_a_write(self) -> None:
        """It is logged, and does not stop the other writes."""
        with self.batch:
            self.batch.add(self.broken)
            self.batch.add(self.first)
        self.assertEqual(self.written, ["first"])
        self.assertEqual(len(self.flushLoggedErrors(Broken)), 1)
