"""Tests for L{egress.console.throttle}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.console.throttle import FAILURE_SECONDS, Throttle


class ThrottleTests(SynchronousTestCase):
    """Failed sign-ins are delayed, and limited."""

    def test_limits(self) -> None:
        clock = Clock()
        throttle = Throttle(clock.callLater)
        sent: list[str] = []
        for _ in range(4):
            self.assertFalse(throttle.is_limited("a"))
            throttle.failed("a", lambda: sent.append("a"))
        self.assertTrue(throttle.is_limited("a"))
        self.assertFalse(throttle.is_limited("b"))
        self.assertEqual(sent, [])
        clock.advance(FAILURE_SECONDS)
        self.assertEqual(sent, ["a"] * 4)
        self.assertFalse(throttle.is_limited("a"))

    def test_total(self) -> None:
        throttle = Throttle(Clock().callLater)
        for number in range(16):
            throttle.failed(str(number), lambda: None)
        self.assertTrue(throttle.is_limited("another"))
