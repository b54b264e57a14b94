"""Tests for L{egress.authz.budgets.token_bucket}."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.budgets.token_bucket import SECOND, Operation, Rate, State, operate, wait_for
from egress.model.budget import Unit
from tests.authz.budgets.fleet import budget

NOW = 10**15
BEGUN = NOW - 7
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

    def one(
        self, full_at: float | None, operation: Operation, now: int = NOW, base: int = NOW
    ) -> tuple[bool, int, float]:
        """Return whether there are enough tokens, the number of granted ones, and the seconds until it is full."""
        state = None if full_at is None else State(round(full_at), base, BEGUN)
        enough, (outcome,), (after,) = operate([state], [operation], now)
        self.assertEqual((after.full_at, after.generation), (outcome.full_at, outcome.generation))
        return enough, outcome.granted, (outcome.full_at - now) / SECOND

    def test_full(self) -> None:
        """A bucket without a state is full, and so is one whose time has passed."""
        for full_at in (None, 0, NOW - 5 * SECOND, NOW):
            self.assertEqual(self.one(full_at, Operation(RATE, need=1, want=1)), (True, 1, 1))

    def test_exhausted(self) -> None:
        self.assertEqual(self.one(NOW + 9.5 * SECOND, Operation(RATE, need=1, want=1)), (False, 0, 9.5))
        self.assertEqual(self.one(NOW + 9 * SECOND, Operation(RATE, need=1, want=5))[1], 1)

    def test_in_advance(self) -> None:
        """As many as there are are taken in advance, which is no failure."""
        self.assertEqual(self.one(NOW + 7 * SECOND, Operation(RATE, want=5)), (True, 3, 10))
        self.assertEqual(self.one(NOW + 11 * SECOND, Operation(RATE, want=5)), (True, 0, 11))

    def test_owed(self) -> None:
        """What was used is counted in any case; what is returned cannot overfill the bucket."""
        self.assertEqual(self.one(NOW + 9 * SECOND, Operation(RATE, owed=3)), (True, 0, 12))
        self.assertEqual(self.one(NOW + 9 * SECOND, Operation(RATE, owed=3, need=1, want=1)), (False, 0, 12))
        self.assertEqual(self.one(NOW + 2 * SECOND, Operation(RATE, owed=-1)), (True, 0, 1))
        self.assertEqual(self.one(NOW + 2 * SECOND, Operation(RATE, owed=-5)), (True, 0, 0))

    def test_bounded(self) -> None:
        """A state in the far future denies for a limited time, also if a process sends it."""
        take = Operation(RATE, want=1)
        far = 10**20
        for operation, full_at, base in (
            (take, far, NOW),
            (Operation(RATE, want=1, seen=far, generation=3), None, NOW),
            (Operation(RATE, want=1, seen=NOW + 1, generation=3), NOW, 0),
        ):
            self.assertEqual(self.one(full_at, operation, base=base)[2], 20)

    def test_all_or_nothing(self) -> None:
        """If one bucket has too few tokens, none are taken from the others."""
        take = Operation(RATE, need=1, want=1)
        for seconds, expected in ((10, (False, 0, 10)), (3, (True, 1, 4))):
            state = State(NOW + round(seconds * SECOND), NOW, BEGUN)
            enough, outcomes, _ = operate([None, state], [take, take], NOW)
            self.assertEqual(enough, expected[0])
            self.assertEqual([each.granted for each in outcomes], [expected[1]] * 2)
            self.assertEqual(outcomes[1].full_at, NOW + expected[2] * SECOND)

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
            _, (outcome,), (state,) = operate([state], [Operation(rate, need=tokens, want=tokens)], now)
            granted += outcome.granted
        self.assertLessEqual(granted, capacity + (now - NOW) / interval + 1 + len(takes) / interval)

    @given(st.integers(1, 10**6), st.integers(2, 10**6), st.integers(0, 10**6), st.integers(1, 10**5))
    def test_returning_is_the_inverse(self, interval: int, capacity: int, used: int, tokens: int) -> None:
        """Tokens that are taken and returned at once leave the bucket as it was."""
        rate = Rate(float(interval), capacity)
        before = State(NOW + min(used, capacity) * interval, NOW, BEGUN)
        _, (taken,), (state,) = operate([before], [Operation(rate, want=tokens)], NOW)
        _, _, (after,) = operate([state], [Operation(rate, owed=-taken.granted)], NOW)
        self.assertEqual(after, before)


class GenerationTests(SynchronousTestCase):
    """What becomes of a bucket whose state is lost."""

    def known(self, state: State | None, operation: Operation, now: int = NOW) -> tuple[float, State]:
        """Return the seconds until a bucket is full, and its state."""
        _, _, (after,) = operate([state], [operation], now)
        return (after.full_at - now) / SECOND, after

    def saw(self, seconds: float, generation: int, **changes: Any) -> Operation:
        """Return the operation of a process that last saw a bucket this number of seconds before it is full."""
        return Operation(RATE, seen=NOW + round(seconds * SECOND), generation=generation, **changes)

    def test_latest_state(self) -> None:
        """In any order, and any number of times, the latest known state counts, and all that was taken since."""
        for order in ((4, 6, 5), (6, 5, 4), (5, 4, 6, 6, 5)):
            state = None
            for seconds in order:
                left, state = self.known(state, self.saw(seconds, 3, owed=1))
            self.assertEqual(left, 6 + len(order))

    def test_same_generation(self) -> None:
        """Others can have returned tokens since."""
        state = State(NOW + round(3 * SECOND), NOW, BEGUN)
        self.assertEqual(self.known(state, self.saw(5, BEGUN)), (3, state))

    def test_unknown(self) -> None:
        """A process that has never seen the bucket knows nothing about it."""
        state = State(NOW + round(3 * SECOND), NOW, BEGUN)
        self.assertEqual(self.known(state, Operation(RATE, moved=True)), (3, state))

    def test_full_in_the_meantime(self) -> None:
        """What was refilled before a process sends its state is refilled only once."""
        _, state = self.known(None, self.saw(0, 3, need=1, want=1))
        for passed, expected in ((0.5, 4.5), (1.0, 4.0), (3.0, 2.0), (3.9, 1.1), (6.0, 0.0)):
            now = NOW + round(passed * SECOND)
            _, between = self.known(state, Operation(RATE), now)
            left, _ = self.known(between, self.saw(4, 3), now)
            self.assertEqual(left, expected)

    def test_older_state(self) -> None:
        """An engine can return to an older state of the same generation, or of the one before."""
        older = State(NOW + round(2 * SECOND), NOW, BEGUN)
        for operation in (self.saw(6, BEGUN, moved=True), self.saw(6, BEGUN + 1)):
            left, state = self.known(older, operation)
            self.assertEqual((left, state), (6, State(NOW + round(6 * SECOND), NOW + round(6 * SECOND), NOW)))
            # The second process that connects.
            self.assertEqual(self.known(state, self.saw(7, BEGUN, moved=True))[0], 7)
            self.assertEqual(self.known(state, self.saw(5, BEGUN, moved=True))[0], 6)

    def test_connected_again(self) -> None:
        """Without a loss, a new connection changes nothing."""
        state = State(NOW + round(6 * SECOND), NOW, BEGUN)
        self.assertEqual(self.known(state, self.saw(5, BEGUN, moved=True))[0], 6)

    def test_clock_that_moves_back(self) -> None:
        """A generation that begins in the future is an old one."""
        left, state = self.known(State(NOW + round(6 * SECOND), NOW, NOW + 5), self.saw(6, NOW + 5))
        self.assertEqual((left, state.generation), (6, NOW))

    def test_random_losses(self) -> None:
        """Processes that send what they know are together as exact as an engine that loses nothing."""
        chance = random.Random(17)
        for _ in range(200):
            self._lose(chance)

    def _lose(self, chance: random.Random) -> None:
        truth: State | None = None
        state: State | None = None
        seen = [(0, 0)] * 3
        now = NOW
        for _ in range(chance.randrange(1, 30)):
            now += chance.randrange(1, 2 * round(SECOND))
            process = chance.randrange(3)
            take = chance.randrange(3)
            _, _, (truth,) = operate([truth], [Operation(RATE, owed=take)], now)
            _, (outcome,), (state,) = operate([state], [Operation(RATE, take, 0, 0, *seen[process])], now)
            self.assertEqual(state.full_at, truth.full_at)
            seen[process] = (outcome.full_at, outcome.generation)
        state = None
        for process in chance.sample(range(3), 3) + chance.choices(range(3), k=3):
            now += chance.randrange(1, round(SECOND))
            take = chance.randrange(3)
            _, _, (truth,) = operate([truth], [Operation(RATE, owed=take)], now)
            _, _, (state,) = operate([state], [Operation(RATE, take, 0, 0, *seen[process])], now)
        assert state is not None and truth is not None
        self.assertEqual(state.full_at, truth.full_at)
