"""Tests for L{egress.upstream.shared_dials}."""

from __future__ import annotations

from ipaddress import ip_address

import attrs
from twisted.internet.defer import Deferred

from egress.model.errors import OriginConnectTimeout, OriginUnreachable
from egress.model.phases import CONNECT, Mark
from egress.upstream.interfaces import IOriginStream
from egress.upstream.shared_dials import MAX_CONNECTIONS, MAX_WAITING
from tests.upstream.test_origins import ROUTE, OriginsTestCase


class SharedDialsTests(OriginsTestCase):
    """Concurrent requests share connections, within limits."""

    def setUp(self) -> None:
        super().setUp()
        self.dialer.http2 = True

    def pending(self) -> Deferred[object]:
        """Delay the next dial."""
        deferred: Deferred[object] = self.dialer.pending(self.dialer.dials)
        return deferred

    def connect(self, dial: Deferred[object], number: int = -1) -> None:
        """Let a delayed dial succeed."""
        wire = self.dialer.connect(self.dialer.protocols[number], http2=self.dialer.http2)
        dial.callback(None)
        if self.dialer.http2:
            wire.begin()  # type: ignore[attr-defined]

    def test_requests_wait_for_one_dial(self) -> None:
        dial = self.pending()
        phases: list[Mark] = []
        opened = [self.open(), self.open(phases=phases)]
        self.assertEqual((len(self.dialer.dialled), phases), (1, [(CONNECT, 0.0)]))
        self.connect(dial)
        one, two = (self.successResultOf(opening) for opening in opened)
        self.assertEqual((one.reused, two.reused), (False, True))
        one.abort()
        two.abort()

    def test_failure(self) -> None:
        """It ends all requests that wait for the same dial."""
        dial = self.pending()
        opened = [self.open(), self.open()]
        dial.errback(OriginUnreachable("no route"))
        for opening in opened:
            self.failureResultOf(opening, OriginUnreachable)
        stream = self.successResultOf(self.open())
        self.assertEqual(len(self.dialer.dialled), 2)
        stream.abort()

    def test_other_addresses(self) -> None:
        """A request does not wait for a connection to addresses that were not authorized for it."""
        dial = self.pending()
        first = self.open()
        other = attrs.evolve(ROUTE, addresses=(ip_address("192.0.2.2"),))
        stream = self.successResultOf(self.open(other))
        self.assertEqual((stream.route, len(self.dialer.dialled)), (other, 2))
        self.connect(dial, 0)
        self.assertEqual(self.successResultOf(first).route, ROUTE)
        self.assertEqual(self.successResultOf(self.open(other)).route, other)

    def test_cancelling_the_first_request(self) -> None:
        """The others still wait for its dial."""
        dial = self.pending()
        first, second = self.open(), self.open()
        first.addErrback(lambda _: None)
        first.cancel()
        self.assertEqual(self.dialer.cancelled, 0)
        self.connect(dial)
        self.successResultOf(second).abort()

    def test_cancelling_all_requests(self) -> None:
        self.pending()
        opened = [self.open(), self.open()]
        for opening in opened:
            opening.addErrback(lambda _: None)
            opening.cancel()
        self.assertEqual(self.dialer.cancelled, 1)
        self.successResultOf(self.open()).abort()

    def full(self, connections: int = 1) -> list[IOriginStream]:
        """Use all streams of connections that permit one stream each."""
        self.dialer.streams = 1
        streams = []
        for _ in range(connections):
            streams.append(self.successResultOf(self.open()))
            self.wire().begin()
        return streams

    def test_more_requests_than_streams(self) -> None:
        """They open further connections."""
        streams = self.full(3)
        self.assertEqual(len(self.dialer.dialled), 3)
        for stream in streams:
            stream.abort()
        self.assertEqual(len(self.pool), 3)

    def test_a_burst(self) -> None:
        """After the limit of the origin is known, a new connection serves no more requests."""
        streams = self.full()
        dial = self.pending()
        opened = [self.open() for _ in range(3)]
        self.connect(dial)
        self.assertEqual(len(self.dialer.dialled), 4)
        streams += [self.successResultOf(opening) for opening in opened]
        for stream in streams:
            stream.abort()

    def test_the_maximum_number_of_connections(self) -> None:
        streams = self.full(MAX_CONNECTIONS)
        waiting = [self.open() for _ in range(3)]
        self.assertEqual(len(self.dialer.dialled), MAX_CONNECTIONS)
        streams[0].abort()
        streams.append(self.successResultOf(waiting[0]))
        with self.subTest("a request that the client gives up"):
            waiting[1].addErrback(lambda _: None)
            waiting[1].cancel()
        with self.subTest("the wait is limited"):
            self.clock.advance(10)
            self.assertIn(
                "limits concurrent requests", self.failureResultOf(waiting[2], OriginConnectTimeout).value.reason
            )
        for stream in streams[1:]:
            stream.abort()

    def test_the_maximum_number_of_waiting_requests(self) -> None:
        self.pending()
        opened = [self.open() for _ in range(MAX_WAITING)]
        self.failureResultOf(self.open(), OriginConnectTimeout)
        for opening in opened:
            opening.addErrback(lambda _: None)
            opening.cancel()

    def test_an_origin_that_permits_no_stream(self) -> None:
        """Its connections are not used again."""
        self.dialer.streams = 0
        for _ in range(2):
            stream = self.successResultOf(self.open())
            self.wire().begin()
            stream.abort()
            self.clock.advance(0)
            self.assertTrue(self.wire().disconnected)
        self.assertEqual((len(self.dialer.dialled), len(self.pool)), (2, 0))

    def test_a_further_connection_that_fails(self) -> None:
        """The requests wait for the connections that exist."""
        streams = self.full()
        self.dialer.dials.append(OriginUnreachable("too many connections"))
        waiting = self.open()
        self.assertNoResult(waiting)
        streams[0].abort()
        self.successResultOf(waiting).abort()

    def test_a_connection_that_is_retired(self) -> None:
        """The requests that wait for it open another one."""
        self.dialer.streams = 1
        streams = self.full()
        self.dialer.dials.append(OriginUnreachable("too many connections"))
        waiting = self.open()
        self.wire().lose()
        self.assertEqual(len(self.dialer.dialled), 3)
        self.successResultOf(waiting).abort()
        streams[0].abort()

    def test_a_reload_during_the_dial(self) -> None:
        """The connection serves only the requests that waited for it."""
        dial = self.pending()
        opened = [self.open(), self.open()]
        self.clock.advance(1)
        self.pool.clear()
        self.clock.advance(1)
        self.connect(dial)
        self.successResultOf(opened[0]).abort()
        self.assertEqual(len(self.dialer.dialled), 2)
        self.successResultOf(opened[1]).abort()
        self.assertEqual(len(self.pool), 1)
