"""Tests for L{egress.tls.lazy_key}."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from egress.tls.lazy_key import LazyKey
from tests.threads import Later


class LazyKeyTests(SynchronousTestCase):
    """A key that is generated once."""

    def setUp(self) -> None:
        self.threads = Later()
        self.fault: Exception | None = None
        self.made = 0
        self.late = LazyKey(self.make, self.threads)

    def make(self) -> str:
        self.made += 1
        if self.fault is not None:
            raise self.fault
        return f"key {self.made}"

    def test_once(self) -> None:
        """All waiting and later callers get the same key."""
        waiting = [self.late.get() for _ in range(3)]
        self.assertEqual((len(self.threads.begun), self.late.key), (1, None))
        self.threads.begun[0]()
        self.assertEqual([self.successResultOf(each) for each in waiting], ["key 1"] * 3)
        self.assertEqual(self.successResultOf(self.late.get()), "key 1")
        self.assertEqual(len(self.threads.begun), 1)

    def test_cancelled(self) -> None:
        """A cancelled call does not affect other callers, and generates no second key."""
        given_up = self.late.get()
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        other = self.late.get()
        self.assertEqual(len(self.threads.begun), 1)
        self.threads.begun[0]()
        self.assertEqual(self.successResultOf(other), "key 1")

    def test_cancelled_by_another_callback(self) -> None:
        waiting: list[Deferred[str]] = [self.late.get(), self.late.get()]
        waiting[0].addCallback(lambda _: waiting[1].cancel())
        self.threads.begun[0]()
        self.failureResultOf(waiting[1], CancelledError)

    def test_failure(self) -> None:
        """The next call tries again."""
        self.fault = RuntimeError("no entropy")
        waiting = self.late.get()
        self.threads.begun[0]()
        self.failureResultOf(waiting, RuntimeError)
        self.fault = None
        again = self.late.get()
        self.threads.begun[1]()
        self.assertEqual(self.successResultOf(again), "key 2")
