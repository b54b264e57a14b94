"""Tests for L{egress.proxy.memory_budget}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.proxy.memory_budget import Claim, MemoryBudget


class BudgetTests(SynchronousTestCase):
    """Memory is limited, and clients get fair shares."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.budget = MemoryBudget(self.clock, 100)
        self.granted: list[str] = []

    def tearDown(self) -> None:
        self.assertLessEqual(self.budget.held, 100)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def claim(self, name: str, size: int) -> Claim:
        """Claim memory; the first letter of a name is the client."""
        return self.budget.claim(name[0], size, lambda: self.granted.append(name))

    def turn(self) -> None:
        """Grant waiting claims as far as they fit."""
        while self.clock.getDelayedCalls():
            self.clock.advance(0)

    def test_immediately(self) -> None:
        claim = self.claim("a", 100)
        self.assertEqual((claim.granted, claim.size, self.budget.held, self.granted), (True, 100, 100, []))
        claim.end()
        claim.end()
        self.assertEqual((self.budget.held, claim.size), (0, 0))

    def test_nothing(self) -> None:
        self.claim("a", 100)
        self.assertTrue(self.claim("a", 0).granted)

    def test_more_than_the_total(self) -> None:
        """The claim gets the total."""
        self.assertEqual(self.claim("a", 1000).size, 100)

    def test_what_does_not_fit_waits(self) -> None:
        first = self.claim("a", 60)
        second = self.claim("b1", 60)
        self.assertEqual((second.granted, self.budget.waiting), (False, 1))
        first.end()
        self.assertEqual(self.granted, [], "in a later turn")
        self.turn()
        self.assertEqual((self.granted, second.granted, self.budget.waiting), (["b1"], True, 0))

    def test_a_single_client_gets_half(self) -> None:
        claims = [self.claim(f"a{number}", 10) for number in range(10)]
        self.assertEqual([claim.granted for claim in claims], [True] * 5 + [False] * 5)
        self.assertTrue(self.claim("b", 50).granted, "the rest is reserved for other clients")
        claims[0].end()
        self.turn()
        self.assertEqual(self.granted, [])

    def test_a_share_becomes_free(self) -> None:
        claims = [self.claim(f"a{number}", 10) for number in range(7)]
        claims[2].end()
        self.turn()
        self.assertEqual(self.granted, ["a5"])

    def test_later_claims_of_a_client_do_not_overtake(self) -> None:
        self.claim("b", 60)
        self.claim("a0", 50)
        small = self.claim("a1", 1)
        self.assertFalse(small.granted)

    def test_rotation(self) -> None:
        held = self.claim("x", 100)
        for name in ("a0", "a1", "a2", "b0", "c0", "c1"):
            self.claim(name, 5)
        held.end()
        self.turn()
        self.assertEqual(self.granted, ["a0", "b0", "c0", "a1", "c1", "a2"])

    def test_cancelled(self) -> None:
        held = self.claim("x", 100)
        first, second = self.claim("a0", 50), self.claim("a1", 50)
        first.end()
        held.end()
        second.end()
        self.turn()
        self.assertEqual((self.granted, self.budget.held, self.budget.waiting), ([], 0, 0))

    def test_cancelling_grants_the_next_one(self) -> None:
        self.claim("x", 90)
        large = self.claim("a0", 50)
        self.claim("a1", 5)
        large.end()
        self.turn()
        self.assertEqual(self.granted, ["a1"])

    def test_releasing_a_part(self) -> None:
        claim, waits = self.claim("a", 100), self.claim("b", 50)
        claim.shrink(30)
        claim.shrink(40)
        self.turn()
        self.assertEqual((claim.size, claim.granted, waits.granted, self.budget.held), (30, True, True, 80))

    def test_growing(self) -> None:
        """It is granted before claims that hold nothing, and its own memory does not count against it."""
        claim, other = self.claim("a0", 10), self.claim("b", 60)
        claim.grow(45)
        self.assertFalse(claim.granted)
        self.claim("a1", 1)
        other.end()
        self.turn()
        self.assertEqual((self.granted, claim.size), (["a0", "a1"], 45))
        claim.grow(20)
        self.assertEqual(claim.size, 45)

    def test_growing_immediately(self) -> None:
        claim = self.claim("a", 10)
        claim.grow(100)
        self.assertEqual((claim.granted, claim.size, self.granted), (True, 100, []))

    def test_growing_before_waiting_claims(self) -> None:
        self.claim("x", 50)
        claim = self.claim("a0", 10)
        self.claim("a1", 40)
        claim.grow(100)
        self.assertEqual((claim.granted, self.budget.waiting), (False, 2))
        claim.end()
        self.turn()
        self.assertEqual(self.granted, ["a1"])

    def test_many_clients(self) -> None:
        """A few clients are considered at a time, and all get their turn."""
        held = self.budget.claim("x", 100, lambda: None)
        for number in range(200):
            client = f"client {number}"
            self.budget.claim(client, 1 if number % 2 else 100, lambda client=client: self.granted.append(client))  # type: ignore[misc]
        held.end()
        self.turn()
        self.assertEqual(self.budget.held, 100)
        self.assertTrue(self.granted)
