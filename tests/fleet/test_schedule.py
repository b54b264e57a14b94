"""Tests for L{tests.fleet.schedule}."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from tests.fleet.observations import AUTHORIZER, HAPROXY, POSTGRESQL, REDIS
from tests.fleet.schedule import ALL, CLIENT, HOST, KILL, RELOAD, REVOKE, Step, schedule

NAMES = ("one", "two", "three")


class ScheduleTests(SynchronousTestCase):
    """The seed determines a schedule with all kinds of steps."""

    def test_seed(self) -> None:
        self.assertEqual(schedule(7, 100, NAMES, 6), schedule(7, 100, NAMES, 6))
        self.assertNotEqual(schedule(7, 100, NAMES, 6), schedule(8, 100, NAMES, 6))

    def test_all_kinds(self) -> None:
        steps = schedule(1, 3600, NAMES, 6)
        killed = Counter(step.target for step in steps if step.action == KILL)
        self.assertEqual(set(killed), {*NAMES, REDIS, POSTGRESQL, AUTHORIZER})
        self.assertEqual({step.target for step in steps if step.action == RELOAD}, {HAPROXY})
        revocations = [step for step in steps if step.action == REVOKE]
        self.assertEqual({step.target for step in revocations}, set(NAMES))
        self.assertEqual({step.kind for step in revocations}, {CLIENT, HOST, ALL})
        self.assertEqual({step.holder for step in revocations}, set(range(6)))

    def test_one_after_the_other(self) -> None:
        steps = schedule(2, 600, NAMES, 6)
        self.assertGreater(len(steps), 60)
        for before, after in pairwise(steps):
            self.assertGreater(after.at, before.at + before.lasts)
        self.assertLessEqual(steps[-1].at + steps[-1].lasts, 600)

    def test_without_redis(self) -> None:
        self.assertNotIn(REDIS, {step.target for step in schedule(1, 3600, NAMES, 6, redis=False)})

    def test_text(self) -> None:
        for step, text in (
            (Step(1.0, KILL, "two", 2.25), "   1.0 s  kill two for 2.2 s"),
            (Step(10.0, RELOAD, HAPROXY), "  10.0 s  reload haproxy"),
            (Step(100.0, REVOKE, "one", kind=CLIENT, holder=3), " 100.0 s  revoke client 3 on one"),
            (Step(100.0, REVOKE, "one", kind=ALL), " 100.0 s  revoke all on one"),
        ):
            self.assertEqual(str(step), text)
