"""Tests for L{egress.http.writers}."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httptools
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.http.body import encode_chunk
from egress.http.events import DELIMITED, NO_BODY, BodyKind, End, Framing, RequestHead, ResponseHead
from egress.http.heads import HeadLimits, parse_request_head, parse_response_head
from egress.http.hop_by_hop import encode_fields
from egress.http.readers import RequestReader, ResponseReader
from egress.http.upgrade import Upgrade, requested_upgrade
from egress.http.writers import (
    encode_interim,
    encode_request,
    encode_response,
    encode_switch,
    forwarded_fields,
    forwarded_head,
    response_framing,
)
from egress.model.authority import Authority, Origin
from egress.model.errors import EgressError, MaxForwardsReached
from tests.http.streams import mutations

LIMITS = HeadLimits(head=2000, fields=20, target=100)
ORIGIN = Origin("http", Authority("origin.test", 8080))


def request(fields: str = "", line: str = "GET / HTTP/1.1") -> RequestHead:
    return parse_request_head(f"{line}\r\nHost: client.test\r\n{fields}\r\n".encode(), LIMITS)


def response(fields: str = "", line: str = "HTTP/1.1 200 OK", method: str = "GET") -> ResponseHead:
    return parse_response_head(f"{line}\r\n{fields}\r\n".encode(), LIMITS, method)


FIELDS = [
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"Connection: Content-Length",
    b"Connection: Transfer-Encoding, Host, Via",
    b"Connection: TE, Upgrade",
    b"Proxy-Connection: Content-Length",
    b"Expect: 100-continue",
    b"Expect: x 100-continue",
    b"TE: trailers",
    b"Trailer: A",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Upgrade: h2c",
    b"Keep-Alive: 5",
    b"Proxy-Authorization: Basic x",
    b"Via: 1.1 x",
    b"X: Transfer-Encoding: chunked",
    b"X-Bytes: \x80\xff",
]
HANDSHAKE = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
CONTENTS = [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nHost: x\r\nA: b\r\n\r\n"]


class LlhttpCollector:
    """Collects the message that llhttp, as the next recipient, parses."""

    def __init__(self) -> None:
        self.messages = 0
        self.complete = 0
        self.fields: list[tuple[bytes, bytes]] = []
        self.content = b""

    def on_message_begin(self) -> None:
        self.messages += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_body(self, data: bytes) -> None:
        self.content += data

    def on_message_complete(self) -> None:
        self.complete += 1

    def values(self, name: bytes) -> list[bytes]:
        return [value for other, value in self.fields if other == name]


def first_message(
    reader: RequestReader | ResponseReader,
) -> tuple[RequestHead | ResponseHead, list[bytes | End]] | None:
    """The first complete message, if there is one, and its bytes."""
    events: list[bytes | End] = []
    try:
        head = reader.next_event()
        if head is None:
            return None
        assert isinstance(head, (RequestHead, ResponseHead))
        if isinstance(head, ResponseHead) or head.framing.has_body:
            while not (events and isinstance(events[-1], End)):
                event = reader.next_event()
                if event is None:
                    return None
                assert isinstance(event, (bytes, End))
                events.append(event)
    except EgressError:
        return None
    return head, events


def encoded(events: list[bytes | End], framing: Framing) -> bytes:
    """Content as the proxy encodes it."""
    chunked = framing.kind is BodyKind.DELIMITED
    wire = b""
    for event in events:
        if isinstance(event, bytes):
            wire += encode_chunk(event) if chunked else event
        elif chunked:
            wire += b"0\r\n%b\r\n" % encode_fields(event.trailers)
    return wire


def content_of(events: list[bytes | End]) -> bytes:
    return b"".join(event for event in events if isinstance(event, bytes))


class RequestTests(SynchronousTestCase):
    """Outgoing requests."""

    def fields(self, fields: str, line: str = "POST / HTTP/1.1") -> dict[bytes, bytes]:
        head = request(fields, line)
        forwarded = forwarded_fields(head, ORIGIN, requested_upgrade(head))
        self.assertEqual(len(forwarded), len(dict(forwarded)))
        return dict(forwarded)

    def test_host_names_the_contacted_authority(self) -> None:
        self.assertEqual(self.fields("")[b"Host"], b"origin.test:8080")

    def test_hop_by_hop_fields_are_removed(self) -> None:
        fields = self.fields("Proxy-Authorization: Basic x\r\nConnection: X-Mine\r\nX-Mine: 1\r\nX-Yours: 2\r\n")
        self.assertEqual(set(fields), {b"Host", b"X-Yours"})

    def test_framing(self) -> None:
        self.assertEqual(self.fields("Content-Length: 3\r\n")[b"Content-Length"], b"3")
        self.assertEqual(self.fields("Transfer-Encoding: Chunked\r\n")[b"Transfer-Encoding"], b"chunked")

    def test_framing_cannot_be_removed(self) -> None:
        fields = self.fields("Connection: Content-Length, Host\r\nContent-Length: 3\r\n")
        self.assertEqual(fields, {b"Host": b"origin.test:8080", b"Content-Length": b"3"})

    def test_fields_listed_in_connection_are_not_authorized_or_sent(self) -> None:
        fields = self.fields("Connection: Cookie, close, X-A\r\nCookie: a=b\r\nX-A: 1\r\nX-B: 2\r\n")
        self.assertEqual(set(fields), {b"Host", b"X-B"})

    def test_expectation(self) -> None:
        content = "Content-Length: 3\r\n"
        for name, fields, line, expected in (
            ("asked for", content + "Expect: 100-Continue\r\n", "POST / HTTP/1.1", b"100-continue"),
            ("twice", content + "Expect: 100-continue\r\n" * 2, "POST / HTTP/1.1", b"100-continue"),
            (
                "nominated",
                content + "Connection: Expect\r\nExpect: 100-continue\r\n",
                "POST / HTTP/1.1",
                b"100-continue",
            ),
            ("without content", "Expect: 100-continue\r\n", "GET / HTTP/1.1", None),
            ("in HTTP/1.0", content + "Expect: 100-continue\r\n", "POST / HTTP/1.0", None),
            ("something else", content + "Expect: y 100-continue\r\n", "POST / HTTP/1.1", None),
        ):
            with self.subTest(name):
                self.assertEqual(self.fields(fields, line).get(b"Expect"), expected)

    def test_trailers_are_announced(self) -> None:
        fields = self.fields("Connection: TE\r\nTE: gzip, Trailers\r\n")
        self.assertEqual((fields[b"TE"], fields[b"Connection"]), (b"trailers", b"TE"))
        for other in ("Connection: TE\r\nTE: gzip\r\n", "TE: trailers\r\n", "Connection: TE\r\nTE: xtrailers\r\n"):
            with self.subTest(other):
                self.assertNotIn(b"TE", self.fields(other))

    def test_websocket(self) -> None:
        upgrade = f"Connection: Upgrade\r\nUpgrade: WebSocket\r\n{HANDSHAKE}"
        fields = self.fields(upgrade, "GET / HTTP/1.1")
        self.assertEqual((fields[b"Connection"], fields[b"Upgrade"]), (b"Upgrade", b"websocket"))

    def test_a_websocket_request_with_other_connection_options(self) -> None:
        upgrade = f"Connection: Upgrade, TE\r\nUpgrade: websocket\r\nTE: trailers\r\n{HANDSHAKE}"
        fields = self.fields(upgrade, "GET / HTTP/1.1")
        self.assertEqual((fields[b"Connection"], fields[b"Upgrade"]), (b"Upgrade", b"websocket"))

    def test_without_an_upgrade(self) -> None:
        for name, fields, line in (
            ("h2c", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "GET / HTTP/1.1"),
            ("not nominated", "Upgrade: websocket\r\n", "GET / HTTP/1.1"),
            ("another method", "Connection: Upgrade\r\nUpgrade: websocket\r\n", "POST / HTTP/1.1"),
        ):
            with self.subTest(name):
                self.assertNotIn(b"Upgrade", self.fields(fields, line))

    def test_via_and_max_forwards(self) -> None:
        self.assertEqual(self.fields("Max-Forwards: 5\r\n", "OPTIONS / HTTP/1.1")[b"Max-Forwards"], b"4")
        self.assertEqual(self.fields("Max-Forwards: 5\r\n", "GET / HTTP/1.1")[b"Max-Forwards"], b"5")
        self.assertRaises(MaxForwardsReached, self.fields, "Max-Forwards: 0\r\n", "OPTIONS / HTTP/1.1")

    def test_encode(self) -> None:
        fields, old = [(b"Host", b"a")], request(line="GET / HTTP/1.0")
        self.assertEqual(
            encode_request(forwarded_head(request(), "/ä".encode(), fields)),
            "GET /ä HTTP/1.1\r\nHost: a\r\nVia: 1.1 egressproxy\r\n\r\n".encode(),
        )
        self.assertEqual(
            encode_request(forwarded_head(old, b"http://a/", fields, proxy_authorization=b"Basic x")),
            b"GET http://a/ HTTP/1.1\r\nHost: a\r\nVia: 1.0 egressproxy\r\nProxy-Authorization: Basic x\r\n\r\n",
        )
        # The authorizer sees the caller's list, so encoding must not change it.
        self.assertEqual(fields, [(b"Host", b"a")])

    @given(
        st.sampled_from([b"GET", b"POST", b"OPTIONS"]),
        st.lists(st.sampled_from(FIELDS), max_size=5),
        st.sampled_from(CONTENTS),
        mutations(2),
    )
    def test_the_next_recipient_reads_one_request_with_the_same_content(
        self, method: bytes, fields: list[bytes], content: bytes, mutate: Callable[[bytes], bytes]
    ) -> None:
        reader = RequestReader(LIMITS)
        lines = b"".join(field + b"\r\n" for field in [b"Host: client.test", *fields])
        reader.receive(mutate(method + b" /x HTTP/1.1\r\n" + lines + b"\r\n" + content))
        message: Any = first_message(reader)
        if message is None or message[0].method not in ("GET", "POST", "OPTIONS"):
            return
        head, events = message
        try:
            upgrade = requested_upgrade(head)
        except EgressError:
            return
        wire = encode_request(forwarded_head(head, b"/x", forwarded_fields(head, ORIGIN, upgrade)))
        wire += encoded(events, head.framing)
        collector = LlhttpCollector()
        try:
            httptools.HttpRequestParser(collector).feed_data(wire)
        except httptools.HttpParserUpgrade as switch:
            self.assertIsNotNone(upgrade)
            self.assertEqual(switch.args[0], len(wire))
        self.assertEqual((collector.messages, collector.complete), (1, 1))
        self.assertEqual(collector.content, content_of(events))
        self.assertEqual(collector.values(b"host"), [b"origin.test:8080"])
        for name in (b"proxy-authorization", b"proxy-connection", b"keep-alive"):
            self.assertEqual(collector.values(name), [])


class ResponseTests(SynchronousTestCase):
    """Responses to the client."""

    def test_framing(self) -> None:
        old = request(line="GET / HTTP/1.0")
        until_close = Framing(BodyKind.UNTIL_CLOSE)
        for name, fields, client, expected in (
            ("length", "Content-Length: 3\r\n", request(), Framing(BodyKind.LENGTH, 3)),
            ("chunked", "Transfer-Encoding: chunked\r\n", request(), DELIMITED),
            ("until close", "", request(), DELIMITED),
            ("chunked, to HTTP/1.0", "Transfer-Encoding: chunked\r\n", old, until_close),
            ("until close, to HTTP/1.0", "", old, until_close),
        ):
            with self.subTest(name):
                self.assertEqual(response_framing(response(fields), client), expected)

    def encode(self, head: ResponseHead, client: RequestHead, framing: Framing, keep_alive: bool) -> bytes:
        return encode_response(head, client, framing, keep_alive=keep_alive)

    def test_encode(self) -> None:
        length = Framing(BodyKind.LENGTH, 3)
        old = request(line="GET / HTTP/1.0")
        sized, endless = response("Content-Length: 3\r\nKeep-Alive: x\r\n"), response("A: b\r\n")
        for name, head, client, framing, keep_alive, expected in (
            ("kept", sized, request(), length, True, b"Content-Length: 3\r\nVia: 1.1 egressproxy\r\n"),
            (
                "closed",
                sized,
                request(),
                length,
                False,
                b"Content-Length: 3\r\nVia: 1.1 egressproxy\r\nConnection: close\r\n",
            ),
            (
                "kept for HTTP/1.0",
                sized,
                old,
                length,
                True,
                b"Content-Length: 3\r\nVia: 1.1 egressproxy\r\nConnection: keep-alive\r\n",
            ),
            (
                "chunked",
                endless,
                request(),
                DELIMITED,
                True,
                b"A: b\r\nVia: 1.1 egressproxy\r\nTransfer-Encoding: chunked\r\n",
            ),
        ):
            with self.subTest(name):
                encoded = self.encode(head, client, framing, keep_alive)
                self.assertEqual(encoded, b"HTTP/1.1 200 OK\r\n" + expected + b"\r\n")

    def test_a_length_listed_in_connection_is_restored(self) -> None:
        head = response("Connection: Content-Length\r\nContent-Length: 3\r\n")
        self.assertIn(b"Content-Length: 3", self.encode(head, request(), head.framing, True))

    def test_head_keeps_the_length(self) -> None:
        head = response("Content-Length: 3\r\n", method="HEAD")
        self.assertEqual(head.framing, NO_BODY)
        self.assertIn(b"Content-Length: 3", self.encode(head, request(line="HEAD / HTTP/1.1"), head.framing, True))

    def test_no_length_where_it_is_forbidden(self) -> None:
        """A client that used it would read the next response as content."""
        length = "Content-Length: 3\r\n"
        no_content = response(length, "HTTP/1.1 204 No Content")
        self.assertNotIn(b"Content-Length", self.encode(no_content, request(), no_content.framing, True))
        self.assertNotIn(b"Content-Length", encode_interim(response(length, "HTTP/1.1 103 Early Hints")))
        self.assertNotIn(
            b"Content-Length", encode_switch(response(length, "HTTP/1.1 101 Switching Protocols"), Upgrade(b"tcp"))
        )
        not_modified = response(length, "HTTP/1.1 304 Not Modified")
        self.assertIn(b"Content-Length: 3", self.encode(not_modified, request(), not_modified.framing, True))

    @given(
        st.sampled_from([b"200 OK", b"204 x", b"404 "]),
        st.lists(st.sampled_from([*FIELDS, b"Content-Length: 0", b"Content-Length: 05"]), max_size=4),
        st.sampled_from(CONTENTS),
        mutations(2),
    )
    def test_the_client_reads_one_response_with_the_same_content(
        self, status: bytes, fields: list[bytes], content: bytes, mutate: Callable[[bytes], bytes]
    ) -> None:
        reader = ResponseReader(LIMITS)
        reader.expect("GET")
        lines = b"".join(field + b"\r\n" for field in fields)
        reader.receive(mutate(b"HTTP/1.1 " + status + b"\r\n" + lines + b"\r\n" + content))
        message = first_message(reader)
        if message is None:
            return
        head, events = message
        assert isinstance(head, ResponseHead)
        if head.status == 304:
            return  # the llhttp of httptools 0.6.0 waits for content where there can be none
        client = request()
        framing = response_framing(head, client)
        wire = encode_response(head, client, framing, keep_alive=True) + encoded(events, framing)
        collector = LlhttpCollector()
        httptools.HttpResponseParser(collector).feed_data(wire)
        self.assertEqual((collector.messages, collector.complete), (1, 1))
        self.assertEqual(collector.content, content_of(events))

    def test_interim(self) -> None:
        head = response("Link: </a>\r\nConnection: close\r\n", "HTTP/1.1 103 Early Hints")
        self.assertEqual(encode_interim(head), b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")

    def test_switch(self) -> None:
        fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n"
        head = response(fields, "HTTP/1.1 101 Switching Protocols")
        encoded = encode_switch(head, Upgrade(b"websocket", b"x"))
        self.assertIn(b"Sec-WebSocket-Accept: x\r\n", encoded)
        self.assertTrue(encoded.endswith(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))
