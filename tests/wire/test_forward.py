"""Tests for L{egress.wire.forward}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority, Origin
from egress.wire.body import CHUNKED, NO_BODY, BodyKind, Framing
from egress.wire.forward import (
    encode_interim,
    encode_request,
    encode_response,
    encode_switch,
    forwarded_fields,
    response_framing,
    wants_websocket,
)
from egress.wire.heads import HeadLimits, RequestHead, ResponseHead, parse_request_head, parse_response_head

LIMITS = HeadLimits(head=2000, fields=20, target=100)
ORIGIN = Origin("http", Authority("origin.test", 8080))


def request(fields: str = "", line: str = "GET / HTTP/1.1") -> RequestHead:
    return parse_request_head(f"{line}\r\nHost: client.test\r\n{fields}\r\n".encode(), LIMITS)


def response(fields: str = "", line: str = "HTTP/1.1 200 OK", method: str = "GET") -> ResponseHead:
    return parse_response_head(f"{line}\r\n{fields}\r\n".encode(), LIMITS, method)


class RequestTests(SynchronousTestCase):
    """What goes out."""

    def fields(self, fields: str, line: str = "POST / HTTP/1.1") -> dict[bytes, bytes]:
        forwarded = forwarded_fields(request(fields, line), ORIGIN)
        self.assertEqual(len(forwarded), len(dict(forwarded)))
        return dict(forwarded)

    def test_host_is_what_will_be_contacted(self) -> None:
        self.assertEqual(self.fields("")[b"Host"], b"origin.test:8080")

    def test_what_concerns_this_hop_stays(self) -> None:
        fields = self.fields("Proxy-Authorization: Basic x\r\nConnection: X-Mine\r\nX-Mine: 1\r\nX-Yours: 2\r\n")
        self.assertEqual(set(fields), {b"Host", b"X-Yours"})

    def test_framing(self) -> None:
        self.assertEqual(self.fields("Content-Length: 3\r\n")[b"Content-Length"], b"3")
        self.assertEqual(self.fields("Transfer-Encoding: Chunked\r\n")[b"Transfer-Encoding"], b"chunked")

    def test_framing_cannot_be_taken_away(self) -> None:
        fields = self.fields("Connection: Content-Length, Host\r\nContent-Length: 3\r\n")
        self.assertEqual(fields, {b"Host": b"origin.test:8080", b"Content-Length": b"3"})

    def test_trailers_are_announced(self) -> None:
        fields = self.fields("Connection: TE\r\nTE: gzip, Trailers\r\n")
        self.assertEqual((fields[b"TE"], fields[b"Connection"]), (b"trailers", b"TE"))
        for other in ("Connection: TE\r\nTE: gzip\r\n", "TE: trailers\r\n"):
            with self.subTest(other):
                self.assertNotIn(b"TE", self.fields(other))

    def test_websocket(self) -> None:
        upgrade = "Connection: Upgrade\r\nUpgrade: WebSocket\r\n"
        fields = self.fields(upgrade, "GET / HTTP/1.1")
        self.assertEqual((fields[b"Connection"], fields[b"Upgrade"]), (b"Upgrade", b"websocket"))

    def test_no_other_upgrade(self) -> None:
        for name, fields, line in (
            ("h2c", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "GET / HTTP/1.1"),
            ("not nominated", "Upgrade: websocket\r\n", "GET / HTTP/1.1"),
            ("another method", "Connection: Upgrade\r\nUpgrade: websocket\r\n", "POST / HTTP/1.1"),
            (
                "with content",
                "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n",
                "GET / HTTP/1.1",
            ),
        ):
            with self.subTest(name):
                self.assertFalse(wants_websocket(request(fields, line)))
                self.assertNotIn(b"Upgrade", self.fields(fields, line))

    def test_encode(self) -> None:
        fields = [(b"Host", b"a")]
        self.assertEqual(
            encode_request("GET", "/ä", fields, http11=True),
            "GET /ä HTTP/1.1\r\nHost: a\r\nVia: 1.1 egressproxy\r\n\r\n".encode(),
        )
        self.assertEqual(
            encode_request("GET", "http://a/", fields, http11=False, proxy_authorization=b"Basic x"),
            b"GET http://a/ HTTP/1.1\r\nHost: a\r\nVia: 1.0 egressproxy\r\nProxy-Authorization: Basic x\r\n\r\n",
        )
        # The caller's list is asked about as well as sent.
        self.assertEqual(fields, [(b"Host", b"a")])


class ResponseTests(SynchronousTestCase):
    """What comes back."""

    def test_framing(self) -> None:
        old = request(line="GET / HTTP/1.0")
        until_close = Framing(BodyKind.UNTIL_CLOSE)
        for name, fields, client, expected in (
            ("length", "Content-Length: 3\r\n", request(), Framing(BodyKind.LENGTH, 3)),
            ("chunked", "Transfer-Encoding: chunked\r\n", request(), CHUNKED),
            ("until close", "", request(), CHUNKED),
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
                CHUNKED,
                True,
                b"A: b\r\nVia: 1.1 egressproxy\r\nTransfer-Encoding: chunked\r\n",
            ),
        ):
            with self.subTest(name):
                encoded = self.encode(head, client, framing, keep_alive)
                self.assertEqual(encoded, b"HTTP/1.1 200 OK\r\n" + expected + b"\r\n")

    def test_a_nominated_length_is_put_back(self) -> None:
        head = response("Connection: Content-Length\r\nContent-Length: 3\r\n")
        self.assertIn(b"Content-Length: 3", self.encode(head, request(), head.framing, True))

    def test_head_keeps_the_length_of_what_is_not_sent(self) -> None:
        head = response("Content-Length: 3\r\n", method="HEAD")
        self.assertEqual(head.framing, NO_BODY)
        self.assertIn(b"Content-Length: 3", self.encode(head, request(line="HEAD / HTTP/1.1"), head.framing, True))

    def test_interim(self) -> None:
        head = response("Link: </a>\r\nConnection: close\r\n", "HTTP/1.1 103 Early Hints")
        self.assertEqual(encode_interim(head), b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")

    def test_switch(self) -> None:
        fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n"
        head = response(fields, "HTTP/1.1 101 Switching Protocols")
        encoded = encode_switch(head)
        self.assertIn(b"Sec-WebSocket-Accept: x\r\n", encoded)
        self.assertTrue(encoded.endswith(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))
