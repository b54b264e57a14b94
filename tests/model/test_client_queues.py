"""Tests for L{egress.model.client_queues}."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from egress.model.client_queues import ClientQueues

CLIENTS = "abcd"


def queues_of(items: Iterable[str]) -> ClientQueues[str, str]:
    """Make queues. The first character of each item is its client."""
    queues: ClientQueues[str, str] = ClientQueues()
    for item in items:
        queues.add(item[0], item)
    return queues


def drain(queues: ClientQueues[str, str]) -> list[str]:
    """Take all items in rotation."""
    return [queues.take() for _ in range(len(queues))]


class OrderTests(SynchronousTestCase):
    """Clients take turns, and the items of one client keep their order."""

    def test_rotation(self) -> None:
        queues = queues_of(["a1", "a2", "a3", "b1", "c1", "c2"])
        self.assertEqual((list(queues.clients), len(queues)), (["a", "b", "c"], 6))
        self.assertEqual(drain(queues), ["a1", "b1", "c1", "a2", "c2", "a3"])
        self.assertEqual((list(queues.clients), len(queues)), ([], 0))
        self.assertRaises(KeyError, queues.take)

    def test_client_that_returns(self) -> None:
        """A client that was served comes after those that were not."""
        queues = queues_of(["a1", "b1"])
        self.assertEqual(queues.take(), "a1")
        queues.add("a", "a2")
        self.assertEqual(drain(queues), ["b1", "a2"])

    def test_take_from_any_client(self) -> None:
        """The client moves to the end of the rotation; the others keep their order."""
        queues = queues_of(["a1", "b1", "b2", "c1"])
        self.assertEqual(queues.take_from("b"), "b1")
        self.assertEqual(list(queues.clients), ["a", "c", "b"])
        self.assertRaises(KeyError, queues.take_from, "d")

    def test_skip(self) -> None:
        queues = queues_of(["a1", "b1"])
        queues.skip("a")
        self.assertEqual(list(queues.clients), ["b", "a"])
        self.assertRaises(KeyError, queues.skip, "c")

    def test_add_first(self) -> None:
        """The item comes before the other items of its client, not before other clients."""
        queues = queues_of(["a1", "b1", "b2"])
        queues.add_first("b", "b0")
        queues.add_first("c", "c0")
        self.assertEqual((queues.first("b"), queues.count("b")), ("b0", 3))
        self.assertEqual(drain(queues), ["a1", "b0", "c0", "b1", "b2"])

    def test_first(self) -> None:
        queues = queues_of(["a1", "a2", "b1"])
        self.assertEqual((queues.first("a"), queues.first("b"), len(queues)), ("a1", "b1", 3))
        self.assertRaises(KeyError, queues.first, "c")


class CountTests(SynchronousTestCase):
    """The numbers of items, and their removal."""

    def test_counts(self) -> None:
        queues = queues_of(["a1", "b1", "b2"])
        self.assertEqual([queues.count(client) for client in "abc"], [1, 2, 0])
        self.assertEqual((len(queues), len(queues.clients)), (3, 2))

    def test_discard(self) -> None:
        queues = queues_of(["a1", "a2", "a3", "b1", "c1"])
        self.assertTrue(queues.discard("a", "a2"))
        self.assertTrue(queues.discard("b", "b1"))
        self.assertFalse(queues.discard("b", "b1"))
        self.assertFalse(queues.discard("a", "a2"))
        self.assertFalse(queues.discard("c", "a1"))
        self.assertEqual((len(queues), drain(queues)), (3, ["a1", "c1", "a3"]))

    def test_discard_then_return(self) -> None:
        """A client whose last item is discarded has no place in the rotation any more."""
        queues = queues_of(["a1", "b1"])
        queues.discard("a", "a1")
        queues.add("a", "a2")
        self.assertEqual(list(queues.clients), ["b", "a"])

    def test_longest(self) -> None:
        queues = queues_of(["a1", "b1", "b2", "c1"])
        self.assertEqual(queues.longest(), (2, "b2"))
        queues.discard("b", "b2")
        self.assertEqual(queues.longest(), (1, "a1"))
        self.assertIsNone(queues_of([]).longest())


class FairnessTests(SynchronousTestCase):
    """Properties of the rotation."""

    @given(st.lists(st.sampled_from(CLIENTS), max_size=60))
    def test_each_client_waits_at_most_one_round(self, clients: list[str]) -> None:
        """Between two items of one client, each client that waits gets exactly one turn."""
        queues = queues_of(f"{client}{number}" for number, client in enumerate(clients))
        remaining = {client: clients.count(client) for client in set(clients)}
        served = drain(queues)
        for start, item in enumerate(served):
            round_ = [other[0] for other in served[start : start + len(remaining)]]
            self.assertEqual(sorted(round_), sorted(set(round_)), "no client has two turns in one round")
            remaining[item[0]] -= 1
            if not remaining[item[0]]:
                del remaining[item[0]]
        self.assertEqual(sorted(served), sorted(f"{client}{number}" for number, client in enumerate(clients)))

    @given(st.lists(st.sampled_from(CLIENTS), max_size=60), st.integers(0, 60))
    def test_a_flood_delays_a_new_client_by_one_round(self, clients: list[str], taken: int) -> None:
        queues = queues_of(f"{client}{number}" for number, client in enumerate(clients))
        for _ in range(min(taken, len(queues))):
            queues.take()
        waiting = len(queues.clients)
        queues.add("z", "z")
        self.assertEqual(drain(queues).index("z"), waiting)


class Model(RuleBasedStateMachine):
    """Compares the queues with a list of items in a list of clients: none is lost, and none is served twice."""

    def __init__(self) -> None:
        super().__init__()
        self.queues: ClientQueues[str, int] = ClientQueues()
        self.expected: list[tuple[str, list[int]]] = []
        self.number = 0

    def items(self, client: str) -> list[int]:
        return next((items for name, items in self.expected if name == client), [])

    def remove(self, client: str, number: int) -> None:
        self.items(client).remove(number)
        self.expected = [(name, items) for name, items in self.expected if items]

    def move_to_end(self, client: str) -> None:
        self.expected.sort(key=lambda each: each[0] == client)

    @rule(client=st.sampled_from(CLIENTS), first=st.booleans())
    def add(self, client: str, first: bool) -> None:
        self.number += 1
        if not self.items(client):
            self.expected.append((client, []))
        if first:
            self.queues.add_first(client, self.number)
            self.items(client).insert(0, self.number)
        else:
            self.queues.add(client, self.number)
            self.items(client).append(self.number)

    @precondition(lambda self: self.expected)
    @rule()
    def take(self) -> None:
        client, items = self.expected[0]
        expected = items[0]
        assert self.queues.take() == expected
        self.move_to_end(client)
        self.remove(client, expected)

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def take_from(self, data: st.DataObject) -> None:
        client, items = data.draw(st.sampled_from(self.expected))
        expected = items[0]
        assert self.queues.first(client) == expected
        assert self.queues.take_from(client) == expected
        self.move_to_end(client)
        self.remove(client, expected)

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def skip(self, data: st.DataObject) -> None:
        client, _ = data.draw(st.sampled_from(self.expected))
        self.queues.skip(client)
        self.move_to_end(client)

    @rule(client=st.sampled_from(CLIENTS), data=st.data())
    def discard(self, client: str, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, self.number + 1))
        present = number in self.items(client)
        assert self.queues.discard(client, number) == present
        if present:
            self.remove(client, number)

    @invariant()
    def same(self) -> None:
        assert list(self.queues.clients) == [client for client, _ in self.expected]
        assert len(self.queues) == sum(len(items) for _, items in self.expected)
        assert [self.queues.count(client) for client in CLIENTS] == [len(self.items(client)) for client in CLIENTS]
        most = max((len(items) for _, items in self.expected), default=0)
        longest = [(most, items[-1]) for _, items in self.expected if len(items) == most]
        found = self.queues.longest()
        assert found in longest if longest else found is None


class ModelTests(SynchronousTestCase):
    """See L{Model}."""

    def test_model(self) -> None:
        run_state_machine_as_test(Model)
