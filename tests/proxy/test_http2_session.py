"""Tests for L{egress.proxy.http2_session}."""

from __future__ import annotations

from typing import Any, cast

from h2.errors import ErrorCodes
from twisted.internet.defer import Deferred

from egress.config.model import Limits
from egress.model.decision import Decision
from egress.proxy.http2_session import Http2Session
from tests.http2.frames import CONTINUATION, DATA, HEADERS, PING, PRIORITY, SETTINGS, WINDOW_UPDATE, frame
from tests.proxy.fakes import allow, response
from tests.proxy.http2_client import Http2TestCase
from tests.transport.tls import TlsClient, leaves


class NegotiationTests(Http2TestCase):
    """The protocol that a client selects in the TLS handshake."""

    def test_http1_remains(self) -> None:
        """A client that does not offer HTTP/2 has a session as before."""
        self.client = self.connect()
        tls = self.intercept()
        tls.send(b"GET /a HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        self.assertTrue(self.origin.take().startswith(b"GET /a HTTP/1.1\r\n"))

    def test_the_settings(self) -> None:
        self.assertEqual(self.http2.h2.remote_settings.max_concurrent_streams, 100)
        self.assertEqual(self.http2.h2.remote_settings.max_header_list_size, Limits().head)
        self.assertFalse(self.http2.h2.remote_settings.enable_push)


class BatchTests(Http2TestCase):
    """The requests of one read."""

    def test_writes_to_origins(self) -> None:
        """They wait until all requests are processed."""
        writes, order = self.proxy.parts.turns.writes, list[str]()

        def write() -> None:
            order.append("write")

        def answer() -> Decision:
            writes.add(write)
            order.append("decision")
            return allow()

        self.authorizer.answers = [answer, answer]
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", "origin.test"), (":path", "/a")]
        for stream in (1, 3):
            self.http2.h2.send_headers(stream, fields, end_stream=True)
        self.http2.flush()
        self.assertEqual(order, ["decision", "decision", "write"])


class LengthTests(Http2TestCase):
    """The announced length of a request to an HTTP/1.1 origin."""

    def test_trailers_that_end_the_content_too_early(self) -> None:
        """The origin waits for the rest, so it must not get the next request on this connection."""
        self.authorizer.needs_body = False
        pseudo = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"origin.test"), (b":path", b"/a")]
        self.http2.send([*pseudo, (b"content-length", b"10")], 1, end=False)
        self.http2.data(1, b"12345")
        self.http2.send([(b"x-sum", b"1")], 1)
        self.assertEqual(self.http2.reset(1), ErrorCodes.PROTOCOL_ERROR)
        self.assertTrue(self.origin.take().endswith(b"\r\n\r\n12345"))
        self.assertTrue(self.origin.disconnected)
        self.assertEqual(self.records[0].outcome, "bad-request")


class SmallFrameTests(Http2TestCase):
    """Content in many small frames."""

    def test_it_is_joined_while_it_waits(self) -> None:
        decision: Deferred[Decision] = Deferred()
        self.authorizer.answers = [decision]
        stream = self.http2.request(method="POST", end=False)
        self.http2.tls.send(frame(DATA, 0, stream, b"ab") * 10_000)
        (session,) = [each for each in self.proxy.parts.sessions._open if isinstance(each, Http2Session)]  # noqa: SLF001
        waiting: Any = cast("Any", session)._streams[stream]._waiting  # noqa: SLF001
        self.assertEqual(sum(map(len, waiting)), 20_000)
        self.assertLess(len(waiting), 10)
        decision.callback(allow())
        self.assertEqual(self.origin.take().count(b"ab"), 10_000)


class EndTests(Http2TestCase):
    """The end of a connection."""

    def test_idle(self) -> None:
        self.http2.request()
        self.origin.feed(response())
        self.clock.advance(76)
        self.http2.read()
        self.assertEqual(self.http2.goodbye, (0, 1))
        self.assertTrue(self.http2.tls.read().closed)

    def test_unused(self) -> None:
        self.clock.advance(31)
        self.http2.read()
        self.assertEqual(self.http2.goodbye, (0, 0))

    def test_shutdown(self) -> None:
        """Streams end before the connection."""
        self.http2.request()
        self.proxy.parts.sessions.drain()
        self.http2.read()
        self.assertEqual(self.http2.goodbye, (0, 1))
        self.origin.feed(response())
        self.clock.advance(0)
        self.assertIn(b"hello", self.http2.tls.take())
        self.assertTrue(self.http2.tls.closed)

    def test_shutdown_while_the_client_reads_slowly(self) -> None:
        """The last response is complete."""
        self.http2.request(method="HEAD")
        self.proxy.parts.sessions.drain()
        self.http2.read()
        self.client.choke()
        self.origin.feed(response(b"", "X-One: 1"))
        self.client.unchoke()
        self.assertIn(b"x-one", self.http2.tls.take())
        self.assertTrue(self.http2.tls.closed)

    def test_a_goodbye_of_the_client(self) -> None:
        """The streams that are open end before the connection."""
        self.http2.request()
        self.http2.h2.close_connection()
        self.http2.flush()
        self.origin.feed(response())
        self.assertIn(b"hello", self.http2.tls.take())
        self.assertTrue(self.http2.tls.read().closed)

    def test_no_http2(self) -> None:
        self.client = self.connect()
        self.tunnel()
        tls = TlsClient(self.client, protocols=[b"h2"]).shake()
        tls.send(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        self.assertTrue(tls.closed)

    def test_timeouts_of_exchanges(self) -> None:
        self.build(leaves=leaves(), limits=Limits(response_timeout=10))
        self.authorizer.needs_body = False
        self.start()
        one = self.http2.request("/one")
        self.clock.advance(5)
        two = self.http2.request("/two")
        self.clock.advance(6)
        self.http2.read()
        self.assertEqual((self.http2.status(one), self.http2.status(two)), (504, 0))
        self.clock.advance(5)
        self.http2.read()
        self.assertEqual(self.http2.status(two), 504)


class FloodTests(Http2TestCase):
    """A client that causes work without progress is disconnected."""

    def setUp(self) -> None:
        super().setUp()
        self.tls = self.http2.tls

    def assert_calmed(self) -> None:
        """The connection ends with a reason."""
        self.http2.read()
        self.assertEqual(self.http2.goodbye, (ErrorCodes.ENHANCE_YOUR_CALM, self.http2.h2.highest_outbound_stream_id))
        self.assertTrue(self.tls.closed)
        self.assertEqual(self.proxy.parts.sessions.http2_faults, 1)

    def send(self, data: bytes) -> None:
        """Send frames, in as many turns of the reactor as they take."""
        for at in range(0, len(data), 16384):
            self.tls.send(data[at : at + 16384])
            for _ in range(100):
                self.clock.advance(0)

    def test_rapid_reset(self) -> None:
        """CVE-2023-44487: each request is cancelled immediately."""
        for _ in range(300):
            if self.tls.read().closed:
                break
            stream = self.http2.request()
            self.http2.h2.reset_stream(stream)
            self.http2.flush()
        self.assert_calmed()
        self.assertLess(len(self.records), 250)
        self.assertEqual(set(self.outcomes()), {"client-disconnected"})

    def test_provoked_resets(self) -> None:
        """CVE-2025-8671: the proxy itself resets each stream."""
        for _ in range(150):
            if self.tls.read().closed:
                break
            stream = self.http2.request(end=False, method="POST")
            self.send(frame(WINDOW_UPDATE, 0, stream, b"\x7f\xff\xff\xff"))
        self.assert_calmed()

    def test_malformed_requests(self) -> None:
        for _ in range(150):
            if self.tls.read().closed:
                break
            self.http2.request("/", (b"connection", b"close"))
        self.assert_calmed()

    def test_floods(self) -> None:
        for kind, stream, payload in (
            (PING, 0, b"12345678"),
            (SETTINGS, 0, b"\0\4\0\0\xff\xff"),
            (PRIORITY, 1, b"\0\0\0\0\0"),
            (WINDOW_UPDATE, 0, b"\0\0\0\1"),
            (99, 0, b""),
            (DATA, 1, b""),
        ):
            with self.subTest((kind,)):
                self.client = self.connect()
                self.start()
                self.setUp_flood()
                self.send(frame(kind, 0, stream, payload) * 1100)
                self.assert_calmed()

    def setUp_flood(self) -> None:
        """Open one stream with content."""
        self.tls = self.http2.tls
        self.proxy.parts.sessions.http2_faults = 0
        self.http2.request(method="POST", end=False)

    def test_continuations(self) -> None:
        """CVE-2024-27316."""
        self.send(frame(HEADERS, 0, 1, b"") + frame(CONTINUATION, 0, 1, b"") * 20)
        self.assert_calmed()

    def test_a_large_field_list(self) -> None:
        """A block of few bytes that expands to many."""
        block = b"\x40\x01a\x7f\x81\x1e" + b"x" * 3968
        self.send(frame(HEADERS, 4, 1, block + b"\xbe" * 1000))
        self.assert_calmed()

    def test_pings_whose_responses_are_not_read(self) -> None:
        """The proxy stops reading, and stores a bounded number of bytes."""
        self.http2.request()
        self.client.high_water = 0
        sent = frame(PING, 0, 0, b"12345678") * 40
        for _ in range(100):
            self.clock.advance(1)
            self.tls.connection.send(sent)
            self.client.feed(self.tls.connection.bio_read(1 << 20))
        self.assertTrue(self.client.paused)
        self.assertGreater(self.client.undelivered, 10_000)
        self.assertFalse(self.client.disconnected)
        self.client.high_water = None
        self.client.unchoke()
        self.clock.advance(0)
        self.assertFalse(self.client.paused)


class LimitTests(Http2TestCase):
    """Streams count against the limits of connections."""

    def limit(self, **limits: int) -> None:
        self.build(leaves=leaves(), limits=Limits(**limits))
        self.authorizer.needs_body = False
        self.start()

    def test_streams_of_one_client(self) -> None:
        self.limit(connections_per_client=3)
        streams = [self.http2.request() for _ in range(4)]
        self.assertEqual([self.http2.status(stream) for stream in streams], [0, 0, 0, 429])
        self.assertEqual(self.outcomes(), ["too-many-connections"])
        self.assertEqual(self.proxy.parts.sessions.count_for("198.51.100.7"), 3)
        self.dialer.origins[0].feed(response())
        self.assertEqual(self.proxy.parts.sessions.count_for("198.51.100.7"), 2)
        self.assertEqual(self.http2.status(self.http2.request()), 0)

    def test_all_streams(self) -> None:
        self.limit(connections=2)
        streams = [self.http2.request() for _ in range(3)]
        self.assertEqual([self.http2.status(stream) for stream in streams], [0, 0, 503])

    def test_concurrent_streams(self) -> None:
        """A stream beyond the configured limit is refused (RFC 9113 section 5.1.2), and can be sent again later."""
        self.limit(http2_streams=2)
        self.assertEqual(self.http2.h2.remote_settings.max_concurrent_streams, 2)
        self.http2.h2.remote_settings.max_concurrent_streams = 9
        self.http2.h2.remote_settings.acknowledge()
        streams = [self.http2.request() for _ in range(3)]
        self.assertEqual([self.http2.reset(each) for each in streams], [None, None, ErrorCodes.REFUSED_STREAM])
        self.assertEqual(len(self.authorizer.asked), 2)
        self.dialer.origins[0].feed(response(b"one"))
        again = self.http2.request()
        self.assertIsNone(self.http2.reset(again))
        self.assertEqual((self.http2.content(streams[0]), len(self.authorizer.asked)), (b"one", 3))

    def test_the_end_of_a_connection(self) -> None:
        for _ in range(5):
            self.http2.request()
        sessions = self.proxy.parts.sessions
        self.assertEqual((sessions.clients, sessions.streams), (1, 4))
        self.client.lose()
        self.assertEqual((sessions.clients, sessions.streams, sessions.count_for("198.51.100.7")), (0, 0, 0))

    def test_more_streams_than_announced(self) -> None:
        self.http2.h2.remote_settings.max_concurrent_streams = 1000
        self.http2.h2.remote_settings.acknowledge()
        streams = [self.http2.request() for _ in range(101)]
        self.assertEqual(self.http2.reset(streams[-1]), ErrorCodes.REFUSED_STREAM)
        self.assertIsNone(self.http2.reset(streams[-2]))
