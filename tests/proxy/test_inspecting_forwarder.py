"""Tests for L{egress.proxy.inspecting_forwarder}."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from egress.grpc.framing import Frame
from egress.model.decision import Stage
from egress.model.errors import AuthorizerUnavailable
from egress.model.message import Direction, MessageKind, MessageObligation
from egress.proxy.inspecting_forwarder import PARTING_SECONDS
from egress.proxy.message_gate import MAX_WAITING
from tests.messages.frames import Deflater, frame
from tests.proxy.fakes import (
    SWITCH,
    UPGRADE,
    ProxyTestCase,
    allow,
    content_of,
    deny,
    request,
    response,
    status_of,
)
from tests.scorecard.messages import read_request

EVENTS = "Content-Type: text/event-stream"
CLIENT_ONLY = MessageObligation(frozenset({Direction.CLIENT}))


def client_frame(payload: bytes, opcode: int = 1, **options: Any) -> bytes:
    """A frame that a client sends."""
    return frame(payload, opcode, masked=True, **options)


class WebSocketTests(ProxyTestCase):
    """Messages of a WebSocket."""

    def tearDown(self) -> None:
        """Wait until the connections to origins that do not close are closed."""
        self.clock.advance(PARTING_SECONDS)
        super().tearDown()

    def open(self, terms: MessageObligation | None = None, *, offer: str = "", accepted: str = "") -> None:
        """Open a WebSocket whose messages are authorized."""
        self.allow_with(messages=terms or MessageObligation())
        fields = [f"Sec-WebSocket-Extensions: {offer}"] if offer else []
        self.client.feed(request("GET", "http://origin.test/chat?x=1", *UPGRADE, *fields))
        self.head = self.origin.take()
        answer = f"Sec-WebSocket-Extensions: {accepted}\r\n\r\n".encode() if accepted else b"\r\n"
        self.origin.feed(SWITCH.removesuffix(b"\r\n") + answer)
        self.assertEqual(status_of(self.client.take()), 101)

    def test_each_message_is_authorized(self) -> None:
        self.open()
        self.client.feed(client_frame(b"one") + client_frame(b"\xff", 2))
        self.assertEqual(self.origin.take(), client_frame(b"one") + client_frame(b"\xff", 2))
        self.origin.feed(frame(b"three"))
        self.assertEqual(self.client.take(), frame(b"three"))
        exchange, *messages = self.authorizer.asked
        facts = []
        for each in messages:
            assert each.message is not None
            self.assertEqual((each.stage, each.message.kind), (Stage.MESSAGE, MessageKind.WEBSOCKET))
            self.assertEqual((each.request_id, each.url), (exchange.request_id, "http://origin.test/chat?x=1"))
            self.assertEqual((each.headers, each.client), (exchange.headers, exchange.client))
            self.assertEqual(each.message.rule_id, "rule-1")
            facts.append((each.message.direction.value, each.message.type, each.message.sequence, each.body))
        self.assertEqual(
            facts, [("client", "text", 1, b"one"), ("client", "binary", 2, b"\xff"), ("origin", "text", 1, b"three")]
        )
        counts = self.proxy.parts.authz.message_counts.counts
        self.assertEqual(counts["allow", "websocket", "client"], 2)
        self.assertEqual(counts["allow", "websocket", "origin"], 1)
        self.client.lose()
        self.assertEqual(
            [(one.outcome, one.bytes_sent, one.bytes_received) for one in self.records], [("forwarded", 16, 7)]
        )

    def test_a_denial_closes_both_sides(self) -> None:
        self.open()
        self.authorizer.answers += [allow(), deny("no \U0001f600 here")]
        self.client.feed(client_frame(b"one") + client_frame(b"two") + client_frame(b"three"))
        close = b"\x03\xf0" + "no \U0001f600 here".encode()
        self.assertEqual(self.client.take(), frame(close, 8))
        self.assertTrue(self.client.write_closed or self.client.disconnecting)
        sent = self.origin.take()
        self.assertTrue(sent.startswith(client_frame(b"one") + b"\x88"), sent)
        self.assertTrue(sent.endswith(close))
        self.assertFalse(self.origin.disconnecting)
        self.origin.feed(frame(b"late") + frame(close, 8))
        self.assertEqual(self.client.take(), b"")
        self.origin.lose()
        message, exchange = self.records
        self.assertEqual(
            (message.request_id, message.stage, message.verdict, message.outcome, message.rule_id, message.reason),
            ("id-1.client.2", "message", "deny", "message-denied", "rule-2", "no \U0001f600 here"),
        )
        self.assertEqual((message.method, message.url, message.bytes_sent), ("GET", "http://origin.test/chat?x=1", 0))
        self.assertEqual((exchange.request_id, exchange.stage, exchange.status), ("id-1", "request", 101))
        self.assertEqual((exchange.verdict, exchange.outcome, exchange.rule_id), ("allow", "message-denied", "rule-1"))
        self.assertEqual(self.proxy.parts.authz.message_counts.counts["deny", "websocket", "client"], 1)
        self.client.feed(client_frame(b"four"))
        self.assertEqual(self.origin.take(), b"")

    def test_messages_of_the_origin_are_denied(self) -> None:
        self.open()
        self.authorizer.answers += [deny()]
        self.origin.feed(frame(b"two", 2))
        self.assertEqual(self.client.take(), frame(b"\x03\xf0not today", 8))
        self.assertTrue(self.origin.take().endswith(b"not today"))
        self.assertEqual(self.records[0].request_id, "id-1.origin.1")
        self.assertFalse(self.origin.disconnecting)
        self.clock.advance(PARTING_SECONDS)
        self.assertTrue(self.origin.disconnecting, "the origin did not close")

    def test_without_a_decision(self) -> None:
        self.open()
        self.authorizer.answers += [AuthorizerUnavailable("it is down")]
        self.client.feed(client_frame(b"one"))
        self.assertEqual(self.client.take(), frame(b"\x03\xf5it is down", 8))
        self.assertEqual(self.outcomes(), ["authorizer-unavailable"] * 2)
        self.assertEqual(self.proxy.parts.authz.message_counts.counts["unavailable", "websocket", "client"], 1)

    def test_invalid_frames(self) -> None:
        for data, code, outcome in (
            (frame(b"not masked"), 1002, "message-invalid"),
            (client_frame(b"\xff"), 1007, "message-invalid"),
            (client_frame(b"x" * 70)[:10], 1009, "message-too-large"),
        ):
            with self.subTest(code):
                self.open(MessageObligation(max_size=60))
                self.client.feed(client_frame(b"fine") + data)
                self.assertEqual(self.client.take()[2:4], code.to_bytes(2, "big"))
                sent = self.origin.take()
                self.assertTrue(sent.startswith(client_frame(b"fine") + b"\x88"))
                self.assertEqual((self.records[-1].outcome, self.records[-1].verdict), (outcome, "allow"))
                self.client.lose()
                self.client = self.connect()
        counts = self.proxy.parts.authz.message_counts.counts
        self.assertEqual(counts["rejected", "websocket", "client"], 3)

    def test_one_direction(self) -> None:
        self.open(CLIENT_ONLY)
        asked = len(self.authorizer.asked)
        self.origin.feed(frame(b"any")[:3])
        self.assertEqual(self.client.take(), frame(b"any")[:3])
        self.assertEqual(len(self.authorizer.asked), asked)
        self.authorizer.answers += [deny()]
        self.client.feed(client_frame(b"two"))
        self.assertEqual(self.client.take(), b"", "a Close frame would be content here")
        self.assertTrue(self.origin.take().endswith(b"not today"))
        self.assertTrue(self.client.write_closed or self.client.disconnecting)

    def test_compression(self) -> None:
        self.open(offer="x-webkit, permessage-deflate; client_max_window_bits", accepted="permessage-deflate")
        self.assertIn(b"\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n", self.head)
        deflater = Deflater()
        for _ in range(2):
            data = deflater.message(b"the same words", masked=True)
            self.client.feed(data)
            self.assertEqual(self.origin.take(), data)
            self.assertEqual(self.authorizer.asked[-1].body, b"the same words")

    def test_an_extension_that_was_not_offered(self) -> None:
        self.allow_with(messages=MessageObligation())
        self.client.feed(request("GET", "http://origin.test/", *UPGRADE, "Sec-WebSocket-Extensions: x"))
        self.assertNotIn(b"Extensions", self.origin.take())
        self.origin.feed(SWITCH.removesuffix(b"\r\n") + b"Sec-WebSocket-Extensions: x\r\n\r\n")
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (502, ["origin-protocol-error"]))

    def test_other_protocols_are_rejected(self) -> None:
        self.proxy.parts.upgrade_protocols = frozenset({"tcp"})
        self.allow_with(messages=MessageObligation())
        self.client.feed(request("GET", "http://origin.test/", "Connection: Upgrade", "Upgrade: tcp"))
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (501, ["unsupported-request"]))
        self.assertEqual(self.dialer.origins, [])

    def test_an_upgrade_that_nobody_requested(self) -> None:
        self.allow_with(messages=MessageObligation())
        self.client.feed(request())
        self.origin.feed(SWITCH)
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (502, ["origin-protocol-error"]))

    def test_messages_wait_in_order(self) -> None:
        self.open()
        first, second = self.authorizer.pending(), self.authorizer.pending()
        self.client.feed(client_frame(b"one") + client_frame(b"", 9) + client_frame(b"two"))
        self.assertEqual(self.origin.take(), client_frame(b"", 9), "control frames do not wait")
        second.callback(allow())
        self.assertEqual(self.origin.take(), b"")
        first.callback(allow())
        self.assertEqual(self.origin.take(), client_frame(b"one") + client_frame(b"two"))

    def test_a_close_frame_waits_for_the_messages_before(self) -> None:
        self.open()
        first = self.authorizer.pending()
        close = frame(b"\x03\xe8", 8)
        self.origin.feed(frame(b"one") + close)
        self.assertEqual(self.client.take(), b"")
        self.origin.lose()
        self.assertEqual(self.client.take(), b"")
        first.callback(allow())
        self.assertEqual(self.client.take(), frame(b"one") + close)
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_the_client_pauses_while_messages_wait(self) -> None:
        self.open()
        waiting = [self.authorizer.pending() for _ in range(MAX_WAITING)]
        self.client.feed(client_frame(b"x") * (MAX_WAITING + 2))
        self.assertTrue(self.client.paused)
        self.assertEqual(len(self.authorizer.asked), 1 + MAX_WAITING)
        for each in waiting:
            each.callback(allow())
        self.assertFalse(self.client.paused)
        self.assertEqual(self.origin.take(), client_frame(b"x") * (MAX_WAITING + 2))

    def test_backpressure_in_both_directions(self) -> None:
        self.open()
        self.assert_backpressure(self.client, self.origin)
        self.assert_backpressure(self.origin, self.client)
        waiting = self.authorizer.pending()
        self.client.feed(client_frame(b"one"))
        self.origin.choke()
        waiting.callback(allow())
        self.assertEqual(self.origin.take(), b"")
        self.origin.unchoke()
        self.assertEqual(self.origin.take(), client_frame(b"one"))

    def test_messages_before_the_end_of_the_client(self) -> None:
        self.open()
        waiting = self.authorizer.pending()
        self.client.feed(client_frame(b"one"))
        self.client.end()
        self.assertFalse(self.client.disconnecting)
        waiting.callback(allow())
        self.assertEqual(self.origin.take(), client_frame(b"one"))
        self.assertEqual(self.outcomes(), ["forwarded"])
        self.client = self.connect()
        self.open()
        self.client.feed(client_frame(b"one"))
        self.client.end()
        self.assertTrue(self.client.write_closed or self.client.disconnecting)

    def test_the_end_cancels_decisions(self) -> None:
        self.open()
        self.authorizer.pending()
        self.client.feed(client_frame(b"one"))
        self.client.lose()
        self.assertEqual((self.authorizer.cancelled, self.outcomes()), (1, ["forwarded"]))

    def test_limits_of_the_decision(self) -> None:
        self.allow_with(messages=MessageObligation(), max_bytes=20)
        self.client.feed(request("GET", "http://origin.test/", *UPGRADE))
        self.origin.feed(SWITCH)
        self.origin.take()
        self.client.feed(client_frame(b"x" * 10))
        self.assertEqual(len(self.origin.take()), 16)
        self.origin.feed(frame(b"x" * 10))
        self.assertEqual(self.outcomes(), ["limit-reached"])


class EventStreamTests(ProxyTestCase):
    """Events of an event stream."""

    def begin(
        self, *fields: str, terms: MessageObligation | None = None, version: str = "1.1", length: int = 0
    ) -> bytes:
        """Begin an event stream whose events are authorized.

        @return: the head of the forwarded request.
        """
        self.allow_with(messages=terms or MessageObligation())
        self.client.feed(request("GET", "http://origin.test/", "Accept-Encoding: gzip", version=version))
        head = self.origin.take()
        framing = f"Content-Length: {length}" if length else "Transfer-Encoding: chunked"
        self.origin.feed(response(b"", EVENTS, framing, *fields, length=False))
        return head

    def chunk(self, data: bytes) -> None:
        """Send a chunk of the response."""
        self.origin.feed(b"%x\r\n%b\r\n" % (len(data), data))

    def test_each_event_is_authorized(self) -> None:
        head = self.begin()
        self.assertIn(b"\r\nAccept-Encoding: identity\r\n", head)
        self.client.take()
        self.chunk(b": hi\n\nevent: add\nda")
        self.assertEqual(self.client.take(), b"6\r\n: hi\n\n\r\n")
        self.chunk(b"ta: x\n\n")
        self.assertEqual(self.client.take(), b"14\r\nevent: add\ndata: x\n\n\r\n")
        message = self.authorizer.asked[-1].message
        assert message is not None
        self.assertEqual((message.kind, message.direction, message.type), (MessageKind.SSE, Direction.ORIGIN, "add"))
        self.assertEqual(self.authorizer.asked[-1].body, b"x")
        self.origin.feed(b"0\r\n\r\n")
        self.assertEqual((self.client.take(), self.outcomes()), (b"0\r\n\r\n", ["forwarded"]))
        self.assertEqual(len(self.proxy.pool), 1)

    def test_a_denial_ends_the_stream_properly(self) -> None:
        for length in (0, 1000):
            with self.subTest(length=length):
                self.begin(length=length)
                head = self.client.take()
                self.assertNotIn(b"Content-Length", head)
                self.authorizer.answers += [allow(), deny()]
                data = b"data: 1\n\ndata: 2\n\n"
                if length:
                    self.origin.feed(data)
                else:
                    self.chunk(data)
                self.assertEqual(self.client.take(), b"9\r\ndata: 1\n\n\r\nd\r\n: not today\n\n\r\n0\r\n\r\n")
                self.assertTrue(self.origin.disconnecting)
                self.assertFalse(self.client.disconnecting)
                message, exchange = self.records
                self.assertEqual((message.request_id[-9:], message.outcome), (".origin.2", "message-denied"))
                self.assertEqual((exchange.status, exchange.outcome), (200, "message-denied"))
                self.records.clear()

    def test_until_the_end_of_an_old_connection(self) -> None:
        self.begin(version="1.0")
        self.client.take()
        self.authorizer.answers += [deny()]
        self.chunk(b"data: 1\n\n")
        self.assertEqual(self.client.take(), b": not today\n\n")
        self.assertTrue(self.client.write_closed or self.client.disconnecting)

    def test_the_end_waits_for_decisions(self) -> None:
        self.begin()
        self.client.take()
        waiting = self.authorizer.pending()
        self.origin.feed(b"a\r\ndata: 1\n\nd\r\n8\r\nata: 2\n\n\r\n")
        self.origin.feed(b"0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        self.assertEqual(self.client.take(), b"")
        self.assertTrue(self.origin.paused)
        waiting.callback(allow())
        self.assertEqual(content_of(b"\r\n\r\n" + self.client.take()), b"12\r\ndata: 1\n\ndata: 2\n\n\r\n0\r\n\r\n")
        self.assertEqual(self.outcomes(), ["forwarded"])
        self.assertEqual(len(self.proxy.pool), 0, "the origin sent more than its response")

    def test_a_broken_response(self) -> None:
        self.begin()
        self.client.take()
        waiting = self.authorizer.pending()
        self.chunk(b"data: 1\n\nda")
        self.origin.lose()
        self.assertEqual(self.outcomes(), [])
        waiting.callback(allow())
        self.assertEqual(self.client.take(), b"9\r\ndata: 1\n\n\r\n")
        self.assertEqual(self.outcomes(), ["origin-disconnected"])
        self.assertTrue(self.client.aborted)

    def test_a_coding_is_refused(self) -> None:
        self.begin("Content-Encoding: gzip")
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (502, ["origin-protocol-error"]))

    def test_other_responses_pass(self) -> None:
        for answer in (
            response(b"data: 1\n\n"),
            response(b"data: 1\n\n", EVENTS, status="304 Not Modified"),
        ):
            self.allow_with(messages=MessageObligation())
            self.client.feed(request())
            self.origin.feed(answer)
            self.client.take()
        self.begin(terms=CLIENT_ONLY)
        self.chunk(b"data: 1")
        self.assertIn(b"7\r\ndata: 1\r\n", self.client.take())
        self.assertFalse(any(each.message for each in self.authorizer.asked))

    def test_backpressure(self) -> None:
        self.begin()
        self.assert_backpressure(self.client, self.origin)
        self.allow_with(messages=CLIENT_ONLY)
        other = self.client = self.connect()
        other.feed(request())
        self.origin.feed(response(b"", "Content-Length: 9", length=False))
        self.assert_backpressure(other, self.origin)

    def test_a_request_with_content(self) -> None:
        """The content of a request has no messages, unless it is gRPC."""
        self.authorizer.needs_body = False
        self.allow_with(messages=MessageObligation())
        self.client.feed(request("POST", "http://origin.test/", "Content-Length: 4") + b"ab")
        self.assertEqual(content_of(self.origin.take()), b"ab")
        self.client.feed(b"cd")
        self.assertEqual(self.origin.take(), b"cd")
        self.origin.feed(response(b"data: 1\n\n", EVENTS))
        self.assertIn(b"data: 1\n\n", self.client.take())
        self.assertEqual(self.authorizer.asked[-1].body, b"data: 1\n\n"[6:7])


class GrpcTests(ProxyTestCase):
    """Messages of a gRPC call."""

    KIND = "Content-Type: application/grpc"
    HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n"

    def setUp(self) -> None:
        super().setUp()
        self.allow_with(messages=MessageObligation())

    def begin(self, kind: str = KIND) -> None:
        """Begin a call whose messages are authorized."""
        url = "http://origin.test/users.v1.Users/Chat"
        self.client.feed(request("POST", url, kind, "Transfer-Encoding: chunked"))

    @staticmethod
    def chunk(*messages: bytes) -> bytes:
        """Messages in one chunk."""
        data = b"".join(Frame(message).encode() for message in messages)
        return b"%x\r\n%b\r\n" % (len(data), data)

    def test_each_message_is_authorized(self) -> None:
        self.begin()
        self.client.feed(self.chunk(b"one") + self.chunk(b"two") + b"0\r\n\r\n")
        sent = content_of(self.origin.take())
        self.assertIn(Frame(b"one").encode(), sent)
        self.assertIn(Frame(b"two").encode(), sent)
        self.assertTrue(sent.endswith(b"0\r\n\r\n"))
        self.origin.feed(self.HEAD + self.chunk(b"three") + b"0\r\ngrpc-status: 0\r\n\r\n")
        got = content_of(self.client.take())
        self.assertEqual(got, self.chunk(b"three") + b"0\r\ngrpc-status: 0\r\n\r\n")
        facts = []
        for each in self.authorizer.asked[1:]:
            assert each.message is not None
            self.assertIs(each.message.kind, MessageKind.GRPC)
            facts.append((each.message.direction.value, each.message.sequence, each.body))
        self.assertEqual(facts, [("client", 1, b"one"), ("client", 2, b"two"), ("origin", 1, b"three")])
        record = self.records[-1].grpc
        assert record is not None
        self.assertEqual(record.status, "OK")

    def test_a_denial_within_a_stream_is_a_status(self) -> None:
        self.begin()
        self.client.feed(self.chunk(b"one"))
        self.authorizer.answers += [allow(), deny("no more")]
        self.origin.feed(self.HEAD + self.chunk(b"first", b"second"))
        got = content_of(self.client.take())
        self.assertTrue(got.startswith(self.chunk(b"first") + b"0\r\ngrpc-status: 7\r\ngrpc-message: no more\r\n"), got)
        self.assertTrue(got.endswith(b"\r\n\r\n"))
        self.assertTrue(self.origin.aborted)
        message, exchange = self.records
        self.assertEqual((message.request_id, message.outcome), ("id-1.origin.2", "message-denied"))
        assert exchange.grpc is not None
        self.assertEqual((exchange.outcome, exchange.grpc.status), ("message-denied", "PERMISSION_DENIED"))

    def test_a_denial_before_the_response(self) -> None:
        self.begin()
        self.authorizer.answers += [deny("no")]
        self.client.feed(self.chunk(b"one"))
        self.assertNotIn(b"one", self.origin.take())
        got = self.client.take()
        self.assertEqual(status_of(got), 200)
        self.assertIn(b"\r\ngrpc-status: 7\r\n", got)

    def test_a_denial_of_web(self) -> None:
        """The trailers are in the content."""
        self.begin("Content-Type: application/grpc-web")
        self.client.feed(self.chunk(b"one") + b"0\r\n\r\n")
        self.authorizer.answers += [deny("no")]
        self.origin.feed(self.HEAD + self.chunk(b"first"))
        got = content_of(self.client.take())
        self.assertIn(b"\x80\0\0", got)
        self.assertIn(b"grpc-status: 7\r\n", got)
        self.assertTrue(got.endswith(b"0\r\n\r\n"))

    def test_text_of_web(self) -> None:
        """Each message is encoded on its own, so the announced length can be wrong, also for collected content."""
        self.authorizer.answers.clear()
        for needs_body, separate in ((False, True), (False, False), (True, True)):
            with self.subTest(needs_body=needs_body, separate=separate):
                self.build()
                self.authorizer.needs_body = needs_body
                self.allow_with(messages=MessageObligation())
                frames = b"".join(Frame(message).encode() for message in (b"one", b"two"))
                # Padding within the content, or none between the messages.
                text = b"".join(b64encode(frames[at : at + 1]) for at in range(16)) if separate else b64encode(frames)
                url = "http://origin.test/users.v1.Users/Chat"
                self.client.feed(request("POST", url, "Content-Type: application/grpc-web-text", body=text))
                message, rest = read_request(self.origin.take())
                self.assertEqual((message.field(b"transfer-encoding"), message.complete, rest), (b"chunked", True, b""))
                expected = b"".join(b64encode(Frame(each).encode()) for each in (b"one", b"two"))
                self.assertEqual(message.content, expected)

    def test_content_that_is_not_messages(self) -> None:
        self.begin()
        self.client.feed(b"6\r\n<html>\r\n")
        self.assertNotIn(b"<html>", self.origin.take())
        self.assertIn(b"\r\ngrpc-status: 13\r\n", self.client.take())
        self.assertEqual(self.outcomes(), ["message-invalid"])
