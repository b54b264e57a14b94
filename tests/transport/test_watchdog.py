"""Tests for L{egress.transport.watchdog}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.transport.watchdog import Watchdog


class WatchdogTests(SynchronousTestCase):
    """One timer, whose deadline moves."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.expired: list[float] = []
        self.watchdog = Watchdog(self.clock, lambda: self.expired.append(self.clock.seconds()))

    def test_none_clears_the_deadline(self) -> None:
        self.watchdog.set(5)
        self.watchdog.set(None)
        self.clock.advance(10)
        self.assertEqual(self.expired, [])

    def test_expires(self) -> None:
        self.watchdog.set(5)
        self.clock.pump([1] * 10)
        self.assertEqual(self.expired, [5])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_later_deadline(self) -> None:
        self.watchdog.set(5)
        self.clock.advance(3)
        self.watchdog.set(5)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([1] * 10)
        self.assertEqual(self.expired, [8])

    def test_an_earlier_deadline(self) -> None:
        self.watchdog.set(50)
        self.watchdog.set(5)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([1] * 100)
        self.assertEqual(self.expired, [5])

    def test_cleared(self) -> None:
        self.watchdog.set(5)
        self.watchdog.clear()
        self.clock.pump([1] * 10)
        self.assertEqual((self.expired, self.clock.getDelayedCalls()), ([], []))

    def test_set_again_after_it_was_cleared(self) -> None:
        self.watchdog.set(5)
        self.watchdog.clear()
        self.clock.advance(2)
        self.watchdog.set(1)
        self.clock.pump([0.5] * 10)
        self.assertEqual(self.expired, [3])

    def test_set_again_when_it_expired(self) -> None:
        self.watchdog.set(5)
        self.clock.advance(5)
        self.watchdog.set(5)
        self.clock.advance(5)
        self.assertEqual(self.expired, [5, 10])

    def test_stopped(self) -> None:
        self.watchdog.stop()
        self.watchdog.set(5)
        self.watchdog.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
