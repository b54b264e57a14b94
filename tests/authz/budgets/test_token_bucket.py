"""Tests for L{egress.authz.budgets.token_bucket}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.budgets.token_bucket import SECOND, Operation, Outcome, Rate, operate, wait_for
from egress.model.budget import Unit
from tests.authz.budgets.fleet import budget

NOW = 1e15
RATE = Rate(SECOND, 10)


class RateTests(SynchronousTestCase):
    """The size of a bucket."""

    def test_of_a_budget(self) -> None:
        self.assertEqual(Rate.of(budget(amount=30, per=60.0, capacity=5)), Rate(2 * SECOND, 5))
        self.assertEqual(Rate.of(budget(Unit.BYTES, 1 << 30, 1024.0)).interval, SECOND / (1 << 20))

    def test_wait(self) -> None:
        self.assertEqual(wait_for(RATE, 0.0, NOW, 10), 0)
        self.assertEqual(wait_for(RATE, NOW + 9 * SECOND, NOW, 1), 0)
        self.assertApproximates(wait_for(RATE, NOW + 9.5 * SECOND, NOW, 1) / SECOND, 0.5, 0.02)
        self.assertApproximates(wait_for(RATE, NOW, NOW, 12) / SECOND, 2, 0.02)


class OperationTests(SynchronousTestCase):
    """Operations on buckets."""

    def one(self, state: float | None, operation: Operation, now: float = NOW) -> tuple[bool, Outcome]:
        enough, (outcome,) = operate([state], [operation], now)
        return enough, outcome

    def test_full(self) -> None:
        """A bucket without a state is full, and so is one whose time has passed."""
        for state in (None, 0.0, NOW - 5 * SECOND, NOW):
            self.assertEqual(self.one(state, Operation(RATE, need=1, want=1)), (True, Outcome(1, NOW + SECOND)))

    def test_exhausted(self) -> None:
        self.assertEqual(
            self.one(NOW + 9.5 * SECOND, Operation(RATE, need=1, want=1)), (False, Outcome(0, NOW + 9.5 * SECOND))
        )
        self.assertEqual(self.one(NOW + 9 * SECOND, Operation(RATE, need=1, want=5))[1].granted, 1)

    def test_in_advance(self) -> None:
        """As many as there are are taken in advance, which is no failure."""
        self.assertEqual(self.one(NOW + 7 * SECOND, Operation(RATE, want=5)), (True, Outcome(3, NOW + 10 * SECOND)))
        self.assertEqual(self.one(NOW + 11 * SECOND, Operation(RATE, want=5)), (True, Outcome(0, NOW + 11 * SECOND)))

    def test_owed(self) -> None:
        """What was used is counted in any case; what is returned cannot overfill the bucket."""
        self.assertEqual(self.one(NOW + 9 * SECOND, Operation(RATE, owed=3)), (True, Outcome(0, NOW + 12 * SECOND)))
        self.assertEqual(
            self.one(NOW + 9 * SECOND, Operation(RATE, owed=3, need=1, want=1)), (False, Outcome(0, NOW + 12 * SECOND))
        )
        self.assertEqual(self.one(NOW + 2 * SECOND, Operation(RATE, owed=-1)), (True, Outcome(0, NOW + SECOND)))
        self.assertEqual(self.one(NOW + 2 * SECOND, Operation(RATE, owed=-5)), (True, Outcome(0, NOW)))

    def test_floor(self) -> None:
        """A state that was lost is known to the callers."""
        operation = Operation(RATE, need=1, want=1, floor=NOW + 9.5 * SECOND)
        for state in (None, NOW, NOW + 9 * SECOND):
            self.assertEqual(self.one(state, operation), (False, Outcome(0, NOW + 9.5 * SECOND)))

    def test_bounded(self) -> None:
        """A state or a floor in the far future denies for a limited time."""
        for operation, state in ((Operation(RATE, want=1), 1e300), (Operation(RATE, want=1, floor=1e300), None)):
            self.assertEqual(self.one(state, operation)[1].full_at, NOW + 20 * SECOND)

    def test_all_or_nothing(self) -> None:
        """If one bucket has too few tokens, none are taken from the others."""
        take = Operation(RATE, need=1, want=1)
        enough, outcomes = operate([None, NOW + 10 * SECOND], [take, take], NOW)
        self.assertEqual((enough, outcomes), (False, [Outcome(0, NOW), Outcome(0, NOW + 10 * SECOND)]))
        enough, outcomes = operate([None, NOW + 3 * SECOND], [take, take], NOW)
        self.assertEqual((enough, outcomes), (True, [Outcome(1, NOW + SECOND), Outcome(1, NOW + 4 * SECOND)]))

    @given(
        st.integers(1, 10**7),
        st.integers(1, 10**6),
        st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 10)), min_size=1, max_size=60),
    )
    def test_never_more_than_the_rate(self, interval: int, capacity: int, takes: list[tuple[int, int]]) -> None:
        """In any time, the tokens are at most those of a full bucket and those that were refilled."""
        rate, state, now = Rate(float(interval), capacity), None, NOW
        granted = 0
        for passed, tokens in takes:
            now += passed
            _, outcome = self.one(state, Operation(rate, need=tokens, want=tokens), now)
            granted += outcome.granted
            state = outcome.full_at
        self.assertLessEqual(granted, capacity + (now - NOW) / interval + 1 + len(takes) / interval)

    @given(st.integers(1, 10**6), st.integers(2, 10**6), st.integers(0, 10**6), st.integers(1, 10**5))
    def test_returning_is_the_inverse(self, interval: int, capacity: int, used: int, tokens: int) -> None:
        """Tokens that are taken and returned at once leave the bucket as it was."""
        rate = Rate(float(interval), capacity)
        before = NOW + min(used, capacity) * interval
        _, taken = self.one(before, Operation(rate, want=tokens))
        _, after = self.one(taken.full_at, Operation(rate, owed=-taken.granted))
        self.assertEqual(after.full_at, before)
