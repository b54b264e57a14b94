"""Tests for L{egress.upstream.fair_slots}."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from egress.upstream.fair_slots import FairSlots, NoSlot, Ticket


class TurnsTests(SynchronousTestCase):
    """Slots are limited, and clients take turns."""

    def setUp(self) -> None:
        self.turns = FairSlots(8, 100, 20)
        self.begun: list[str] = []

    def enter(self, name: str) -> Ticket:
        """Add an entry to the queue; the first letter of its name is the client."""
        return self.turns.enter(name[0], self.begin(name))

    def begin(self, name: str) -> Callable[[], None]:
        return lambda: self.begun.append(name)

    def many(self, client: str, number: int) -> list[Ticket]:
        """Add several entries of one client."""
        return [self.enter(f"{client}{index}") for index in range(number)]

    def count(self, client: str) -> int:
        """Count the entries of a client that have started."""
        return sum(name[0] == client for name in self.begun)

    def test_concurrency_limit(self) -> None:
        self.enter("a0")
        self.assertEqual((self.begun, self.turns.busy, self.turns.waiting), (["a0"], 1, 0))
        self.turns.over("a")
        self.assertEqual(self.turns.busy, 0)

    def test_one_client_gets_half(self) -> None:
        self.many("a", 10)
        self.assertEqual((self.count("a"), self.turns.busy, self.turns.waiting), (4, 4, 6))
        self.turns.over("a")
        self.assertEqual(self.begun, [f"a{index}" for index in range(5)])

    def test_the_next_client_is_not_delayed(self) -> None:
        """Each client gets half of the free slots."""
        for client, places in (("a", 4), ("b", 2), ("c", 1), ("d", 1)):
            self.many(client, 20)
            self.assertEqual(self.count(client), places, client)
        self.assertEqual(self.turns.busy, 8)
        self.enter("e0")
        self.turns.over("b")
        self.assertEqual(self.count("e"), 1, "it is the first to have a turn")

    def test_no_free_slot(self) -> None:
        for client in "abcdefgh":
            self.enter(client)
        self.assertEqual(self.turns.busy, 8)
        self.enter("i")
        self.assertEqual(self.count("i"), 0)
        self.turns.over("c")
        self.assertEqual(self.count("i"), 1)

    def test_round_robin(self) -> None:
        turns = FairSlots(2, 100, 20)
        turns.enter("x", self.begin("x"))
        turns.enter("y", self.begin("y"))
        for name in ("a0", "a1", "a2", "b0", "b1", "c0"):
            turns.enter(name[0], self.begin(name))
        for client in "xabcab":
            turns.over(client)
        self.assertEqual(self.begun[2:], ["a0", "b0", "c0", "a1", "b1", "a2"])

    def test_queue_limit_per_client(self) -> None:
        self.many("a", 4 + 20)
        error = self.assertRaises(NoSlot, self.enter, "a24")
        self.assertTrue(error.of_client)
        self.enter("b0")
        self.assertEqual(self.count("b"), 1)

    def test_queue_limit(self) -> None:
        turns = FairSlots(2, 3, 2)
        for client in "xyabc":
            turns.enter(client, self.begin(client))
        error = self.assertRaises(NoSlot, turns.enter, "d", self.begin("d"))
        self.assertFalse(error.of_client)
        turns.over("x")
        turns.enter("d", self.begin("d"))

    def test_leave(self) -> None:
        *_, waits, last = self.many("a", 6)
        self.turns.leave(waits)
        self.turns.leave(waits)
        self.turns.over("a")
        self.turns.over("a")
        self.assertEqual(self.begun[4:], ["a5"])
        self.turns.leave(last)
        self.assertEqual(self.turns.waiting, 0)

    def test_immediate_completion(self) -> None:
        """Entries that complete immediately do not nest, regardless of the queue's length."""
        turns = FairSlots(2, 2000, 2000)
        turns.enter("x", lambda: None)
        turns.enter("y", lambda: None)
        for _ in range(1500):
            turns.enter("a", lambda: turns.over("a"))
        turns.over("x")
        self.assertEqual((turns.busy, turns.waiting), (1, 0))

    def test_at_least_two_slots(self) -> None:
        turns = FairSlots(1, 10, 10)
        turns.enter("a", self.begin("a0"))
        turns.enter("a", self.begin("a1"))
        turns.enter("b", self.begin("b0"))
        self.assertEqual(self.begun, ["a0", "b0"])
