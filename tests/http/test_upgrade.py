"""Tests for L{egress.http.upgrade}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.events import RequestHead, ResponseHead
from egress.http.heads import HeadLimits, parse_request_head, parse_response_head
from egress.http.upgrade import Upgrade, accept_of, requested_upgrade
from egress.model.errors import BadRequest, UnsupportedRequest

LIMITS = HeadLimits(10_000, 100, 1000)
# Both values are from RFC 6455 section 1.3.
KEY, ACCEPT = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
VERSION = "Sec-WebSocket-Version: 13"
SOCKET = Upgrade(b"websocket", KEY)


def request_head(*lines: str, method: str = "GET", version: str = "1.1", nominated: bool = True) -> RequestHead:
    """The head of an upgrade request."""
    first = [f"{method} / HTTP/{version}", "Host: a", *(["Connection: Upgrade"] if nominated else [])]
    return parse_request_head("\r\n".join([*first, *lines, "", ""]).encode("latin-1"), LIMITS)


def response_head(*lines: str) -> ResponseHead:
    """The head of a 101."""
    return parse_response_head("\r\n".join(["HTTP/1.1 101 Ok", *lines, "", ""]).encode(), LIMITS, "GET")


class RequestTests(SynchronousTestCase):
    """The upgrade that a request asks for."""

    def test_websockets(self) -> None:
        key = f"Sec-WebSocket-Key: {KEY.decode()}"
        for protocol in ("websocket", "WebSocket"):
            self.assertEqual(requested_upgrade(request_head(f"Upgrade: {protocol}", VERSION, key)), SOCKET)
        head = request_head("Upgrade: websocket", "upgrade: WEBSOCKET", VERSION, key)
        self.assertEqual(requested_upgrade(head), SOCKET, "the same protocol, twice")

    def test_invalid_handshakes(self) -> None:
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
                self.assertRaises(BadRequest, requested_upgrade, request_head("Upgrade: websocket", *lines))

    def test_without_an_upgrade(self) -> None:
        for name, head in (
            ("none", request_head()),
            ("nothing", request_head("Upgrade:")),
            ("only commas", request_head("Upgrade: , ,")),
            ("not nominated", request_head("Upgrade: websocket", nominated=False)),
            ("HTTP/1.0", request_head("Upgrade: websocket", version="1.0")),
            ("another method", request_head("Upgrade: websocket", method="POST")),
            ("with content", request_head("Upgrade: websocket", "Content-Length: 3")),
            ("HTTP/2", request_head("Upgrade: h2c")),
            ("versions of HTTP", request_head("Upgrade: HTTP/2.0, h2, h2c-14, H2C, h3")),
            ("TLS", request_head("Upgrade: TLS/1.2, TLS/1.0", method="OPTIONS")),
            ("or HTTP/2", request_head("Upgrade: websocket, h2c")),
            ("in two fields", request_head("Upgrade: h2c", "Upgrade: websocket")),
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
                found = requested_upgrade(request_head(*lines, method=method), frozenset({"tcp", "spdy/3.1"}))
                self.assertEqual(found, Upgrade(lines[0].partition(": ")[2].encode()))
                self.assertFalse(found is None or found.is_websocket)

    def test_protocol_not_allowed(self) -> None:
        """The error names the protocol, also if there are several."""
        for lines, named in (
            (("Upgrade: tcp",), "'tcp'"),
            (("Upgrade: SPDY/3.1",), "'SPDY/3.1'"),
            (("Upgrade: h2c, IRC/6.9",), "'IRC/6.9'"),
            (("Upgrade: websocket", "Upgrade: x"), "'x'"),
            (("Upgrade: \xff",), r"'\xff'"),
            (("Upgrade: " + "x" * 999,), f"'{'x' * 40}'"),
        ):
            with self.subTest(lines):
                error = self.assertRaises(UnsupportedRequest, requested_upgrade, request_head(*lines), ("other",))
                self.assertIn(f" {named}; ", error.reason)

    def test_several(self) -> None:
        for value in ("tcp, spdy/3.1", "websocket, tcp", "tcp, h2c, websocket"):
            with self.subTest(value):
                error = self.assertRaises(
                    BadRequest, requested_upgrade, request_head(f"Upgrade: {value}"), ("tcp", "spdy/3.1")
                )
                self.assertIn("several protocols", error.reason)


class ResponseTests(SynchronousTestCase):
    """The validation of a 101."""

    def test_accept(self) -> None:
        self.assertEqual(accept_of(KEY), ACCEPT)

    def test_valid(self) -> None:
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
                self.assertIsNone(SOCKET.validate(response_head(*lines)))
        tcp = Upgrade(b"TCP")
        self.assertIsNone(tcp.validate(response_head("Connection: Upgrade", "Upgrade: tcp")))

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
                self.assertIn("did not request", str(SOCKET.validate(response_head(*lines, accept))))

    def test_another_key(self) -> None:
        for lines in (
            (),
            ("Sec-WebSocket-Accept:",),
            ("Sec-WebSocket-Accept: x",),
            (f"Sec-WebSocket-Accept: {ACCEPT.decode().lower()}",),
            (f"Sec-WebSocket-Accept: {ACCEPT.decode()}", "Sec-WebSocket-Accept: x"),
        ):
            with self.subTest(lines):
                head = response_head("Connection: Upgrade", "Upgrade: websocket", *lines)
                self.assertIn("does not belong", str(SOCKET.validate(head)))
