"""Tests for L{egress.http.upgrade}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.heads import HeadLimits, RequestHead, ResponseHead, parse_request_head, parse_response_head
from egress.http.upgrade import Upgrade, accept_of, requested_upgrade
from egress.model.errors import BadRequest, UnsupportedRequest

LIMITS = HeadLimits(10_000, 100, 1000)
# Both are those of RFC 6455 section 1.3.
KEY, ACCEPT = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
VERSION = "Sec-WebSocket-Version: 13"
SOCKET = Upgrade(b"websocket", KEY)


def asked(*lines: str, method: str = "GET", version: str = "1.1", nominated: bool = True) -> RequestHead:
    """The head of a request."""
    first = [f"{method} / HTTP/{version}", "Host: a", *(["Connection: Upgrade"] if nominated else [])]
    return parse_request_head("\r\n".join([*first, *lines, "", ""]).encode("latin-1"), LIMITS)


def answered(*lines: str) -> ResponseHead:
    """The head of a 101."""
    return parse_response_head("\r\n".join(["HTTP/1.1 101 Ok", *lines, "", ""]).encode(), LIMITS, "GET")


class RequestTests(SynchronousTestCase):
    """What a request asks for."""

    def test_websockets(self) -> None:
        key = f"Sec-WebSocket-Key: {KEY.decode()}"
        for protocol in ("websocket", "WebSocket"):
            self.assertEqual(requested_upgrade(asked(f"Upgrade: {protocol}", VERSION, key)), SOCKET)
        head = asked("Upgrade: websocket", "upgrade: WEBSOCKET", VERSION, key)
        self.assertEqual(requested_upgrade(head), SOCKET, "the same, twice")

    def test_bad_handshakes(self) -> None:
        key = f"Sec-WebSocket-Key: {KEY.decode()}"
        for lines in (
            (),
            (VERSION,),
            (key,),
            (VERSION, "Sec-WebSocket-Key:"),
            (VERSION, "Sec-WebSocket-Key: x"),
            (VERSION, "Sec-WebSocket-Key: eA=="),
            (VERSION, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"),
            (VERSION, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ== x"),
            (VERSION, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j*Q=="),
            (VERSION, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTE2Nzg="),
            (VERSION, key, key),
            (VERSION, VERSION, key),
            ("Sec-WebSocket-Version: 8", key),
            ("Sec-WebSocket-Version: 13, 8", key),
            ("Sec-WebSocket-Version:", key),
        ):
            with self.subTest(lines):
                self.assertRaises(BadRequest, requested_upgrade, asked("Upgrade: websocket", *lines))

    def test_without_an_upgrade(self) -> None:
        for name, head in (
            ("none", asked()),
            ("nothing", asked("Upgrade:")),
            ("only commas", asked("Upgrade: , ,")),
            ("not nominated", asked("Upgrade: websocket", nominated=False)),
            ("HTTP/1.0", asked("Upgrade: websocket", version="1.0")),
            ("another method", asked("Upgrade: websocket", method="POST")),
            ("with content", asked("Upgrade: websocket", "Content-Length: 3")),
            ("HTTP/2", asked("Upgrade: h2c")),
            ("versions of HTTP", asked("Upgrade: HTTP/2.0, h2, h2c-14, H2C, h3")),
            ("TLS", asked("Upgrade: TLS/1.2, TLS/1.0", method="OPTIONS")),
            ("or HTTP/2", asked("Upgrade: websocket, h2c")),
            ("in two fields", asked("Upgrade: h2c", "Upgrade: websocket")),
        ):
            with self.subTest(name):
                self.assertIsNone(requested_upgrade(head, ("tcp",)))

    def test_allowed(self) -> None:
        for lines, method in (
            (("Upgrade: tcp",), "POST"),
            (("Upgrade: TCP", "Content-Length: 2"), "POST"),
            (("Upgrade: SPDY/3.1",), "GET"),
            (("Upgrade: tcp", "Upgrade: tcp"), "GET"),
        ):
            with self.subTest(lines):
                found = requested_upgrade(asked(*lines, method=method), frozenset({"tcp", "spdy/3.1"}))
                self.assertEqual(found, Upgrade(lines[0].partition(": ")[2].encode()))
                self.assertFalse(found is None or found.is_websocket)

    def test_not_allowed(self) -> None:
        """It is named, also among others."""
        for lines, named in (
            (("Upgrade: tcp",), "'tcp'"),
            (("Upgrade: SPDY/3.1",), "'SPDY/3.1'"),
            (("Upgrade: h2c, IRC/6.9",), "'IRC/6.9'"),
            (("Upgrade: websocket", "Upgrade: x"), "'x'"),
            (("Upgrade: \xff",), r"'\xff'"),
            (("Upgrade: " + "x" * 999,), f"'{'x' * 40}'"),
        ):
            with self.subTest(lines):
                error = self.assertRaises(UnsupportedRequest, requested_upgrade, asked(*lines), ("other",))
                self.assertIn(f" {named}, ", error.reason)

    def test_several(self) -> None:
        for value in ("tcp, spdy/3.1", "websocket, tcp", "tcp, h2c, websocket"):
            with self.subTest(value):
                error = self.assertRaises(
                    BadRequest, requested_upgrade, asked(f"Upgrade: {value}"), ("tcp", "spdy/3.1")
                )
                self.assertIn("several protocols", error.reason)


class AnswerTests(SynchronousTestCase):
    """What a 101 must be."""

    def test_accept(self) -> None:
        self.assertEqual(accept_of(KEY), ACCEPT)

    def test_good(self) -> None:
        accept = f"Sec-WebSocket-Accept: {ACCEPT.decode()}"
        for lines in (
            ("Connection: Upgrade", "Upgrade: websocket", accept),
            (
                "Upgrade: WebSocket",
                "Connection: x, upgrade",
                accept.lower().replace(ACCEPT.decode().lower(), ACCEPT.decode()),
            ),
        ):
            with self.subTest(lines):
                self.assertIsNone(SOCKET.validate(answered(*lines)))
        tcp = Upgrade(b"TCP")
        self.assertIsNone(tcp.validate(answered("Connection: Upgrade", "Upgrade: tcp")))

    def test_another_protocol(self) -> None:
        accept = f"Sec-WebSocket-Accept: {ACCEPT.decode()}"
        for lines in (
            ("Connection: Upgrade", "Upgrade: h2c"),
            ("Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c"),
            ("Connection: Upgrade", "Upgrade: websocket, h2c"),
            ("Connection: Upgrade",),
            ("Upgrade: websocket",),
        ):
            with self.subTest(lines):
                self.assertIn("not asked for", str(SOCKET.validate(answered(*lines, accept))))

    def test_another_key(self) -> None:
        for lines in (
            (),
            ("Sec-WebSocket-Accept:",),
            ("Sec-WebSocket-Accept: x",),
            (f"Sec-WebSocket-Accept: {ACCEPT.decode().lower()}",),
            (f"Sec-WebSocket-Accept: {ACCEPT.decode()}", "Sec-WebSocket-Accept: x"),
        ):
            with self.subTest(lines):
                head = answered("Connection: Upgrade", "Upgrade: websocket", *lines)
                self.assertIn("does not belong", str(SOCKET.validate(head)))
