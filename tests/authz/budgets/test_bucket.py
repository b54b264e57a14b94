"""Tests for L{egress.authz.budgets.bucket}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.budgets.bucket import Bucket
from egress.authz.budgets.token_bucket import SECOND, Outcome
from egress.model.budget import Unit
from tests.authz.budgets.fleet import budget

NOW = 1e9 * SECOND
ENGINE = 5 * 10**15


class LocalTests(SynchronousTestCase):
    """Buckets that one process counts."""

    def setUp(self) -> None:
        self.bucket = Bucket((budget(), ""))

    def used(self, weight: int, now: float = NOW) -> int:
        """Return how many tokens can be used one by one."""
        number = 0
        while self.bucket.wait(1, now, weight) == 0:
            self.bucket.spend(1, now, weight)
            number += 1
        return number

    def test_alone(self) -> None:
        self.assertTrue(self.bucket.is_idle(NOW))
        self.assertEqual(self.used(1), 10)
        self.assertFalse(self.bucket.is_idle(NOW))
        self.assertEqual(self.bucket.held, 0)
        self.assertApproximates(self.bucket.wait(1, NOW, 1) / SECOND, 1, 0.02)
        self.assertEqual(self.used(1, NOW + 3 * SECOND), 3)
        self.assertTrue(self.bucket.is_idle(NOW + 13 * SECOND))

    def test_left(self) -> None:
        """It is what can be used now."""
        for weight in (0, 1, 3):
            for used in (0, 1, 4, 9):
                self.bucket = Bucket((budget(Unit.BYTES, 1000, 10.0), ""))
                self.bucket.spend(used, NOW, max(1, weight))
                left = self.bucket.left(NOW, weight)
                self.assertEqual(self.bucket.wait(left, NOW, weight), 0)
                self.assertGreater(self.bucket.wait(left + 1, NOW, weight), 0)
        self.assertEqual(Bucket((budget(), "")).left(NOW), 10)

    def test_share(self) -> None:
        """A share is a part of what is left, and is refilled more slowly; it has at least one token."""
        self.assertEqual(self.used(3), 3)
        self.assertEqual(self.used(3, NOW + 6 * SECOND), 2)
        self.bucket = Bucket((budget(amount=1, per=1.0), ""))
        self.assertEqual(self.used(5), 1)
        self.assertEqual(self.used(5, NOW + 4.5 * SECOND), 0)
        self.assertEqual(self.used(5, NOW + 5.1 * SECOND), 1)


class SharedTests(SynchronousTestCase):
    """Buckets in an engine."""

    def setUp(self) -> None:
        self.bucket = Bucket((budget(Unit.BYTES, 10_000, 10.0), ""), b"name")

    def answer(self, need: int, granted: int, full_in: float, now: float = NOW) -> None:
        operation = self.bucket.operation(1, need)
        self.bucket.answered(operation, Outcome(granted, ENGINE + round(full_in * SECOND), 3), ENGINE, now)

    def test_in_advance(self) -> None:
        """Only one command at a time takes tokens in advance, and only if few are left."""
        first, second = self.bucket.operation(1, 5), self.bucket.operation(1, 7)
        self.assertEqual((first.need, first.want, second.want, self.bucket.asked), (5, 10, 0, 10))
        self.bucket.answered(first, Outcome(10, ENGINE, 3), ENGINE, NOW)
        self.bucket.unanswered(second)
        self.assertEqual((self.bucket.asked, self.bucket.held), (0, 10))
        self.assertEqual(self.bucket.operation(1, 5).want, 0)
        requests = Bucket((budget(amount=5000), ""), b"name")
        self.assertEqual([requests.operation(1, 1).want for _ in range(2)], [6, 1])
        self.assertEqual(Bucket((budget(), ""), b"name").operation(1, 1).want, 1)

    def test_owed(self) -> None:
        """What was used without the engine is told once, also if the first command fails."""
        self.bucket.spend(300, NOW, 3)
        operation = self.bucket.operation(1, ahead=False)
        self.assertEqual((operation.owed, operation.want, self.bucket.held), (300, 0, 0))
        self.assertEqual(self.bucket.operation(1, ahead=False).owed, 0)
        self.bucket.unanswered(operation)
        self.assertEqual(self.bucket.operation(1, ahead=False).owed, 300)

    def test_owed_without_a_reply(self) -> None:
        """What the engine is being told of is not permitted again."""
        self.answer(0, 10, 9.0)
        self.bucket.spend(610, NOW)
        operations = [self.bucket.operation(1, ahead=False)]
        self.bucket.spend(100, NOW)
        operations.append(self.bucket.operation(1, ahead=False))
        self.assertEqual([each.owed for each in operations], [600, 100])
        self.assertEqual((self.bucket.left(NOW), self.bucket.wait(300, NOW)), (300, 0))
        self.assertGreater(self.bucket.wait(302, NOW), 0)
        self.bucket.unanswered(operations.pop())
        self.assertEqual((self.bucket.left(NOW), self.bucket.held), (300, -100))
        self.bucket.answered(operations[0], Outcome(0, ENGINE + round(9.6 * SECOND), 3), ENGINE, NOW)
        self.assertEqual(self.bucket.left(NOW), 300)

    def test_ahead(self) -> None:
        """All processes together use 1 % before the engine has counted it; what is held is free."""
        self.assertEqual([self.bucket.ahead(processes) for processes in (0, 1, 2, 100, 200)], [25, 100, 50, 1, 1])
        self.answer(0, 10, 9.0)
        self.assertEqual((self.bucket.room(2), self.bucket.is_asking), (60, False))
        self.bucket.spend(40, NOW)
        self.assertEqual((self.bucket.room(2), self.bucket.is_asking), (20, False))
        owed = self.bucket.operation(1, ahead=False)
        self.bucket.spend(30, NOW)
        self.assertEqual((self.bucket.room(2), self.bucket.is_asking), (-10, True))
        self.bucket.answered(owed, Outcome(0, ENGINE, 3), ENGINE, NOW)
        self.assertEqual((self.bucket.room(2), self.bucket.is_asking), (20, False))
        advance = self.bucket.operation(1)
        self.assertTrue(self.bucket.is_asking)
        self.bucket.unanswered(advance)
        self.assertEqual((self.bucket.room(2), self.bucket.is_asking), (20, False))

    def test_fast_transfer(self) -> None:
        """More is taken in advance, up to a 250th, until nothing is used any more."""
        for expected in (20, 40, 40):
            self.bucket.spend(self.bucket.held + 1, NOW)
            operation = self.bucket.operation(1)
            self.assertEqual((operation.owed, operation.want), (1, expected))
            self.bucket.answered(operation, Outcome(expected, ENGINE, 3), ENGINE, NOW)
        self.assertEqual(self.bucket.returned(1).owed, -40)
        self.assertEqual(self.bucket.operation(1).want, 10)
        # What was used without the engine, and requests, do not count.
        for other in (budget(amount=10_000), budget(Unit.BYTES, 1000, 10.0)):
            bucket = Bucket((other, ""), b"name")
            before = bucket.chunk
            bucket.spend(100, NOW)
            bucket.operation(1)
            self.assertEqual(bucket.chunk, before)
        self.bucket.spend(100, NOW)
        self.bucket.operation(1, ahead=False)
        self.assertEqual(self.bucket.chunk, 10)

    def test_returned(self) -> None:
        self.answer(0, 10, 0.01)
        self.bucket.take_held(4)
        self.assertTrue(self.bucket.touched)
        operation = self.bucket.returned(1)
        self.assertEqual((operation.owed, operation.need, operation.want, self.bucket.held), (-6, 0, 0, 0))
        self.bucket.unanswered(operation)
        self.assertEqual(self.bucket.held, 0)

    def test_known_state(self) -> None:
        """What others use counts, as the engine said it last; what is held is free."""
        self.answer(0, 10, 9.0)
        self.assertEqual(self.bucket.wait(1010, NOW), 0)
        self.assertApproximates(self.bucket.wait(1510, NOW) / SECOND, 0.5, 0.001)
        # As a share of one third.
        self.assertEqual(self.bucket.wait(10, NOW, 3), 0)
        self.assertEqual(self.bucket.wait(343, NOW, 3), 0)
        self.assertGreater(self.bucket.wait(344, NOW, 3), 0)

    def test_generation(self) -> None:
        """The engine may have lost what the process saw last, or may be another one after a new connection."""
        operation = self.bucket.operation(1)
        self.assertEqual((operation.seen, operation.generation, operation.moved), (0, 0, True))
        self.assertFalse(self.bucket.is_known(NOW))
        self.answer(0, 10, 9.0)
        self.bucket.connection = 1
        full_at = ENGINE + round(9 * SECOND)
        for connection, moved in ((1, False), (2, True)):
            for operation in (self.bucket.operation(connection), self.bucket.returned(connection)):
                self.assertEqual((operation.seen, operation.generation, operation.moved), (full_at, 3, moved))
        self.assertTrue(self.bucket.is_known(NOW + 8 * SECOND))
        self.assertFalse(self.bucket.is_known(NOW + 9 * SECOND))

    def test_own_consumption(self) -> None:
        """It never exceeds the budget, whatever the engine grants."""
        self.answer(0, 1_000_000, 0.0)
        self.assertEqual(self.bucket.wait(10_000, NOW), 0)
        self.bucket.spend(10_000, NOW)
        self.assertGreater(self.bucket.wait(100, NOW), 0)
        self.assertGreater(self.bucket.own_wait(100, NOW), 0)
        self.bucket.reserve(10, NOW)
        self.bucket.release(110)
        self.assertEqual(self.bucket.own_wait(100, NOW), 0)

    def test_idle(self) -> None:
        later = NOW + 100 * SECOND
        self.assertTrue(self.bucket.is_idle(later))
        for attribute in ("users", "held", "asked"):
            setattr(self.bucket, attribute, 1)
            self.assertFalse(self.bucket.is_idle(later))
            setattr(self.bucket, attribute, 0)

    def test_budget(self) -> None:
        other = attrs.evolve(self.bucket.budget, capacity=5_000_000)
        self.assertEqual((self.bucket.chunk, Bucket((other, "")).chunk), (10, 5000))
