"""Tests for L{egress.authz.budgets.charge}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.authz.budgets.bucket import Bucket
from egress.authz.budgets.charge import Charge, exhausted, too_large
from egress.interfaces import ICharge
from egress.model.budget import By, Unit
from tests.authz.budgets.fleet import Process, budget


class ChargeTests(SynchronousTestCase):
    """The charges of one exchange."""

    def test_users(self) -> None:
        """A bucket is in use until the exchange has ended."""
        bucket = Bucket((budget(Unit.BYTES), ""))
        charge = Charge(Process(Clock()).ledger, [bucket])
        verifyObject(ICharge, charge)
        self.assertEqual((bucket.users, charge.counts_bytes, charge.observed), (1, True, None))
        charge.close()
        charge.close()
        self.assertEqual((bucket.users, charge.counts_bytes), (0, False))

    def test_errors(self) -> None:
        bucket = Bucket((budget(Unit.BYTES, 2048, 3600.0, by=By.CLIENT), ""))
        error = exhausted(bucket, 1_000_001)
        self.assertEqual(error.reason, "the rule r permits 2,048 bytes per 1h and client ([rules.budget])")
        self.assertEqual((error.rule_id, error.budget, error.retry_after), ("r", "budget.bytes", 2))
        self.assertEqual(exhausted(bucket, 0.5).retry_after, 1)
        self.assertIsNone(too_large(bucket, 5000).retry_after)
