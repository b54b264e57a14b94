"""Tests for L{egress.shared.master_watch}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.shared.master_watch import CONFIRMED_FOR, INTERVAL, MasterWatch
from egress.shared.redis_protocol import SharedUnavailable

ONE, TWO = Authority("a.test", 1), Authority("a.test", 2)


class _Sentinels:
    """Sentinels whose responses a test gives."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Authority]] = []
        self.stopped = False

    def find(self) -> Deferred[Authority]:
        self.asked.append(Deferred())
        return self.asked[-1]

    def stop(self) -> None:
        self.stopped = True


class MasterWatchTests(SynchronousTestCase):
    """A master is used as long as sentinels name it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sentinels = _Sentinels()
        self.moved: list[str] = []
        given: Any = self.sentinels
        self.watch = MasterWatch(self.clock, given, self.moved.append)
        self.watch.start()

    def respond(self, master: Authority | None) -> None:
        """Respond to the last question."""
        asked = self.sentinels.asked[-1]
        if master is None:
            asked.errback(SharedUnavailable("no sentinel"))
        else:
            asked.callback(master)

    def use(self, master: Authority) -> None:
        finding = self.watch.find()
        self.respond(master)
        self.assertEqual(self.successResultOf(finding), master)

    def ask(self, master: Authority | None) -> None:
        """Let the time of the next question come, and respond."""
        before = len(self.sentinels.asked)
        self.clock.advance(INTERVAL)
        self.assertEqual(len(self.sentinels.asked), before + 1)
        self.respond(master)

    def test_same(self) -> None:
        self.assertIsNone(self.watch.address)
        self.use(ONE)
        for _ in range(100):
            self.ask(ONE)
        self.assertEqual((self.moved, self.watch.address, self.watch.changes), ([], ONE, 0))

    def test_another(self) -> None:
        self.use(ONE)
        self.ask(TWO)
        self.assertEqual(self.moved, ["the sentinels name the master a.test:2"])
        self.use(TWO)
        self.ask(TWO)
        self.assertEqual((len(self.moved), self.watch.address, self.watch.changes), (1, TWO, 1))

    def test_one_question_at_a_time(self) -> None:
        self.clock.advance(INTERVAL)
        self.clock.advance(10 * INTERVAL)
        self.assertEqual(len(self.sentinels.asked), 1)

    def test_not_found(self) -> None:
        finding = self.watch.find()
        self.respond(None)
        self.failureResultOf(finding, SharedUnavailable)
        self.assertIsNone(self.watch.address)
        self.ask(None)
        self.assertEqual(self.moved, [])
        # The next attempt need not wait.
        self.ask(ONE)
        self.assertEqual(self.moved, ["the sentinels name the master a.test:1"])

    def test_while_it_is_found(self) -> None:
        self.watch.find()
        self.ask(ONE)
        self.assertEqual(self.moved, [])

    def test_silence(self) -> None:
        """A process that no sentinel reaches can be separated together with an earlier master."""
        self.use(ONE)
        for _ in range(round(CONFIRMED_FOR / INTERVAL) - 1):
            self.ask(None)
        self.assertEqual(self.moved, [])
        self.ask(ONE)
        self.ask(None)
        self.assertEqual(self.moved, [])
        self.clock.advance(CONFIRMED_FOR)
        self.respond(None)
        self.assertEqual(self.moved, ["no sentinel has confirmed the master for 10 s: no sentinel"])

    def test_stop(self) -> None:
        self.use(ONE)
        self.watch.stop()
        self.assertTrue(self.sentinels.stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_while_asked(self) -> None:
        for result in (TWO, None):
            self.setUp()
            self.use(ONE)
            self.clock.advance(CONFIRMED_FOR)
            self.watch.stop()
            self.respond(result)
            self.assertEqual((self.moved, self.clock.getDelayedCalls()), ([], []))
        self.watch.stop()
