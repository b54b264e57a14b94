"""Tests for L{egress.model.fair_shares}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.model.fair_shares import FairShares


def take_all(shares: FairShares, client: str, amount: int = 1) -> int:
    """Take an amount as often as it fits.

    @return: the number of times.
    """
    times = 0
    while shares.fits(client, amount):
        shares.take(client, amount)
        times += 1
    return times


class FairSharesTests(SynchronousTestCase):
    """No client gets more than its share of what is free."""

    def test_each_client_gets_half_of_the_rest(self) -> None:
        shares = FairShares(32)
        self.assertEqual([take_all(shares, client) for client in "abcdefg"], [16, 8, 4, 2, 1, 1, 0])
        self.assertEqual((shares.held, shares.total), (32, 32))

    def test_client_that_holds_nothing(self) -> None:
        """It gets any amount that is free."""
        shares = FairShares(100)
        self.assertTrue(shares.fits("a", 100))
        self.assertFalse(shares.fits("a", 101))
        shares.take("a", 60)
        self.assertTrue(shares.fits("b", 40))
        self.assertFalse(shares.fits("b", 41))

    def test_share_after_a_return(self) -> None:
        shares = FairShares(8)
        take_all(shares, "a")
        self.assertFalse(shares.fits("a", 1))
        shares.give_back("a", 1)
        self.assertTrue(shares.fits("a", 1))
        shares.take("b", 4)
        self.assertFalse(shares.fits("a", 1))
        self.assertTrue(shares.fits("c", 1))

    def test_amount_that_grows(self) -> None:
        """The part that the client holds does not count against it; other amounts of the client do."""
        shares = FairShares(100)
        shares.take("a", 30)
        self.assertTrue(shares.fits("a", 100, part=30))
        self.assertFalse(shares.fits("a", 101, part=30))
        shares.take("a", 10)
        self.assertTrue(shares.fits("a", 80, part=30))
        self.assertFalse(shares.fits("a", 81, part=30))

    def test_nothing(self) -> None:
        """An amount of zero always fits a client without a share, and leaves no trace."""
        shares = FairShares(1)
        shares.take("a", 1)
        self.assertTrue(shares.fits("b", 0))
        shares.take("b", 0)
        shares.give_back("b", 0)
        self.assertEqual((shares.held, set(shares.clients)), (1, {"a"}))

    @given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 40), st.booleans()), max_size=60))
    def test_rule(self, steps: list[tuple[str, int, bool]]) -> None:
        """The capacity is never exceeded, and every share follows the rule."""
        shares = FairShares(64)
        held: list[tuple[str, int]] = []
        for client, amount, returns in steps:
            if held and returns:
                shares.give_back(*held.pop(amount % len(held)))
            own = sum(size for name, size in held if name == client)
            free = shares.total - shares.held
            fits = shares.fits(client, amount)
            self.assertEqual(fits, amount <= free if own == 0 else own + amount <= free)
            if fits:
                shares.take(client, amount)
                held.append((client, amount))
            self.assertEqual(shares.held, sum(size for _, size in held))
            self.assertLessEqual(shares.held, shares.total)
        for returned in held:
            shares.give_back(*returned)
        self.assertEqual((shares.held, set(shares.clients)), (0, set()))
