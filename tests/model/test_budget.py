"""Tests for L{egress.model.budget}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.budget import By, Unit
from tests.authz.budgets.fleet import budget


class BudgetTests(SynchronousTestCase):
    """Budgets in words, and for programs."""

    def test_words(self) -> None:
        for made, words in (
            (budget(amount=10_000, per=86400.0), "10,000 requests per 1d"),
            (budget(amount=5, per=120.0, capacity=2, by=By.CLIENT), "5 requests per 2m and client in bursts of 2"),
            (budget(Unit.BYTES, 1000, 7200.0, by=By.HOST), "1,000 bytes per 2h and host"),
            (budget(amount=1, per=1.5), "1 requests per 1.5s"),
        ):
            self.assertEqual(str(made), words)

    def test_name(self) -> None:
        self.assertEqual(budget(table="rate").name, "rate.requests")
        self.assertEqual(budget(Unit.BYTES).name, "budget.bytes")
