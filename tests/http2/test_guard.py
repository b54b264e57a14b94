"""Tests for L{egress.http2.guard}."""

from __future__ import annotations

from hyperframe.frame import DataFrame, HeadersFrame
from twisted.trial.unittest import SynchronousTestCase

from egress.http2.frames import CalmError
from egress.http2.guard import CAPACITY, DATA_BYTES, REFILL, Guard, is_bulk
from tests.http2.frames import PING, RST_STREAM


class GuardTests(SynchronousTestCase):
    """The budget of one connection."""

    def setUp(self) -> None:
        self.guard = Guard(100.0)

    def test_a_flood(self) -> None:
        for _ in range(CAPACITY // 2):
            self.guard.frame(PING, 100.0)
        error = self.assertRaises(CalmError, self.guard.frame, PING, 100.0)
        self.assertIn("PING", str(error))

    def test_unknown_frames(self) -> None:
        for _ in range(CAPACITY):
            self.guard.frame(99, 100.0)
        self.assertIn("unknown", str(self.assertRaises(CalmError, self.guard.frame, 99, 100.0)))

    def test_time(self) -> None:
        """A peer that is slow enough is never stopped, and the budget has a maximum."""
        for second in range(1000):
            for _ in range(REFILL // 5):
                self.guard.frame(RST_STREAM, 100.0 + second)
        self.guard.spend(CAPACITY, "all", 10_000.0)
        self.assertRaises(CalmError, self.guard.spend, 1, "one", 10_000.0)

    def test_progress(self) -> None:
        self.guard.earn(50)
        self.guard.spend(CAPACITY, "all", 100.0)
        self.guard.earn(10)
        self.guard.spend(10, "ten", 100.0)
        self.assertRaises(CalmError, self.guard.spend, 1, "one", 100.0)

    def test_bulk(self) -> None:
        for frame, bulk in (
            (DataFrame(1, data=b"x" * DATA_BYTES), True),
            (DataFrame(1, data=b"x"), False),
            (HeadersFrame(1, data=b"x" * DATA_BYTES), False),
        ):
            self.assertIs(is_bulk(frame), bulk)
