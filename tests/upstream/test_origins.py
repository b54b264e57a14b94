"""Tests for L{egress.upstream.origins}."""

from __future__ import annotations

from ipaddress import ip_address

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.config.model import Limits
from egress.http.heads import HeadLimits
from egress.model.authority import Authority, Origin, UpstreamProxy
from egress.model.errors import OriginHttp2Only, OriginUnreachable
from egress.model.phases import Mark
from egress.model.route import Route
from egress.transport.fair_turns import RoundRobin
from egress.upstream.http2_origin_stream import Http2OriginStream
from egress.upstream.interfaces import IOriginStream
from egress.upstream.origin_connection import OriginConnection, PoolKey
from egress.upstream.origins import Origins
from egress.upstream.pool import OriginPool
from tests.proxy.fakes import FakeDialer
from tests.upstream.h2_server import Http2Wire

ADDRESS = ip_address("192.0.2.1")
ROUTE = Route(Origin("https", Authority("origin.test", 443)), (ADDRESS,), None, True, False)
KEY, OTHER = ("a",), ("b",)


class OriginsTestCase(SynchronousTestCase):
    """The origins in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.dialer = FakeDialer(self.clock)
        self.pool = OriginPool(self.clock, Limits())
        self.origins = Origins(
            self.dialer,
            HeadLimits(1000, 10, 100),
            self.clock,
            RoundRobin(self.clock),
            pool=self.pool,
            patience=10,
        )

    def tearDown(self) -> None:
        self.pool.close()
        for wire in self.dialer.origins:
            wire.lose()
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def open(
        self,
        route: Route = ROUTE,
        key: PoolKey | None = KEY,
        *,
        phases: list[Mark] | None = None,
        http2: bool = True,
        prior_knowledge: bool = False,
    ) -> Deferred[IOriginStream]:
        """Open a stream."""
        return self.origins.open(  # type: ignore[return-value]
            route, "client", phases, key=key, http2=http2, prior_knowledge=prior_knowledge
        )

    def wire(self, number: int = -1) -> Http2Wire:
        """Return an origin that has chosen HTTP/2."""
        wire = self.dialer.origins[number]
        assert isinstance(wire, Http2Wire)
        return wire


class Http1Tests(OriginsTestCase):
    """A stream is available once its connection is established."""

    def setUp(self) -> None:
        super().setUp()
        self.route = attrs.evolve(ROUTE, origin=Origin("http", Authority("origin.test", 80)), tls=False)

    def test_open(self) -> None:
        stream = self.successResultOf(self.origins.open(self.route, "client"))
        verifyObject(IOriginStream, stream)
        self.assertEqual((stream.route, self.dialer.dialled), (self.route, [self.route]))
        stream.abort()
        self.assertTrue(self.dialer.origins[0].aborted)

    def test_failure(self) -> None:
        self.dialer.dials.append(OriginUnreachable("no route"))
        self.failureResultOf(self.origins.open(self.route), OriginUnreachable)

    def test_cancelling_drops_the_connection(self) -> None:
        pending: Deferred[object] = self.dialer.pending(self.dialer.dials)
        opening = self.origins.open(self.route)
        opening.addErrback(lambda _: None)
        opening.cancel()
        self.assertEqual(self.dialer.cancelled, 1)
        self.assertTrue(pending.called)

    def test_no_offer(self) -> None:
        """HTTP/2 is not offered without TLS, nor for a request that needs HTTP/1.1."""
        self.dialer.http2 = True
        for opening in (self.open(self.route), self.open(http2=False)):
            self.assertIsInstance(self.successResultOf(opening), OriginConnection)
        self.assertEqual(self.dialer.offers, [False, False])


class PriorKnowledgeTests(OriginsTestCase):
    """Origins without TLS that are expected to use HTTP/2."""

    def setUp(self) -> None:
        super().setUp()
        self.dialer.http2 = True
        self.route = attrs.evolve(ROUTE, origin=Origin("http", Authority("origin.test", 80)), tls=False)

    def test_shared_connection(self) -> None:
        one, two = (self.successResultOf(self.open(self.route, prior_knowledge=True)) for _ in range(2))
        self.assertIsInstance(one, Http2OriginStream)
        self.assertEqual((two.reused, len(self.dialer.dialled)), (True, 1))
        one.abort()
        two.abort()

    def test_an_origin_that_uses_http_1(self) -> None:
        """The request is sent again in HTTP/1.1."""
        self.successResultOf(self.open(self.route, prior_knowledge=True))
        self.wire().feed(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        stream = self.successResultOf(self.open(self.route, prior_knowledge=True))
        self.assertIsInstance(stream, OriginConnection)

    def test_an_upstream_proxy(self) -> None:
        """It uses HTTP/1.1."""
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        route = attrs.evolve(self.route, upstream=upstream)
        self.assertTrue(route.absolute_form)
        self.assertIsInstance(self.successResultOf(self.open(route, prior_knowledge=True)), OriginConnection)


class VersionTests(OriginsTestCase):
    """The origin's choice decides which requests share a connection."""

    def test_an_origin_with_http_1(self) -> None:
        """The first request finds out, and those that have waited for it open their own connections."""
        first: Deferred[object] = self.dialer.pending(self.dialer.dials)
        opened = [self.open() for _ in range(3)]
        self.assertEqual(len(self.dialer.dialled), 1)
        first.callback(None)
        connections = [self.successResultOf(opening) for opening in opened]
        self.assertEqual({type(connection) for connection in connections}, {OriginConnection})
        self.assertEqual((len(self.dialer.dialled), len(set(map(id, connections)))), (3, 3))
        self.dialer.pending(self.dialer.dials)
        waiting = [self.open(), self.open()]
        self.assertEqual(len(self.dialer.dialled), 5)
        self.assertNoResult(waiting[0])
        self.successResultOf(waiting[1])
        self.assertEqual(self.dialer.offers, [True] * 5)
        waiting[0].addErrback(lambda _: None)
        waiting[0].cancel()

    def test_an_origin_with_http_2(self) -> None:
        self.dialer.http2 = True
        one, two = self.successResultOf(self.open()), self.successResultOf(self.open())
        self.assertIsInstance(one, Http2OriginStream)
        self.assertEqual((one.reused, two.reused, len(self.dialer.dialled)), (False, True, 1))
        other = self.successResultOf(self.open(key=OTHER))
        self.assertEqual((other.reused, len(self.dialer.dialled)), (False, 2))
        for stream in (one, two, other):
            stream.abort()
        self.assertEqual(len(self.pool), 2)

    def test_a_connection_that_is_not_shared(self) -> None:
        self.dialer.http2 = True
        for _ in range(2):
            stream = self.successResultOf(self.open(key=None))
            self.assertIsInstance(stream, Http2OriginStream)
            stream.abort()
            self.clock.advance(0)
            self.assertTrue(self.wire().disconnected)
        self.assertEqual((len(self.dialer.dialled), len(self.pool)), (2, 0))

    def test_an_origin_that_changes_its_choice(self) -> None:
        self.assertIsInstance(self.successResultOf(self.open()), OriginConnection)
        self.dialer.http2 = True
        one, two = self.successResultOf(self.open()), self.successResultOf(self.open())
        self.assertIsInstance(one, Http2OriginStream)
        self.assertEqual((two.reused, len(self.dialer.dialled)), (True, 2))
        one.abort()
        two.abort()

    def test_an_origin_that_fails_with_http_2(self) -> None:
        """The next requests use HTTP/1.1; if the origin does not support it, HTTP/2 is tried again."""
        self.dialer.http2 = True
        self.successResultOf(self.open())
        self.wire().feed(b"\0" * 20)
        self.dialer.http2 = False
        self.assertIsInstance(self.successResultOf(self.open()), OriginConnection)
        self.dialer.dials.append(OriginHttp2Only("only HTTP/2"))
        self.failureResultOf(self.open(), OriginHttp2Only)
        self.successResultOf(self.open())
        self.assertEqual(self.dialer.offers, [True, False, False, True])
