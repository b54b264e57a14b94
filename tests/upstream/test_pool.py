"""Tests for L{egress.upstream.pool}."""

from __future__ import annotations

import socket
from functools import partial
from ipaddress import ip_address

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Limits
from egress.http.heads import HeadLimits
from egress.model.authority import Authority, Origin
from egress.model.route import Route
from egress.transport.fair_turns import RoundRobin
from egress.upstream.origin_connection import CLOSE_SECONDS, OriginConnection
from egress.upstream.pool import FRESH_SECONDS, OriginPool
from tests.proxy.fakes import Wire

ROUTE = Route(Origin("http", Authority("origin.test", 80)), (), None, False, False)
KEY, OTHER = ("a",), ("b",)


class OriginPoolTests(SynchronousTestCase):
    """Idle connections: their number, idle time and client."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.pool = OriginPool(self.clock, Limits(pool_per_origin=2, pool_total=3, idle_timeout=40))
        self.wires: dict[OriginConnection, Wire] = {}

    def tearDown(self) -> None:
        self.pool.close()
        for wire in self.wires.values():
            wire.lose()
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.pool), 0)

    def connection(self) -> OriginConnection:
        """Return a connected connection."""
        connection = OriginConnection(ROUTE, HeadLimits(1000, 10, 100), self.clock, RoundRobin(self.clock))
        self.wires[connection] = Wire(self.clock).connect(connection)
        return connection

    def put(self, key: tuple[str, ...] = KEY) -> OriginConnection:
        """Return a connection to the pool."""
        connection = self.connection()
        self.pool.put(key, connection)
        return connection

    def closed(self, connection: OriginConnection) -> bool:
        """Tell whether a connection was closed gracefully."""
        self.clock.advance(0)
        wire = self.wires[connection]
        self.assertFalse(wire.aborted)
        return wire.disconnected

    def test_clear(self) -> None:
        """This closes idle connections, and older connections are no longer stored after their use."""
        resting, busy = self.put(), self.connection()
        self.clock.advance(1)
        self.pool.clear()
        self.pool.put(OTHER, busy)
        self.assertTrue(self.closed(resting) and self.closed(busy))
        self.clock.advance(1)
        self.assertFalse(self.closed(self.put()))
        self.assertIsNotNone(self.pool.route(KEY))

    def test_addresses(self) -> None:
        """A connection to another address than the authorized ones is not returned."""
        connection = self.put()
        one, other = ip_address("192.0.2.1"), ip_address("192.0.2.2")
        connection.route = attrs.evolve(ROUTE, addresses=(one,))
        self.assertIs(self.pool.route(KEY), connection.route)
        self.assertIsNone(self.pool.take(KEY, repeatable=True, addresses=(other,)))
        self.assertIs(self.pool.take(KEY, repeatable=True, addresses=(other, one)), connection)

    def test_each_connection_is_returned_once(self) -> None:
        self.assertIsNone(self.pool.route(KEY))
        self.assertIsNone(self.pool.take(KEY, repeatable=True))
        connection = self.put()
        self.assertIsNotNone(self.pool.route(KEY))
        self.assertIsNone(self.pool.route(OTHER))
        self.assertIsNone(self.pool.take(OTHER, repeatable=True))
        self.assertIs(self.pool.take(KEY, repeatable=True), connection)
        self.assertIsNone(self.pool.take(KEY, repeatable=True))
        self.assertEqual(len(self.pool), 0)

    def test_shortest_idle_time_comes_first(self) -> None:
        first, second = self.put(), self.put()
        self.assertIs(self.pool.take(KEY, repeatable=True), second)
        self.assertIs(self.pool.take(KEY, repeatable=True), first)

    def test_unrepeatable_request_needs_a_fresh_connection(self) -> None:
        connection = self.put()
        self.clock.advance(FRESH_SECONDS + 0.1)
        self.assertIsNone(self.pool.take(KEY, repeatable=False))
        fresh = self.put()
        self.clock.advance(FRESH_SECONDS)
        self.assertIs(self.pool.take(KEY, repeatable=False), fresh)
        self.assertIs(self.pool.take(KEY, repeatable=True), connection)

    def test_limit_per_origin_closes_the_oldest(self) -> None:
        connections = [self.put() for _ in range(3)]
        self.assertEqual([self.closed(connection) for connection in connections], [True, False, False])
        self.assertEqual(len(self.pool), 2)

    def test_total_limit_closes_the_least_recently_used(self) -> None:
        first = self.put(("a",))
        second = self.put(("b",))
        self.put(("a",))
        self.put(("c",))
        self.assertEqual([self.closed(first), self.closed(second)], [False, True])
        self.assertEqual(len(self.pool), 3)

    def test_idle_timeout(self) -> None:
        first = self.put()
        self.clock.advance(35)
        second = self.put()
        self.clock.advance(5)
        self.assertEqual([self.closed(first), self.closed(second)], [True, False])
        for _ in range(4):
            self.clock.advance(10)
        self.assertTrue(self.closed(second))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lost_connection_is_removed(self) -> None:
        first, second = self.put(), self.put()
        self.wires[first].lose()
        self.assertEqual(len(self.pool), 1)
        self.wires[second].lose()
        self.assertIsNone(self.pool.route(KEY))

    def test_unsolicited_data_drops_the_connection(self) -> None:
        connection = self.put()
        self.wires[connection].feed(b"HTTP/1.1 200 OK\r\n")
        self.assertTrue(self.wires[connection].aborted)
        self.assertEqual(len(self.pool), 0)

    def test_unread_bytes(self) -> None:
        """A close or unsolicited data is detected before the reactor has read it."""
        for unread in (b"", b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"):
            with self.subTest(unread):
                good, stale = self.put(), self.put()
                origin, self.wires[stale].socket = socket.socketpair()
                self.addCleanup(origin.close)
                self.addCleanup(self.wires[stale].socket.close)
                if unread:
                    origin.sendall(unread)
                else:
                    origin.close()
                self.assertIs(self.pool.take(KEY, repeatable=True), good)
                self.assertTrue(self.closed(stale))
                self.assertEqual(len(self.pool), 0)

    def test_no_unread_bytes(self) -> None:
        """The check runs each time."""
        connection = self.put()
        origin, self.wires[connection].socket = socket.socketpair()
        self.addCleanup(origin.close)
        self.addCleanup(self.wires[connection].socket.close)
        for _ in range(2):
            self.assertIs(self.pool.take(KEY, repeatable=False), connection)
            self.pool.put(KEY, connection)
        origin.sendall(b"x")
        self.assertIsNone(self.pool.take(KEY, repeatable=False))

    def test_unread_bytes_within_tls(self) -> None:
        """They may be a session ticket: the connection stays, and is not used before they are read."""
        connection = self.put()
        self.patch(OriginConnection, "encrypted", True)
        self.patch(OriginConnection, "has_unread", True)
        self.assertIsNone(self.pool.take(KEY, repeatable=True))
        self.assertFalse(self.closed(connection))
        self.patch(OriginConnection, "has_unread", False)
        self.assertIs(self.pool.take(KEY, repeatable=True), connection)

    def test_on_lost(self) -> None:
        """It is called once, unless the connection is taken again."""
        told: list[str] = []
        for name in ("taken", "lost", "discarded", "late"):
            connection = self.connection()
            if name == "late":
                self.pool.close()
            self.pool.put(KEY, connection, partial(told.append, name))
            if name == "taken":
                self.pool.take(KEY, repeatable=True)
            elif name == "lost":
                self.wires[connection].lose()
            elif name == "discarded":
                self.pool.discard(KEY)
                self.pool.discard(KEY)
        self.assertEqual(told, ["lost", "discarded", "late"])

    def test_unresponsive_close_is_aborted(self) -> None:
        connection = self.put()
        self.wires[connection].choke()
        self.pool.close()
        self.clock.advance(CLOSE_SECONDS)
        self.clock.advance(0)
        self.assertTrue(self.wires[connection].aborted)

    def test_closed_pool_stores_no_connections(self) -> None:
        resting = self.put()
        self.pool.close()
        late = self.put()
        self.assertEqual([self.closed(resting), self.closed(late)], [True, True])
        self.assertEqual(len(self.pool), 0)
