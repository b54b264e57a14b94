"""Tests for L{egress.policy.match.work_budget}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.match.work_budget import MOST, PER_CALL, PER_CHARACTER, TooMuchWork, Work, steps_to_try


class WorkTests(SynchronousTestCase):
    """What was estimated is spent, up to the bound."""

    def test_spend(self) -> None:
        work = Work(10)
        work.spend(4, "a")
        work.spend(6, "b")
        self.assertEqual(work.left, 0)
        self.assertEqual(self.assertRaises(TooMuchWork, work.spend, 1, "its path is long").cause, "its path is long")
        self.assertEqual(Work().left, MOST)

    def test_steps(self) -> None:
        self.assertEqual(steps_to_try([], 7), 0)
        self.assertEqual(steps_to_try(["", "abc"], 2), 2 * (2 * PER_CALL + 3 * PER_CHARACTER))
