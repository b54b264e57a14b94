"""Tests for L{egress.authz.fair_queue}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.fair_queue import FairQueue


def queue_of(*items: str) -> FairQueue[str]:
    """Make a queue.  The first character of each item is its client."""
    made: FairQueue[str] = FairQueue()
    for item in items:
        made.add(item[0], item)
    return made


class FairQueueTests(SynchronousTestCase):
    """Clients take turns."""

    def test_turns(self) -> None:
        waiting = queue_of("a1", "a2", "a3", "b1", "c1", "c2")
        taken = []
        while waiting:
            self.assertEqual(waiting.next, waiting.next)
            taken.append(waiting.take())
        self.assertEqual(taken, ["a1", "b1", "c1", "a2", "c2", "a3"])
        self.assertRaises(IndexError, waiting.take)
        self.assertRaises(IndexError, lambda: waiting.next)

    def test_client_that_returns(self) -> None:
        """A client that was served comes after those that were not."""
        waiting = queue_of("a1", "b1")
        self.assertEqual(waiting.take(), "a1")
        waiting.add("a", "a2")
        self.assertEqual((waiting.take(), waiting.take()), ("b1", "a2"))

    def test_removed(self) -> None:
        waiting = queue_of("a1", "a2", "b1")
        waiting.remove("a", "a1")
        waiting.remove("b", "b1")
        self.assertEqual((len(waiting), waiting.take(), len(waiting)), (1, "a2", 0))
        self.assertRaises(KeyError, waiting.remove, "a", "a2")
        waiting.add("a", "a3")
        self.assertRaises(ValueError, waiting.remove, "a", "a4")

    def test_displaced(self) -> None:
        for items, client, expected in (
            (("a1", "a2", "a3"), "a", None),
            (("a1", "a2", "a3"), "b", "a3"),
            (("a1", "a2", "b1"), "b", None),
            (("a1", "a2", "a3", "b1"), "b", "a3"),
            (("a1", "b1", "c1"), "d", None),
            ((), "a", None),
        ):
            with self.subTest(items, client=client):
                self.assertEqual(queue_of(*items).displaced_by(client), expected)

    @given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=60))
    def test_shares(self, steps: list[tuple[str, bool]]) -> None:
        """In a queue of six, no client is without a place while another has two, and no client loses an item to one
        with as many.
        """
        waiting: FairQueue[str] = FairQueue()
        kept: dict[str, int] = {}
        for number, (client, take) in enumerate(steps):
            if take and waiting:
                kept[waiting.take()[0]] -= 1
            if len(waiting) >= 6:
                displaced = waiting.displaced_by(client)
                if displaced is None:
                    self.assertTrue(kept.get(client) or max(kept.values()) == 1)
                    continue
                self.assertGreater(kept[displaced[0]], kept.get(client, 0) + 1)
                waiting.remove(displaced[0], displaced)
                kept[displaced[0]] -= 1
            waiting.add(client, f"{client}{number}")
            kept[client] = kept.get(client, 0) + 1
            self.assertEqual(len(waiting), sum(kept.values()))
