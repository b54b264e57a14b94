"""Tests for L{egress.proxy.http2_stream}."""

from __future__ import annotations

import re

from h2.errors import ErrorCodes
from h2.events import DataReceived

from egress.http.upgrade import accept_of
from egress.http2.windows import PROCESS_GROWTH
from egress.model.message import MessageObligation
from egress.proxy.http2_stream import CLOSE_SECONDS, LINGER_SECONDS
from tests.messages.frames import frame
from tests.proxy.fakes import allow, allow_with, content_of, deny, response
from tests.proxy.http2_client import Http2TestCase


class ExchangeTests(Http2TestCase):
    """Each stream is a request of its own."""

    def test_a_request(self) -> None:
        stream = self.http2.request("/a?b=c", (b"x-name", b"value"))
        sent = self.origin_gets(b"GET /a?b=c HTTP/1.1\r\nHost: origin.test\r\n")
        self.assertIn(b"x-name: value\r\n", sent)
        self.assertIn(b"Via: 2 egressproxy\r\n", sent)
        self.origin.feed(response(b"hello", "X-One: 1"))
        self.http2.read()
        fields = self.http2.fields(stream)
        self.assertEqual((fields[b":status"], fields[b"x-one"], fields[b"content-length"]), (b"200", b"1", b"5"))
        self.assertEqual(fields[b"via"], b"1.1 egressproxy")
        self.assertNotIn(b"connection", fields)
        self.assertEqual((self.http2.content(stream), self.http2.ended(stream)), (b"hello", True))
        (record,) = self.records
        self.assertEqual((record.outcome, record.status, record.url), ("forwarded", 200, "https://origin.test/a?b=c"))

    def test_requests_side_by_side(self) -> None:
        one, two = self.http2.request("/one"), self.http2.request("/two")
        first, second = self.dialer.origins
        second.feed(response(b"second"))
        self.http2.read()
        self.assertEqual((self.http2.status(one), self.http2.content(two)), (0, b"second"))
        first.feed(response(b"first"))
        self.http2.read()
        self.assertEqual(self.http2.content(one), b"first")
        self.assertEqual(self.outcomes(), ["forwarded", "forwarded"])

    def test_a_denial(self) -> None:
        self.authorizer.answers = [deny(), allow()]
        stream = self.http2.request("/closed")
        self.assertEqual((self.http2.status(stream), self.http2.ended(stream)), (403, True))
        self.assertIn(b'"reason": "not today"', self.http2.content(stream))
        self.assertEqual(self.http2.fields(stream)[b"content-type"], b"application/problem+json")
        self.http2.request("/open")
        self.origin_gets(b"GET /open ")

    def test_a_denied_head(self) -> None:
        self.authorizer.answers = [deny()]
        stream = self.http2.request("/closed", method="HEAD")
        self.assertEqual((self.http2.status(stream), self.http2.ended(stream)), (403, True))
        self.assertEqual(self.http2.content(stream), b"")
        self.assertNotEqual(self.http2.fields(stream)[b"content-length"], b"0")

    def test_a_denial_before_the_content(self) -> None:
        """The response is complete, and the stream ends without the content (RFC 9113 section 8.1)."""
        self.authorizer.answers = [deny()]
        stream = self.http2.request(method="POST", end=False)
        self.assertEqual((self.http2.status(stream), self.http2.ended(stream)), (403, True))
        self.assert_lingers(stream)

    def test_the_end_of_the_request_after_a_denial(self) -> None:
        """The content is ignored, and the stream ends without a reset."""
        self.authorizer.answers = [deny(), deny(), allow()]
        for trailers in (False, True):
            stream = self.http2.request(method="POST", end=False)
            self.http2.data(stream, b"content", end=not trailers)
            if trailers:
                self.http2.send([(b"x-sum", b"1")], stream)
            self.clock.advance(LINGER_SECONDS)
            self.http2.read()
            self.assertEqual((self.http2.status(stream), self.http2.reset(stream)), (403, None))
        self.assertEqual(self.origins(), [])
        self.http2.request("/next")
        self.origin_gets(b"GET /next ")

    def origins(self) -> list[bytes]:
        """The data that origins received."""
        return [origin.written for origin in self.dialer.origins if origin.written]

    def test_a_shutdown_after_a_denial(self) -> None:
        """It waits for the end of the request, but not longer than the stream."""
        self.authorizer.answers = [deny()]
        self.http2.request(method="POST", end=False)
        self.proxy.parts.sessions.drain()
        self.http2.tls.take()
        self.assertFalse(self.http2.tls.closed)
        self.clock.advance(LINGER_SECONDS)
        self.http2.tls.take()
        self.assertTrue(self.http2.tls.closed)

    GRPC = (b"content-type", b"application/grpc")

    def test_a_denial_of_a_grpc_stream(self) -> None:
        """Clients of gRPC accept a response without content only if its head ends it."""
        self.authorizer.answers = [deny()]
        stream = self.http2.request("/a.B/C", self.GRPC, method="POST", end=False)
        fields = self.http2.fields(stream)
        self.assertEqual((self.http2.status(stream), fields[b"grpc-status"]), (200, b"7"))
        self.assertEqual(fields[b"grpc-message"], b"not today")
        self.assertFalse(any(isinstance(event, DataReceived) for event in self.http2.events))
        self.assert_lingers(stream)

    def test_a_grpc_stream_that_ends_early(self) -> None:
        """The status is in trailers, so the client cannot take the response for complete."""
        stream = self.http2.request("/a.B/C", self.GRPC, method="POST", end=False)
        self.origin_gets(b"POST /a.B/C ")
        self.origin.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\0\r\n")
        self.http2.read()
        self.origin.lose()
        self.http2.read()
        self.assertEqual(self.http2.trailers(stream)[b"grpc-status"], b"14")
        self.assertTrue(self.http2.ended(stream))

    def test_content_of_a_known_length(self) -> None:
        stream = self.http2.request("/up", (b"content-length", b"10"), method="POST", end=False)
        self.http2.data(stream, b"01234")
        self.http2.data(stream, b"56789", end=True)
        self.assertEqual(content_of(self.origin_gets(b"POST /up ")), b"0123456789")
        self.origin.feed(response(b"ok"))
        self.http2.read()
        self.assertEqual(self.http2.content(stream), b"ok")

    def test_content_of_an_unknown_length(self) -> None:
        stream = self.http2.request("/up", method="POST", end=False)
        self.http2.data(stream, b"01234")
        self.http2.data(stream, b"", end=True)
        sent = self.origin_gets(b"POST /up ")
        self.assertIn(b"Transfer-Encoding: chunked\r\n", sent)
        self.assertEqual(content_of(sent), b"5\r\n01234\r\n0\r\n\r\n")

    def test_content_for_the_authorizer(self) -> None:
        self.authorizer.needs_body = True
        stream = self.http2.request("/up", method="POST", end=False)
        self.http2.data(stream, b"01234", end=True)
        self.assertEqual(self.authorizer.asked[0].body, b"01234")
        self.origin_gets(b"POST /up ")

    def test_a_reset_by_the_client(self) -> None:
        """The origin side is released, and other streams continue."""
        one, two = self.http2.request("/one"), self.http2.request("/two")
        first, second = self.dialer.origins
        self.http2.h2.reset_stream(one, ErrorCodes.CANCEL)
        self.http2.flush()
        self.assertTrue(first.aborted)
        self.assertEqual(self.records[0].outcome, "client-disconnected")
        second.feed(response(b"two"))
        self.http2.read()
        self.assertEqual(self.http2.content(two), b"two")

    def test_a_lost_origin(self) -> None:
        stream = self.http2.request()
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
        self.origin.lose()
        self.http2.read()
        self.assertEqual(self.http2.reset(stream), ErrorCodes.INTERNAL_ERROR)
        self.assertFalse(self.http2.ended(stream))

    def test_the_loss_of_the_connection(self) -> None:
        self.http2.request("/one")
        self.http2.request("/two")
        self.client.lose()
        self.assertEqual(self.outcomes(), ["client-disconnected"] * 2)


class MessageTests(Http2TestCase):
    """Interim responses, trailers, and responses without content."""

    def test_interim_responses(self) -> None:
        stream = self.http2.request()
        self.origin.feed(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + response(b"hello"))
        self.http2.read()
        self.assertEqual((self.http2.interims(stream), self.http2.content(stream)), ([103], b"hello"))

    def test_an_expectation(self) -> None:
        """The origin decides whether the client sends the content."""
        stream = self.http2.request(
            "/", (b"expect", b"100-continue"), (b"content-length", b"3"), method="POST", end=False
        )
        self.assertIn(b"Expect: 100-continue\r\n", self.origin_gets(b"POST / "))
        self.origin.feed(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.http2.read()
        self.assertEqual(self.http2.interims(stream), [100])
        self.http2.data(stream, b"abc", end=True)
        self.assertEqual(self.origin.take(), b"abc")

    def test_an_expectation_of_the_authorizer(self) -> None:
        self.authorizer.needs_body = True
        stream = self.http2.request("/", (b"expect", b"100-continue"), method="POST", end=False)
        self.assertEqual(self.http2.interims(stream), [100])
        self.http2.data(stream, b"abc", end=True)
        self.assertEqual(self.authorizer.asked[0].body, b"abc")

    def test_trailers_of_a_response(self) -> None:
        stream = self.http2.request("/", (b"te", b"trailers"))
        self.assertIn(b"TE: trailers\r\n", self.origin_gets(b"GET / "))
        self.origin.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n")
        self.http2.read()
        self.assertEqual((self.http2.content(stream), self.http2.trailers(stream)), (b"abc", {b"x-sum": b"6"}))
        self.assertTrue(self.http2.ended(stream))

    def test_trailers_of_a_request(self) -> None:
        stream = self.http2.request("/", method="POST", end=False)
        self.http2.data(stream, b"abc")
        self.http2.send([(b"x-sum", b"6")], stream)
        self.assertIn(b"3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n", self.origin.take())

    def test_malformed_trailers(self) -> None:
        stream = self.http2.request("/", method="POST", end=False)
        self.http2.send([(b":path", b"/")], stream)
        self.assertEqual(self.http2.reset(stream), ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual(self.outcomes(), ["bad-request"])
        self.assertTrue(self.origin.aborted)

    def test_no_content(self) -> None:
        for method, status in (("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")):
            with self.subTest((method, status)):
                stream = self.http2.request(method=method)
                self.origin.feed(f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode())
                self.http2.read()
                self.assertEqual((self.http2.status(stream), self.http2.ended(stream)), (int(status[:3]), True))
                self.assertEqual(self.http2.content(stream), b"")

    def test_a_response_before_the_end_of_the_request(self) -> None:
        stream = self.http2.request("/", (b"content-length", b"100"), method="POST", end=False)
        self.origin.feed(response(b"no", status="413 Content Too Large"))
        self.http2.read()
        self.assertEqual((self.http2.status(stream), self.http2.content(stream)), (413, b"no"))
        self.assertTrue(self.http2.ended(stream))
        self.assert_lingers(stream)
        self.http2.request("/next")
        self.origin_gets(b"GET /next ")

    def test_a_slow_reader(self) -> None:
        """Tiny parts do not extend the time that a client has for a response."""
        self.client = self.connect()
        self.start(acknowledge=False)
        stream = self.http2.request()
        self.origin.feed(response(b"x" * 100_000))
        self.http2.read()
        for _ in range(80):
            self.clock.advance(1)
            self.http2.read()
            if self.http2.reset(stream) is not None:
                break
            self.http2.h2.increment_flow_control_window(1, stream)
            self.http2.h2.increment_flow_control_window(1)
            self.http2.flush()
        self.assertEqual(self.http2.reset(stream), ErrorCodes.INTERNAL_ERROR)
        self.assertLess(len(self.http2.content(stream)), 66_000)

    def test_a_reader_that_does_not_read(self) -> None:
        self.client = self.connect()
        self.start(acknowledge=False)
        stream = self.http2.request()
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 150_000)
        self.clock.advance(301)
        self.http2.read()
        self.assertEqual(self.http2.reset(stream), ErrorCodes.INTERNAL_ERROR)
        self.assertEqual(self.outcomes(), ["client-disconnected"])

    def test_a_transport_that_is_full(self) -> None:
        """The rest of a response waits for the client."""
        stream = self.http2.request()
        self.client.choke()
        self.origin.feed(response(b"x" * 50_000))
        self.assertEqual(self.client.written, b"")
        self.client.unchoke()
        self.http2.read()
        self.assertEqual(len(self.http2.content(stream)), 50_000)

    def test_several_streams_share_a_write(self) -> None:
        one, two = self.http2.request("/one"), self.http2.request("/two")
        first, second = self.dialer.origins
        first._waiting.append(response(b"1"))  # noqa: SLF001
        second._waiting.append(response(b"2"))  # noqa: SLF001
        first._deliver()  # noqa: SLF001
        second._deliver()  # noqa: SLF001
        self.assertEqual(self.client.written, b"")
        self.clock.advance(0)
        self.http2.read()
        self.assertEqual((self.http2.content(one), self.http2.content(two)), (b"1", b"2"))


class FlowTests(Http2TestCase):
    """Credit, and the windows of the client."""

    def test_a_large_upload(self) -> None:
        size = 300_000
        stream = self.http2.request("/up", (b"content-length", b"%d" % size), method="POST", end=False)
        sent = 0
        while sent < size:
            window = min(self.http2.h2.local_flow_control_window(stream), 16384, size - sent)
            self.assertGreater(window, 0, "the upload stalls")
            self.http2.data(stream, b"x" * window, end=sent + window == size)
            sent += window
        self.assertEqual(len(content_of(self.origin.take())), size)

    def test_a_large_download(self) -> None:
        stream = self.http2.request()
        content = bytes(range(256)) * 2000
        self.origin.feed(response(content))
        self.http2.read()
        self.assertEqual(self.http2.content(stream), content)

    def test_the_growth_of_windows(self) -> None:
        """It ends with the exchange, or with the connection."""
        growth = self.proxy.parts.window_growth
        for end in ("response", "reset", "loss"):
            with self.subTest(end):
                stream = self.http2.request("/upload", method="POST", end=False)
                for _ in range(20):
                    self.http2.data(stream, b"x" * 16384)
                self.http2.read()
                self.assertTrue(b"POST /upload" in self.origin.take())
                self.assertFalse(growth.take(PROCESS_GROWTH // 2))
                if end == "response":
                    self.http2.data(stream, b"", end=True)
                    self.origin.feed(response(b"ok"))
                elif end == "reset":
                    self.http2.h2.reset_stream(stream, ErrorCodes.CANCEL)
                    self.http2.flush()
                else:
                    self.client.lose()
                self.assertTrue(growth.take(PROCESS_GROWTH // 2))
                growth.give_back(PROCESS_GROWTH // 2)

    def test_a_closed_window(self) -> None:
        """The origin is paused until the client takes more."""
        self.client = self.connect()
        self.start(acknowledge=False)
        stream = self.http2.request()
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 140_000)
        self.http2.read()
        self.assertEqual(len(self.http2.content(stream)), 65535)
        self.assertTrue(self.origin.paused)
        self.http2.h2.acknowledge_received_data(65535, stream)
        self.http2.flush()
        self.assertEqual(len(self.http2.content(stream)), 131070)
        self.assertFalse(self.origin.paused)


class WebSocketTests(Http2TestCase):
    """Extended CONNECT (RFC 8441): the origin gets an upgrade of HTTP/1.1."""

    def open(self, protocol: str = "websocket", *more: tuple[str, str]) -> int:
        """Request a WebSocket."""
        stream = self.http2.h2.get_next_available_stream_id()
        fields = [(":method", "CONNECT"), (":scheme", "https"), (":authority", "origin.test"), (":path", "/chat")]
        fields += [(":protocol", protocol), ("sec-websocket-version", "13"), *more]
        self.http2.send([(name.encode(), value.encode()) for name, value in fields], stream, end=False)
        return stream

    def accept(self) -> bytes:
        """Let the origin accept the WebSocket.

        @return: the key that it received.
        """
        sent = self.origin_gets(b"GET /chat HTTP/1.1\r\nHost: origin.test\r\n")
        self.assertIn(b"Upgrade: websocket\r\n", sent)
        key: bytes = re.findall(rb"(?i)sec-websocket-key: (\S+)", sent)[0]
        fields = (f"Sec-WebSocket-Accept: {accept_of(key).decode()}", "Upgrade: websocket", "Connection: Upgrade")
        self.origin.feed(response(b"", *fields, status="101 Switching Protocols", length=False))
        self.http2.read()
        return key

    def test_the_setting(self) -> None:
        self.assertTrue(self.http2.h2.remote_settings.enable_connect_protocol)

    def test_data_in_both_directions(self) -> None:
        stream = self.open()
        self.accept()
        self.assertEqual((self.http2.status(stream), self.http2.ended(stream)), (200, False))
        self.http2.data(stream, b"ping")
        self.assertEqual(self.origin.take(), b"ping")
        self.origin.feed(b"pong")
        self.http2.read()
        self.assertEqual(self.http2.content(stream), b"pong")
        self.http2.data(stream, b"close", end=True)
        self.assertEqual(self.origin.take(), b"close")
        self.origin.feed(b"closed")
        self.origin.lose()
        self.http2.read()
        self.assertEqual((self.http2.content(stream), self.http2.ended(stream)), (b"pongclosed", True))
        (record,) = self.records
        self.assertEqual((record.outcome, record.status, record.url), ("forwarded", 101, "https://origin.test/chat"))
        self.assertEqual((record.bytes_sent, record.bytes_received), (9, 10))

    def test_an_origin_that_does_not_end(self) -> None:
        """Data of the origin does not extend the time after the end of the client."""
        stream = self.open()
        self.accept()
        self.http2.data(stream, b"close", end=True)
        for _ in range(4):
            self.assertFalse(self.origin.aborted)
            self.clock.advance(CLOSE_SECONDS / 4)
            self.origin.feed(b"more")
            self.http2.read()
        self.assertTrue(self.origin.aborted)
        self.assertTrue(self.http2.ended(stream))
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_a_client_that_checks_its_key(self) -> None:
        """The origin gets a key of the proxy."""
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        for more in ([], [("sec-websocket-key", key)]):
            with self.subTest(more):
                stream = self.open("websocket", *more)
                self.assertNotEqual(self.accept(), key.encode())
                expected = accept_of(key.encode()) if more else None
                self.assertEqual(self.http2.fields(stream).get(b"sec-websocket-accept"), expected)

    def test_the_end_by_the_origin(self) -> None:
        stream = self.open()
        self.accept()
        self.origin.feed(b"bye")
        self.origin.lose()
        self.http2.read()
        self.assertEqual((self.http2.content(stream), self.http2.ended(stream)), (b"bye", True))
        self.http2.request("/next")
        self.origin_gets(b"GET /next ")

    def test_credit(self) -> None:
        """A client sends more than a window."""
        stream = self.open()
        self.accept()
        for _ in range(20):
            self.http2.data(stream, b"x" * 16_000)
        self.assertEqual(len(self.origin.take()), 320_000)

    def test_an_origin_that_does_not_read(self) -> None:
        stream = self.open()
        self.accept()
        self.origin.choke()
        self.http2.data(stream, b"x" * 1000)
        self.http2.data(stream, b"y" * 1000)
        self.origin.unchoke()
        self.assertEqual(self.origin.take(), b"x" * 1000 + b"y" * 1000)

    def test_a_denial(self) -> None:
        self.authorizer.answers = [deny()]
        stream = self.open()
        self.assertEqual((self.http2.status(stream), self.http2.ended(stream)), (403, True))

    def test_a_message_is_denied(self) -> None:
        self.authorizer.answers = [allow_with(messages=MessageObligation()), allow(), deny()]
        stream = self.open()
        self.accept()
        self.http2.data(stream, frame(b"hi", masked=True))
        self.assertEqual(self.origin.take(), frame(b"hi", masked=True))
        self.origin.feed(frame(b"no"))
        self.http2.read()
        self.assertEqual(self.http2.content(stream), frame(b"\x03\xf0not today", 8))
        self.assertTrue(self.http2.ended(stream))
        self.assertEqual(self.outcomes(), ["message-denied"] * 2)
        self.origin.lose()

    def test_a_refusal_of_the_origin(self) -> None:
        """A success without the new protocol must not look like the new protocol."""
        for status, seen in (("404 Not Found", 404), ("200 OK", 502)):
            with self.subTest(status):
                stream = self.open()
                self.origin.feed(response(b"no", status=status))
                self.http2.read()
                self.assertEqual((self.http2.status(stream), self.http2.content(stream)), (seen, b"no"))

    def test_a_reset_by_the_client(self) -> None:
        stream = self.open()
        self.accept()
        self.http2.h2.reset_stream(stream, ErrorCodes.CANCEL)
        self.http2.flush()
        self.assertTrue(self.origin.aborted)
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_another_protocol(self) -> None:
        stream = self.open("connect-udp")
        self.assertEqual((self.http2.status(stream), self.outcomes()), (501, ["unsupported-request"]))
