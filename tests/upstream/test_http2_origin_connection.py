"""Tests for L{egress.upstream.http2_origin_connection}, with an origin that uses another implementation."""

from __future__ import annotations

import attrs
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from egress.http.events import DELIMITED, END, NO_BODY, End, ForwardedHead, Framing, ResponseHead
from egress.http.heads import HeadLimits
from egress.http2.engine import FRAME_SIZE
from egress.http2.windows import PROCESS_GROWTH, GrowthBudget
from egress.model.authority import Authority, Origin
from egress.model.decision import Headers
from egress.model.errors import EgressError, OriginDisconnected, OriginProtocolError
from egress.model.route import Route
from egress.transport.fair_turns import RoundRobin
from egress.upstream.http2_origin_connection import MAX_STREAMS, SILENCE_SECONDS, Http2OriginConnection
from egress.upstream.http2_origin_stream import Http2OriginStream
from egress.upstream.interfaces import IOriginStream, IResponseSink
from egress.upstream.origin_connection import CLOSE_SECONDS, OriginConnection
from egress.upstream.origin_versions import OriginVersions
from tests.upstream.h2_server import Http2Wire

ROUTE = Route(Origin("https", Authority("origin.test", 443)), (), None, True, False)
LIMITS = HeadLimits(4000, 20, 1000)
HOST = (b"Host", b"origin.test")


@implementer(IResponseSink)
class Sink:
    """Records the events of one stream, as an exchange would receive them."""

    def __init__(self, stream: Http2OriginStream) -> None:
        self.stream = stream
        self.events: list[object] = []
        self.flushes = 0
        self.error: EgressError | None = None
        self.pause_after_head = False

    def response_head(self, head: ResponseHead) -> None:
        self.events.append(head.status)
        self.head = head
        if self.pause_after_head:
            self.stream.pause()

    def response_data(self, data: bytes) -> None:
        self.events.append(data)

    def response_end(self, trailers: Headers) -> None:
        self.events.append(("end", trailers) if trailers else "end")
        self.stream.close()

    def response_flush(self) -> None:
        self.flushes += 1

    def response_failed(self, error: EgressError, *, untouched: bool, unread: bool = False) -> None:
        self.error = error
        self.events.append((type(error), untouched, unread))

    def response_switched(self, data: bytes) -> None:
        raise NotImplementedError

    def pause_request(self) -> None:
        self.events.append("pause")

    def resume_request(self) -> None:
        self.events.append("resume")

    @property
    def content(self) -> bytes:
        """The content of the response."""
        return b"".join(event for event in self.events if isinstance(event, bytes))


class Owner:
    """Records the calls of the connection to its pool."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def freed(self, connection: Http2OriginConnection) -> None:
        self.calls.append("freed")

    def retired(self, connection: Http2OriginConnection) -> None:
        self.calls.append("retired")


class ConnectionTestCase(SynchronousTestCase):
    """A connection in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.connect()

    def connect(self, *, streams: int | None = None, window: int | None = None, begin: bool = True) -> None:
        """Connect to an origin."""
        self.turns = turns = RoundRobin(self.clock)
        dialed = OriginConnection(ROUTE, LIMITS, self.clock, turns)
        self.versions = OriginVersions(self.clock)
        self.versions.learn(ROUTE.origin, http2=True)
        self.growth = GrowthBudget(PROCESS_GROWTH)
        self.connection = Http2OriginConnection(
            dialed, LIMITS, self.clock, turns, client="client", versions=self.versions, growth=self.growth
        )
        self.owner = Owner()
        self.connection.owner = self.owner
        self.wire = Http2Wire(self.clock, streams=streams, window=window)
        self.wire.connect(self.connection)
        if begin:
            self.wire.begin()

    def tearDown(self) -> None:
        self.wire.lose()
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def send(
        self,
        content: bytes = b"",
        end: End | None = END,
        *,
        method: str = "GET",
        framing: Framing = NO_BODY,
        path: bytes = b"/",
        fields: Headers = (),
    ) -> Sink:
        """Send a request on a new stream."""
        sink = Sink(self.connection.open_stream())
        sink.stream.send_request(sink, ForwardedHead(method, path, [HOST, *fields], framing), content, end)
        self.wire.exchange()
        return sink


class RequestTests(ConnectionTestCase):
    """Requests, and the credit of the origin."""

    def test_interface(self) -> None:
        verifyObject(IOriginStream, self.connection.open_stream())

    def test_request_and_response(self) -> None:
        sink = self.send(path=b"/a", fields=((b"TE", b"trailers"), (b"Connection", b"TE")))
        self.assertEqual(
            self.wire.requests,
            [
                {":method": "GET", ":scheme": "https", ":authority": "origin.test", ":path": "/a", "te": "trailers"},
            ],
        )
        self.assertTrue(self.wire.ended(1))
        self.wire.respond(1, fields=[("x", "y")], end=False)
        self.assertEqual(sink.flushes, 1)
        self.wire.act(lambda h2: h2.send_data(1, b"hello", end_stream=True))
        self.assertEqual(sink.events, [200, b"hello", "end"])
        self.assertEqual(sink.head.headers, ((b"x", b"y"),))
        self.assertEqual((self.connection.streams, self.owner.calls, self.wire.resets), (0, ["freed"], []))

    def test_content_and_trailers(self) -> None:
        sink = self.send(b"one", None, method="POST", framing=DELIMITED)
        sink.stream.send_content(b"two")
        sink.stream.send_content(b"", End(((b"X-Sum", b"1"),)))
        self.wire.exchange()
        self.assertEqual((self.wire.content(1), self.wire.trailers(1)), (b"onetwo", [("x-sum", "1")]))
        self.assertTrue(self.wire.ended(1))
        self.wire.respond(1)
        self.assertEqual(sink.events, [200, "end"])

    def test_streams_side_by_side(self) -> None:
        one, two = self.send(), self.send()
        self.assertEqual((one.stream.reused, two.stream.reused), (False, True))
        self.wire.respond(3, b"2")
        self.wire.respond(1, b"1")
        self.assertEqual((one.events, two.events), ([200, b"1", "end"], [200, b"2", "end"]))

    def test_requests_of_one_read_share_a_write(self) -> None:
        with self.turns.writes:
            one = self.send(b"", None, method="POST", framing=DELIMITED)
            one.stream.send_content(b"small")
            two = self.send()
            self.assertEqual(self.wire.requests, [])
        self.wire.exchange()
        self.assertEqual((len(self.wire.requests), self.wire.content(1)), (2, b"small"))
        self.wire.respond(3)
        self.assertEqual(two.events, [200, "end"])

    def test_large_content_does_not_wait(self) -> None:
        with self.turns.writes:
            self.send(b"x" * FRAME_SIZE, None, method="POST", framing=DELIMITED)
            self.assertEqual(len(self.wire.content(1)), FRAME_SIZE)

    def test_backpressure_of_the_origin(self) -> None:
        """Content waits for credit, the sink is paused, and other streams continue."""
        self.wire.credit = False
        sink = self.send(b"x" * 60000, None, method="POST", framing=DELIMITED)
        self.assertEqual(sink.events, [])
        sink.stream.send_content(b"y" * 100_000)
        self.wire.exchange()
        self.assertEqual((sink.events, len(self.wire.content(1))), (["pause"], 65535))
        self.wire.act(lambda h2: h2.increment_flow_control_window(200_000))
        other = self.send()
        self.wire.respond(3)
        self.assertEqual(other.events, [200, "end"])
        self.wire.act(lambda h2: h2.increment_flow_control_window(50_000, 1))
        self.assertEqual(sink.events, ["pause"])
        self.wire.act(lambda h2: h2.increment_flow_control_window(50_000, 1))
        self.assertEqual((sink.events, len(self.wire.content(1))), (["pause", "resume"], 160_000))
        sink.stream.abort()

    def test_backpressure_of_the_transport(self) -> None:
        sink = self.send(b"", None, method="POST", framing=DELIMITED)
        self.wire.choke()
        sink.stream.send_content(b"x" * 200_000)
        self.assertEqual((sink.events, self.wire.take()), (["pause"], b""))
        self.wire.unchoke()
        self.wire.exchange()
        self.assertEqual((sink.events, len(self.wire.content(1))), (["pause", "resume"], 200_000))
        sink.stream.abort()

    def test_limit_of_the_origin(self) -> None:
        self.connect(streams=2)
        self.assertEqual(self.versions.streams(ROUTE.origin), 2)
        self.send()
        self.assertTrue(self.connection.has_capacity)
        self.send()
        self.assertFalse(self.connection.has_capacity)
        self.wire.respond(1)
        self.assertTrue(self.connection.has_capacity)

    def test_limit_before_the_settings(self) -> None:
        self.connect(begin=False)
        for _ in range(MAX_STREAMS):
            self.assertTrue(self.connection.has_capacity)
            self.connection.open_stream()
        self.assertFalse(self.connection.has_capacity)

    def test_no_login(self) -> None:
        self.assertRaises(ValueError, self.connection.open_stream().log_in)
        self.assertFalse(self.connection.open_stream().end_writing())


class ResponseTests(ConnectionTestCase):
    """Responses are delivered on demand, and end exactly once."""

    def test_interim_responses_and_trailers(self) -> None:
        sink = self.send()
        self.wire.act(lambda h2: h2.send_headers(1, [(":status", "103"), ("link", "</a>")]))
        self.wire.respond(1, b"x", trailers=[("x-sum", "1"), ("content-length", "9")])
        self.assertEqual(sink.events, [103, 200, b"x", ("end", ((b"x-sum", b"1"),))])

    def test_head(self) -> None:
        sink = self.send(method="HEAD")
        self.wire.respond(1, fields=[("content-length", "5")])
        self.assertEqual(sink.events, [200, "end"])

    def test_not_modified(self) -> None:
        """A length describes the content that another response would have."""
        sink = self.send()
        self.wire.respond(1, b"", status="304", fields=[("content-length", "5")])
        self.assertEqual(sink.events, [304, "end"])

    def test_backpressure_of_the_client(self) -> None:
        """Credit is given only for what the client takes, and other streams continue."""
        sink, other = self.send(), self.send()
        sink.pause_after_head = True
        self.wire.respond(1, b"x" * 1000, end=False)
        self.assertEqual(sink.events, [200])
        sent = 1000
        while True:
            size = min(16384, self.wire.h2.local_flow_control_window(1))
            if not size:
                break
            self.wire.act(lambda h2, size=size: h2.send_data(1, b"x" * size))  # type: ignore[misc]
            sent += size
        self.assertEqual(sent, 65536)
        self.wire.respond(3, b"y" * 16000, b"y" * 16000)
        self.assertEqual(len(other.content), 32000)
        sink.stream.resume()
        self.wire.exchange()
        self.assertEqual(len(sink.content), sent)
        self.assertGreater(self.wire.h2.local_flow_control_window(1), 32768)
        sink.stream.abort()

    def test_the_window_grows_for_a_client_that_keeps_up(self) -> None:
        sink = self.send()
        self.wire.respond(1, end=False)
        for _ in range(40):
            self.wire.act(lambda h2: h2.send_data(1, b"x" * 16384))
        self.assertEqual(len(sink.content), 40 * 16384)
        self.assertGreater(self.wire.h2.local_flow_control_window(1), 200_000)
        # Until the stream is over.
        self.assertFalse(self.growth.take(PROCESS_GROWTH // 2))
        sink.stream.abort()
        self.assertTrue(self.growth.take(PROCESS_GROWTH // 2))

    def test_the_growth_of_a_lost_connection(self) -> None:
        sink = self.send()
        self.wire.respond(1, end=False)
        for _ in range(40):
            self.wire.act(lambda h2: h2.send_data(1, b"x" * 16384))
        sink.stream.pause()
        self.wire.lose()
        self.assertTrue(self.growth.take(PROCESS_GROWTH // 2))

    def test_length_of_the_content(self) -> None:
        for fields, content, fails in (
            ([("content-length", "3")], [b"abc"], False),
            ([("content-length", "3")], [b"ab"], True),
            ([("content-length", "3")], [b"ab", b"cd"], True),
            ([("content-length", "0")], [b"a"], True),
            ([("content-length", "3")], [], True),
        ):
            self.connect()
            sink = self.send()
            self.wire.respond(1, *content, fields=fields)
            if fails:
                self.assertEqual(sink.events[-1], (OriginProtocolError, False, False), (fields, content))
            else:
                self.assertEqual(sink.events[-1], "end")

    def test_content_where_there_is_none(self) -> None:
        for method, status in (("HEAD", "200"), ("GET", "204"), ("GET", "304")):
            self.connect()
            sink = self.send(method=method)
            self.wire.respond(1, b"x", status=status)
            self.assertEqual(sink.events[-1], (OriginProtocolError, False, False))

    def test_malformed_responses(self) -> None:
        """They end their stream, and not the connection."""
        other = self.send()
        stream = 1
        for status, field in (
            ("200", ("connection", "close")),
            ("200", ("Upper", "x")),
            ("200", ("x", "a\nb")),
            ("200", (":path", "/")),
            ("101", ("x", "y")),
            ("2000", ("x", "y")),
        ):
            sink = self.send()
            stream += 2
            self.wire.respond(stream, status=status, fields=[field], end=False)
            self.assertEqual(sink.events, [(OriginProtocolError, False, False)], (status, field))
            self.assertEqual(self.wire.resets[-1], (stream, ErrorCodes.PROTOCOL_ERROR))
        self.wire.respond(1)
        self.assertEqual(other.events, [200, "end"])

    def test_early_response(self) -> None:
        """The rest of the request is not sent."""
        sink = self.send(b"x", None, method="POST", framing=DELIMITED)
        self.wire.respond(1, status="413")
        self.assertEqual((sink.events, self.wire.resets), ([413, "end"], [(1, ErrorCodes.CANCEL)]))
        sink.stream.send_content(b"y", END)
        self.wire.exchange()
        self.assertEqual(self.wire.content(1), b"x")

    def test_abort(self) -> None:
        sink, other = self.send(), self.send()
        self.wire.respond(1, b"x", end=False)
        sink.stream.abort()
        sink.stream.abort()
        self.wire.exchange()
        self.assertEqual(self.wire.resets, [(1, ErrorCodes.CANCEL)])
        self.wire.respond(3)
        self.assertEqual((sink.events, other.events), ([200, b"x"], [200, "end"]))

    def test_abort_before_the_request(self) -> None:
        stream = self.connection.open_stream()
        stream.abort()
        stream.abort()
        self.assertEqual((self.connection.streams, self.owner.calls), (0, ["freed"]))

    def test_abort_while_paused(self) -> None:
        sink = self.send()
        sink.pause_after_head = True
        self.wire.respond(1, b"x")
        sink.stream.abort()
        sink.stream.resume()
        self.assertEqual((sink.events, self.connection.streams), ([200], 0))


class FailureTests(ConnectionTestCase):
    """Resets, GOAWAY, and the loss of the connection."""

    def test_resets(self) -> None:
        for code, unread in (
            (ErrorCodes.REFUSED_STREAM, True),
            (ErrorCodes.INTERNAL_ERROR, False),
            (ErrorCodes.CANCEL, False),
        ):
            sink = self.send()
            stream = self.wire.streams[-1]
            self.wire.act(lambda h2, s=stream, c=code: h2.reset_stream(s, c))  # type: ignore[misc]
            self.assertEqual(sink.events, [(OriginDisconnected, False, unread)])
            assert sink.error is not None
            self.assertIn(code.name, sink.error.reason)
        self.assertFalse(self.connection.is_retired)
        self.assertEqual(self.owner.calls, ["freed"] * 3)

    def test_a_refusal_after_the_head_of_the_response(self) -> None:
        sink = self.send()
        self.wire.respond(1, end=False)
        self.wire.act(lambda h2: h2.reset_stream(1, ErrorCodes.REFUSED_STREAM))
        self.assertEqual(sink.events, [200, (OriginDisconnected, False, False)])

    def test_an_origin_that_requires_http_1(self) -> None:
        sink = self.send()
        self.wire.act(lambda h2: h2.reset_stream(1, ErrorCodes.HTTP_1_1_REQUIRED))
        self.assertEqual(sink.events, [(OriginDisconnected, False, True)])
        self.assertTrue(self.versions.failed(ROUTE.origin))
        self.assertTrue(self.connection.is_retired)

    def test_goaway(self) -> None:
        """Streams after the last one that the origin processes are unread; the others continue."""
        one, two = self.send(), self.send(b"x" * 100_000, None, method="POST", framing=DELIMITED)
        self.wire.feed(GoAwayFrame(0, last_stream_id=1).serialize())
        self.assertEqual(two.events, [(OriginDisconnected, False, True)])
        self.assertTrue(self.connection.is_retired)
        self.assertIn("retired", self.owner.calls)
        self.assertFalse(self.wire.disconnecting)
        self.wire.respond(1)
        self.clock.advance(0)
        self.assertEqual((one.events, self.wire.disconnected), ([200, "end"], True))

    def test_goaway_without_streams_closes(self) -> None:
        self.wire.act(lambda h2: h2.close_connection())
        self.clock.advance(0)
        self.assertTrue(self.connection.is_retired and self.wire.disconnected)

    def test_loss(self) -> None:
        one, two = self.send(), self.send()
        self.wire.respond(1, b"x", end=False)
        self.wire.lose()
        self.assertEqual(one.events, [200, b"x", (OriginDisconnected, False, False)])
        self.assertEqual(two.events, [(OriginDisconnected, True, False)])
        self.assertEqual(self.owner.calls, ["retired"])

    def test_a_response_that_was_read_before_the_loss(self) -> None:
        """A paused client receives it later."""
        sink = self.send()
        sink.pause_after_head = True
        self.wire.respond(1, b"x")
        self.wire.lose()
        self.assertEqual(sink.events, [200])
        sink.stream.resume()
        self.assertEqual(sink.events, [200, b"x", "end"])

    def test_requests_after_the_loss(self) -> None:
        stream = self.connection.open_stream()
        self.wire.lose()
        sink = Sink(stream)
        stream.send_request(sink, ForwardedHead("GET", b"/", [HOST], NO_BODY), b"", END)
        stream.send_content(b"", END)
        self.assertEqual(sink.events, [])
        self.clock.advance(0)
        self.assertEqual(sink.events, [(OriginDisconnected, True, True)])

    def test_an_origin_that_does_not_use_http_2(self) -> None:
        self.connect(begin=False)
        sink = self.send_without_origin()
        self.wire.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertEqual(sink.events, [(OriginProtocolError, False, True)])
        self.assertTrue(self.versions.failed(ROUTE.origin))
        self.clock.advance(0)
        self.assertTrue(self.wire.disconnected)

    def send_without_origin(self) -> Sink:
        """Send a request that no origin reads."""
        sink = Sink(self.connection.open_stream())
        sink.stream.send_request(sink, ForwardedHead("GET", b"/", [HOST], NO_BODY), b"", END)
        return sink

    def test_an_origin_without_tls_that_closes_the_connection(self) -> None:
        """It does not use HTTP/2, unless it has sent settings."""
        for tls, settings, unread in ((False, False, True), (False, True, False), (True, False, False)):
            self.connect(begin=settings)
            self.connection.route = attrs.evolve(ROUTE, tls=tls)
            sink = self.send_without_origin()
            self.wire.lose()
            self.assertEqual(sink.events, [(OriginDisconnected, True, unread)])
            self.assertIs(self.versions.failed(ROUTE.origin), unread)

    def test_a_violation_ends_the_connection(self) -> None:
        one, two = self.send(), self.send()
        self.wire.respond(1)
        # DATA on the stream 0.
        self.wire.feed(b"\0\0\1\0\0\0\0\0\0x")
        self.assertEqual((one.events, two.events), ([200, "end"], [(OriginProtocolError, False, False)]))
        self.assertFalse(self.versions.failed(ROUTE.origin))
        self.assertTrue(self.connection.is_retired)

    def test_an_origin_that_reads_nothing(self) -> None:
        """Frames that require a response are bounded."""
        sink = self.send()
        self.wire.choke()
        for number in range(20):
            self.wire.h2.ping(b"%8d" % number)
        ping = self.wire.h2.data_to_send()
        for _ in range(1000):
            self.wire.feed(ping)
            if sink.events:
                break
        self.assertEqual(sink.events, [(OriginProtocolError, False, False)])
        self.clock.advance(CLOSE_SECONDS)
        self.assertTrue(self.wire.aborted or self.wire.disconnected)

    def test_a_silent_origin(self) -> None:
        """A connection that may be lost without notice serves no further requests."""
        one, two = self.send(), self.send()
        one.stream.abort()
        self.assertFalse(self.connection.is_retired)
        self.clock.advance(SILENCE_SECONDS)
        two.stream.abort()
        self.assertTrue(self.connection.is_retired)

    def test_close(self) -> None:
        self.connection.close()
        self.connection.close()
        self.wire.exchange()
        self.assertFalse(self.connection.has_capacity)
        self.clock.advance(0)
        self.assertTrue(self.wire.disconnected)

    def test_a_connection_that_does_not_close(self) -> None:
        self.wire.choke()
        self.connection.close()
        self.clock.advance(CLOSE_SECONDS)
        self.assertTrue(self.wire.aborted)

    def test_retire(self) -> None:
        sink = self.send()
        self.connection.retire()
        self.connection.retire()
        self.assertEqual(self.owner.calls, ["retired"])
        self.wire.respond(1)
        self.clock.advance(0)
        self.assertEqual(sink.events, [200, "end"])
        self.assertTrue(self.wire.disconnected)

    def test_a_connection_without_owner_closes_after_its_stream(self) -> None:
        self.connection.owner = None
        self.send()
        self.wire.respond(1)
        self.clock.advance(0)
        self.assertTrue(self.wire.disconnected)

    def test_settings_change_the_limit(self) -> None:
        self.wire.act(lambda h2: h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 0}))
        self.assertFalse(self.connection.has_capacity)
