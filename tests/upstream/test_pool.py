"""Tests for L{egress.upstream.pool}."""

from __future__ import annotations

import socket
from functools import partial
from ipaddress import ip_address
from typing import Any

import attrs
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Limits
from egress.http.events import END, NO_BODY, ForwardedHead
from egress.http.heads import HeadLimits
from egress.model.authority import Authority, Origin
from egress.model.route import Route
from egress.transport.fair_turns import RoundRobin
from egress.upstream.http2_origin_stream import Http2OriginStream
from egress.upstream.origin_connection import CLOSE_SECONDS, OriginConnection
from egress.upstream.pool import FRESH_SECONDS, OriginPool
from tests.proxy.fakes import Wire
from tests.upstream.test_http2_origin_connection import ConnectionTestCase, Sink

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
        wire = self.wires[connection]
        origin, wire.socket = socket.socketpair()
        self.addCleanup(origin.close)
        self.addCleanup(wire.socket.close)
        layer = TLSMemoryBIOProtocol(object(), Protocol(), False)
        layer.transport = wire
        connection.transport = layer
        origin.sendall(b"x")
        self.assertIsNone(self.pool.take(KEY, repeatable=True))
        self.assertFalse(self.closed(connection))
        wire.socket.recv(1)
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


class Http2Tests(ConnectionTestCase):
    """A connection over HTTP/2 serves several requests of one client side by side."""

    def setUp(self) -> None:
        super().setUp()
        self.clock.advance(1)
        self.pool = OriginPool(self.clock, Limits(pool_per_origin=1, pool_total=3, idle_timeout=40))
        self.capacity: list[object] = []
        self.pool.on_capacity = self.capacity.append
        self.add()

    def add(self, *, streams: int | None = None) -> None:
        """Open another connection, with one stream."""
        self.connect(streams=streams)
        self.first = self.connection.open_stream()
        self.pool.adopt(KEY, self.connection)

    def tearDown(self) -> None:
        self.pool.close()
        super().tearDown()
        self.assertEqual(len(self.pool), 0)

    def take(self, **options: Any) -> Http2OriginStream | None:
        """Take a stream."""
        stream = self.pool.take(KEY, repeatable=False, **options)
        assert stream is None or isinstance(stream, Http2OriginStream)
        return stream

    def test_streams_of_one_connection(self) -> None:
        self.assertEqual((self.pool.route(KEY), self.pool.route(OTHER)), (self.connection.route, None))
        self.assertIsNone(self.pool.take(OTHER, repeatable=True))
        second = self.take()
        assert second is not None
        self.assertEqual((second.reused, self.connection.streams, len(self.pool)), (True, 2, 0))
        self.assertEqual(list(self.pool.shared(KEY)), [self.connection])

    def test_an_idle_connection_serves_again(self) -> None:
        """Also a request that cannot be repeated, at any time: an origin states which requests it has not read."""
        self.first.abort()
        self.assertEqual((len(self.pool), list(self.pool.shared(KEY)), self.capacity), (1, [], [KEY]))
        self.clock.advance(30)
        self.assertIs(self.pool.route(KEY), self.connection.route)
        one, two = self.take(), self.take()
        self.assertEqual((self.connection.streams, len(self.pool)), (2, 0))
        assert one is not None and two is not None
        one.abort()
        self.assertEqual(len(self.pool), 0)
        two.abort()
        self.assertEqual(len(self.pool), 1)

    def test_capacity(self) -> None:
        self.first.abort()
        self.pool.clear()
        self.clock.advance(1)
        self.add(streams=1)
        self.assertIsNone(self.take())
        self.assertIsNone(self.pool.route(KEY))
        self.first.abort()
        self.assertIsNotNone(self.take())

    def test_a_request_that_waits_takes_a_stream_before_the_connection_is_idle(self) -> None:
        taken: list[Http2OriginStream | None] = []
        self.pool.on_capacity = lambda key: taken.append(self.pool.stream(KEY))
        self.first.abort()
        self.assertEqual((len(self.pool), self.connection.streams), (0, 1))

    def test_addresses(self) -> None:
        """A connection to another address than the authorized ones serves no request."""
        one, other = ip_address("192.0.2.1"), ip_address("192.0.2.2")
        self.connection.route = attrs.evolve(ROUTE, addresses=(one,))
        for idle in (False, True):
            if idle:
                self.first.abort()
            self.assertIsNone(self.take(addresses=(other,)))
            stream = self.take(addresses=(other, one))
            assert stream is not None
            stream.abort()

    def test_clear(self) -> None:
        """Connections in use complete their requests, and serve no others."""
        sink = Sink(self.first)
        self.first.send_request(sink, ForwardedHead("GET", b"/", [(b"Host", b"a")], NO_BODY), b"", END)
        self.wire.exchange()
        self.pool.clear()
        self.assertIsNone(self.take())
        self.wire.respond(1)
        self.clock.advance(0)
        self.assertEqual((sink.events, self.wire.disconnected), ([200, "end"], True))

    def test_clear_during_the_dial(self) -> None:
        """A connection whose opening began before serves only the request that opened it."""
        self.connect()
        stream = self.connection.open_stream()
        self.pool.clear()
        self.pool.adopt(KEY, self.connection)
        self.assertIsNone(self.take())
        stream.abort()
        self.clock.advance(0)
        self.assertTrue(self.wire.disconnected)

    def test_closed_pool(self) -> None:
        self.pool.close()
        self.clock.advance(1)
        self.connect()
        self.connection.open_stream()
        self.pool.adopt(KEY, self.connection)
        self.assertIsNone(self.take())

    def test_limit_of_idle_connections(self) -> None:
        idle, wire, first = self.connection, self.wire, self.first
        self.add()
        first.abort()
        self.first.abort()
        self.clock.advance(0)
        self.assertEqual((len(self.pool), wire.disconnected, idle.is_retired), (1, True, True))
        self.assertFalse(self.wire.disconnected)

    def test_idle_timeout(self) -> None:
        self.first.abort()
        self.clock.advance(40)
        self.clock.advance(0)
        self.assertEqual((len(self.pool), self.wire.disconnected), (0, True))

    def test_the_loss_of_connections(self) -> None:
        for idle in (False, True):
            if idle:
                self.add()
                self.first.abort()
            self.wire.lose()
            self.assertIsNone(self.take())
            self.assertEqual((len(self.pool), list(self.pool.shared(KEY))), (0, []))

    def test_goaway_to_an_idle_connection(self) -> None:
        self.first.abort()
        self.wire.act(lambda h2: h2.close_connection())
        self.assertIsNone(self.take())
        self.clock.advance(0)
        self.assertTrue(self.wire.disconnected)

    def test_unread_bytes(self) -> None:
        """The connection may be closed: it serves no further request before they are read."""
        origin, self.wire.socket = socket.socketpair()
        self.addCleanup(origin.close)
        self.addCleanup(self.wire.socket.close)
        self.first.abort()
        origin.sendall(b"x")
        self.assertIsNone(self.take())
        self.wire.socket.recv(1)
        self.assertIsNotNone(self.take())
