"""Tests for L{egress.proxy.connection_registry}."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Limits
from egress.model.errors import Overloaded, TooManyConnections
from egress.proxy.connection_registry import ConnectionRegistry
from egress.proxy.revocations import Cutoff


class _Session:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def drain(self) -> None:
        self.calls.append("drain")

    def abort(self) -> None:
        self.calls.append("abort")

    def revoke(self, cutoff: Cutoff) -> None:
        self.calls.append("revoke")


class SessionsTests(SynchronousTestCase):
    """Draining waits for the last session."""

    def setUp(self) -> None:
        self.sessions = ConnectionRegistry()
        self.one, self.two = _Session(), _Session()

    def add_both(self) -> None:
        self.sessions.add(self.one)
        self.sessions.add(self.two)

    def test_draining_without_sessions_ends_immediately(self) -> None:
        self.successResultOf(self.sessions.drain())

    def test_drain_closes_all_and_waits_for_the_last(self) -> None:
        self.add_both()
        drained = self.sessions.drain()
        self.assertEqual([self.one.calls, self.two.calls], [["drain"], ["drain"]])
        self.sessions.discard(self.one)
        self.assertNoResult(drained)
        self.sessions.discard(self.two)
        self.successResultOf(drained)

    def test_open_sessions(self) -> None:
        self.add_both()
        self.assertEqual(self.sessions.sessions(), [self.one, self.two])
        self.sessions.discard(self.one)
        self.assertNotIn(self.one, self.sessions)
        self.assertIn(self.two, self.sessions)

    def test_waiting_can_be_cancelled(self) -> None:
        self.add_both()
        drained = self.sessions.drain()
        drained.cancel()
        self.failureResultOf(drained, CancelledError)
        self.sessions.discard(self.one)
        self.sessions.discard(self.two)
        self.assertEqual(len(self.sessions), 0)

    def test_streams_count_as_connections(self) -> None:
        limits = Limits(connections=5, connections_per_client=3)
        self.sessions.accept(self.one, "a")
        self.sessions.count_streams("a", 2)
        self.assertEqual((self.sessions.clients, self.sessions.streams, self.sessions.count_for("a")), (1, 2, 3))
        self.assertIsInstance(self.sessions.refusal("a", limits), TooManyConnections)
        self.assertIsNone(self.sessions.refusal("b", limits))
        self.sessions.count_streams("b", 2)
        self.assertIsInstance(self.sessions.refusal("c", limits), Overloaded)
        self.sessions.count_streams("a", -2)
        self.assertIsNone(self.sessions.refusal("a", limits))
        self.sessions.count_streams("b", -2)
        self.assertEqual((self.sessions.streams, self.sessions.count_for("b")), (0, 0))
        self.assertIsNone(self.sessions.refusal("", limits))

    def test_abort_ends_the_remaining_sessions(self) -> None:
        self.add_both()
        self.sessions.abort()
        self.assertEqual([self.one.calls, self.two.calls], [["abort"], ["abort"]])
        self.assertEqual(len(self.sessions), 2)


class ClientsTests(SynchronousTestCase):
    """Connections are counted by client."""

    def test_counts(self) -> None:
        sessions = ConnectionRegistry()
        one, two, inner = (_Session() for _ in range(3))
        sessions.accept(one, "192.0.2.1")
        sessions.accept(two, "192.0.2.2")
        sessions.add(one)
        sessions.add(inner)
        self.assertEqual((sessions.clients, len(sessions), sessions.count_for("192.0.2.1")), (2, 3, 1))
        sessions.discard(inner)
        sessions.discard(one)
        sessions.discard(one)
        self.assertEqual(
            (sessions.clients, sessions.count_for("192.0.2.1"), sessions.count_for("192.0.2.2")), (1, 0, 1)
        )
