"""Requests to origins over HTTP/2 that such origins refuse, end or reset, as their servers do in practice.

C{golang/go#39337} and C{nodejs/undici#3140}: clients that fail requests because of C{GOAWAY} or C{REFUSED_STREAM}.
"""

from __future__ import annotations

from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

from egress.http.events import DELIMITED, END
from egress.model.authority import Authority, Origin
from egress.proxy.outgoing_request import MAX_UNREAD
from egress.upstream.origin_connection import OriginConnection
from tests.proxy.fakes import ProxyTestCase
from tests.proxy.test_interfaces import ClientConnection, ClientStream
from tests.upstream.h2_server import Http2Wire


class Http2OriginTests(ProxyTestCase):
    """Exchanges of one client with an origin that uses HTTP/2."""

    def setUp(self) -> None:
        self.build()
        self.authorizer.needs_body = False
        self.dialer.http2 = True
        self.connection = ClientConnection(self.proxy.parts, self.proxy.pool)

    def wire(self, number: int = -1) -> Http2Wire:
        """Return an origin."""
        wire = self.dialer.origins[number]
        assert isinstance(wire, Http2Wire)
        return wire

    def open(self, path: bytes = b"/") -> ClientStream:
        """Begin an exchange, and let the origin read the request."""
        stream = self.connection.open(path)
        self.wire().exchange()
        return stream

    def test_exchanges_share_a_connection(self) -> None:
        one, two = self.open(b"/one"), self.open(b"/two")
        self.wire().respond(3, b"2")
        self.wire().respond(1, b"1")
        self.assertEqual(one.events, [200, b"1", "end", "finished"])
        self.assertEqual(two.events, [200, b"2", "end", "finished"])
        self.assertEqual(self.outcomes(), ["forwarded"] * 2)
        three = self.open()
        self.wire().respond(5)
        self.assertEqual((three.events, len(self.dialer.origins)), ([200, "end", "finished"], 1))
        self.assertEqual([request["via"] for request in self.wire().requests], ["2 egressproxy"] * 3)

    def test_clients_do_not_share_a_connection(self) -> None:
        other = ClientConnection(self.proxy.parts, self.proxy.pool, "203.0.113.9")
        streams = [self.open(), other.open(b"/")]
        self.assertEqual(len(self.dialer.origins), 2)
        for stream in streams:
            stream.exchange.client_lost()

    def test_a_client_that_leaves(self) -> None:
        one, two = self.open(), self.open()
        one.exchange.client_lost()
        self.wire().exchange()
        self.assertEqual(self.wire().resets, [(1, ErrorCodes.CANCEL)])
        self.wire().respond(3)
        self.assertEqual(two.events, [200, "end", "finished"])
        self.assertEqual(self.outcomes(), ["client-disconnected", "forwarded"])

    def test_refused_streams(self) -> None:
        """The request is sent again a few times, also if it cannot be repeated otherwise."""
        stream = self.connection.open(b"/", DELIMITED)
        stream.receive(END)
        for attempt in range(MAX_UNREAD + 1):
            self.assertEqual(stream.events, [])
            self.wire().exchange()
            self.wire().act(lambda h2, at=attempt: h2.reset_stream(2 * at + 1, ErrorCodes.REFUSED_STREAM))  # type: ignore[misc]
        self.assertEqual((stream.events, self.outcomes()), (["OriginDisconnected"], ["origin-disconnected"]))
        self.assertEqual(len(self.dialer.origins), 1)

    def test_goaway(self) -> None:
        """Requests that the origin has not processed are sent over another connection."""
        one, two = self.open(b"/one"), self.open(b"/two")
        self.wire().feed(GoAwayFrame(0, last_stream_id=1).serialize())
        self.assertEqual(len(self.dialer.origins), 2)
        self.wire().exchange().respond(1, b"2")
        self.wire(0).respond(1, b"1")
        self.assertEqual(one.events, [200, b"1", "end", "finished"])
        self.assertEqual(two.events, [200, b"2", "end", "finished"])
        self.assertEqual(self.wire().requests[0][":path"], "/two")

    def test_content_that_was_sent_is_not_sent_again(self) -> None:
        stream = self.connection.open(b"/", DELIMITED)
        stream.receive(b"abc")
        self.wire().exchange()
        self.wire().act(lambda h2: h2.reset_stream(1, ErrorCodes.REFUSED_STREAM))
        self.assertEqual((stream.events, len(self.dialer.origins)), (["OriginDisconnected"], 1))

    def test_an_origin_that_requires_http_1(self) -> None:
        stream = self.open()
        self.dialer.http2 = False
        self.wire().act(lambda h2: h2.reset_stream(1, ErrorCodes.HTTP_1_1_REQUIRED))
        self.assertEqual(self.dialer.offers, [True, False])
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual(stream.events, [200, b"ok", "end", "finished"])

    def test_grpc_without_tls(self) -> None:
        """Other requests use HTTP/1.1."""
        origin = Origin("http", Authority("origin.test", 80))
        grpc = self.connection.open(b"/s/m", DELIMITED, ((b"content-type", b"application/grpc"),), origin)
        grpc.receive(b"abc", END)
        self.wire().exchange()
        self.assertEqual(self.wire().requests[0][":scheme"], "http")
        self.wire().respond(1, b"ok", trailers=[("grpc-status", "0")])
        self.assertEqual(grpc.events, [200, b"ok", "end", "finished"])
        other = self.connection.open(b"/", DELIMITED, (), Origin("http", Authority("other.test", 80)))
        self.assertIsInstance(self.origin.protocol, OriginConnection)
        other.exchange.client_lost()

    def test_a_lost_connection(self) -> None:
        """A request that can be repeated is sent again, if the connection had served another one before."""
        first = self.open()
        self.wire().respond(1)
        second = self.open()
        self.wire().lose()
        self.assertEqual((first.events, len(self.dialer.origins)), ([200, "end", "finished"], 2))
        self.wire().exchange().respond(1)
        self.assertEqual(second.events, [200, "end", "finished"])
        third = self.open()
        self.wire().respond(3, b"x", end=False)
        self.wire().lose()
        self.assertEqual(third.events, [200, b"x", "reset"])

    def test_logins_use_http_1(self) -> None:
        for field in ((b"Authorization", b"Negotiate abc"), (b"Authorization", b"NTLM abc")):
            self.connection.open(b"/", fields=(field,)).exchange.client_lost()
        self.assertEqual(self.dialer.offers, [False, False])
