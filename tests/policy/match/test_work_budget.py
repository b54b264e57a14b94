"""Tests for L{egress.policy.match.work_budget}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.match.work_budget import MAX_WORK, PER_CALL, PER_CHARACTER, TooMuchWork, WorkBudget, steps_to_try


class WorkTests(SynchronousTestCase):
    """Estimated work is spent, up to the limit."""

    def test_spend(self) -> None:
        work = WorkBudget(10)
        work.spend(4, "a")
        work.spend(6, "b")
        self.assertEqual(work.left, 0)
        self.assertEqual(self.assertRaises(TooMuchWork, work.spend, 1, "its path is long").cause, "its path is long")
        self.assertEqual(WorkBudget().left, MAX_WORK)

    def test_steps(self) -> None:
        self.assertEqual(steps_to_try([], 7), 0)
        self.assertEqual(steps_to_try(["", "abc"], 2), 2 * (2 * PER_CALL + 3 * PER_CHARACTER))
