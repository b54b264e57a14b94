"""Tests for L{egress.authz.budgets.table}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.authz.budgets.bucket import Bucket
from egress.authz.budgets.table import BucketTable
from egress.authz.budgets.token_bucket import SECOND, Outcome
from tests.authz.budgets.fleet import budget

NOW = 1e9 * SECOND


class TableTests(SynchronousTestCase):
    """The limited number of buckets."""

    def found(self, table: BucketTable, value: str, now: float = NOW) -> Bucket:
        table.drop(now)
        bucket = table.find(budget(), value)
        assert bucket is not None
        return bucket

    def test_find(self) -> None:
        table = BucketTable(None)
        one = table.find(budget(), "a")
        assert one is not None
        self.assertIs(table.find(budget(), "a"), one)
        self.assertIsNot(table.find(budget(), "b"), one)
        self.assertIsNot(table.find(budget(amount=20), "a"), one)
        self.assertEqual((len(table), one.name), (3, b""))

    def test_buckets(self) -> None:
        table = BucketTable(None)
        for value in "abca":
            self.assertIsNotNone(table.find(budget(), value))
        self.assertEqual([bucket.key[1] for bucket in table.buckets()], ["b", "c", "a"])

    def test_names(self) -> None:
        table = BucketTable(lambda budget, value: f"{budget.rule_id}/{value}".encode())
        self.assertEqual(self.found(table, "a").name, b"r/a")

    def test_a_limit(self) -> None:
        """A bucket is dropped only when a new one is equal to it."""
        table = BucketTable(None, 3)
        for value in "abc":
            self.found(table, value).spend(1, NOW, 1)
        table.drop(NOW)
        self.assertIsNone(table.find(budget(), "d"))
        self.assertEqual(len(table), 3)
        self.found(table, "a").spend(5, NOW, 1)
        self.found(table, "d", NOW + 1.5 * SECOND).spend(1, NOW, 1)
        self.assertGreater(self.found(table, "a").wait(6, NOW + 1.5 * SECOND, 1), 0)

    def test_recent(self) -> None:
        """Others can have used a bucket that seems to be full, so it stays as long as there is enough memory."""
        table = BucketTable(None, 4)
        for value in "abc":
            bucket = self.found(table, value)
            operation = bucket.operation(0)
            bucket.reserve(0, NOW)
            bucket.answered(operation, Outcome(0, 5, 5), 5, NOW)
        self.assertEqual(len(table), 3)
        table.drop(NOW + 9 * SECOND)
        self.assertEqual(len(table), 2)
        table.drop(NOW + 9 * SECOND)
        self.assertEqual(len(table), 2)
        table.drop(NOW + 10 * SECOND)
        self.assertEqual(len(table), 0)

    def test_many_in_use(self) -> None:
        """Few buckets are examined at a time, in turn."""
        table = BucketTable(None, 20)
        buckets = [table.find(budget(), str(number)) for number in range(20)]
        for bucket in buckets[:16]:
            assert bucket is not None
            bucket.users = 1
        for expected in (20, 20, 16):
            table.drop(NOW)
            self.assertEqual(len(table), expected)
