"""Requests that are malformed (the http2 section, 8)."""

from __future__ import annotations

from tests.http2_conformance import frames as wire
from tests.http2_conformance.case import AUTHORITY, Cases, Peer

case = Cases()

AUTHORITY_FIELD = (b":authority", AUTHORITY)
GET = (b":method", b"GET")
HTTPS = (b":scheme", b"https")
ROOT = (b":path", b"/")
WHOLE = [GET, HTTPS, ROOT, AUTHORITY_FIELD]

# A malformed request is a stream error (section 8.1.1). A server may send an error response before it ends the stream.
REFUSALS = range(400, 422)

MALFORMED: list[tuple[str, str, list[wire.Field]]] = [
    ("9113/8.2.1", "sends a name in upper case", [*WHOLE, (b"X-TEST", b"ok")]),
    ("9113/8.2.1", "sends a name with a space", [*WHOLE, (b"x test", b"ok")]),
    ("9113/8.2.1", "sends a name with a colon", [*WHOLE, (b"x:test", b"ok")]),
    ("9113/8.2.1", "sends an empty name", [*WHOLE, (b"", b"ok")]),
    ("9113/8.2.1", "sends a name with an octet above 126", [*WHOLE, (b"x-\xe9", b"ok")]),
    ("9113/8.2.1", "sends a value with CR", [*WHOLE, (b"x-test", b"a\rb")]),
    ("9113/8.2.1", "sends a value with LF", [*WHOLE, (b"x-test", b"a\nb")]),
    ("9113/8.2.1", "sends a value with NUL", [*WHOLE, (b"x-test", b"a\0b")]),
    ("9113/8.2.1", "sends a value that begins with a space", [*WHOLE, (b"x-test", b" a")]),
    ("9113/8.2.1", "sends a value that ends with a tab", [*WHOLE, (b"x-test", b"a\t")]),
    ("9113/8.2.2", "sends connection", [*WHOLE, (b"connection", b"keep-alive")]),
    ("9113/8.2.2", "sends proxy-connection", [*WHOLE, (b"proxy-connection", b"keep-alive")]),
    ("9113/8.2.2", "sends keep-alive", [*WHOLE, (b"keep-alive", b"timeout=5")]),
    ("9113/8.2.2", "sends transfer-encoding", [*WHOLE, (b"transfer-encoding", b"chunked")]),
    ("9113/8.2.2", "sends upgrade", [*WHOLE, (b"upgrade", b"websocket")]),
    ("9113/8.2.2", "sends te with another value than trailers", [*WHOLE, (b"te", b"trailers, deflate")]),
    ("9113/8.3", "sends an unknown pseudo-header field", [*WHOLE, (b":test", b"ok")]),
    ("9113/8.3", "sends the pseudo-header field of a response", [*WHOLE, (b":status", b"200")]),
    (
        "9113/8.3",
        "sends a pseudo-header field after a regular field",
        [GET, HTTPS, ROOT, (b"x", b"y"), AUTHORITY_FIELD],
    ),
    ("9113/8.3.1", "sends an empty path", [GET, HTTPS, (b":path", b""), AUTHORITY_FIELD]),
    ("9113/8.3.1", "sends a path without a slash", [GET, HTTPS, (b":path", b"test"), AUTHORITY_FIELD]),
    ("9113/8.3.1", "sends a path with a space", [GET, HTTPS, (b":path", b"/a b"), AUTHORITY_FIELD]),
    ("9113/8.3.1", "sends a path with CR and LF", [GET, HTTPS, (b":path", b"/ HTTP/1.1\r\nx: y"), AUTHORITY_FIELD]),
    ("9113/8.3.1", "sends a path with a fragment", [GET, HTTPS, (b":path", b"/a#b"), AUTHORITY_FIELD]),
    ("9113/8.3.1", "sends a method with a space", [(b":method", b"GET /x"), HTTPS, ROOT, AUTHORITY_FIELD]),
    ("9113/8.3.1", "sends an empty method", [(b":method", b""), HTTPS, ROOT, AUTHORITY_FIELD]),
    ("9113/8.3.1", "sends no method", [HTTPS, ROOT, AUTHORITY_FIELD]),
    ("9113/8.3.1", "sends no scheme", [GET, ROOT, AUTHORITY_FIELD]),
    ("9113/8.3.1", "sends no path", [GET, HTTPS, AUTHORITY_FIELD]),
    ("9113/8.3.1", "sends two methods", [GET, *WHOLE]),
    ("9113/8.3.1", "sends two schemes", [HTTPS, *WHOLE]),
    ("9113/8.3.1", "sends two paths", [ROOT, *WHOLE]),
    ("9113/8.3.1", "sends two authorities", [AUTHORITY_FIELD, *WHOLE]),
    ("9113/8.3.1", "sends no authority and no host", [GET, HTTPS, ROOT]),
    ("9113/8.3.1", "sends an authority with user information", [GET, HTTPS, ROOT, (b":authority", b"u@" + AUTHORITY)]),
    ("9113/8.3.1", "sends another host than the authority", [*WHOLE, (b"host", b"other.example")]),
    ("9113/8.3.1", "sends two hosts", [*WHOLE, (b"host", AUTHORITY), (b"host", AUTHORITY)]),
    (
        "9113/8.3.1",
        "sends an authority that is not that of the connection",
        [GET, HTTPS, ROOT, (b":authority", b"x.example")],
    ),
    ("9113/8.5", "sends CONNECT with a scheme and a path", [(b":method", b"CONNECT"), HTTPS, ROOT, AUTHORITY_FIELD]),
]

for section, title, fields in MALFORMED:

    @case(section, title, forwards=False)
    def _(peer: Peer, fields: list[wire.Field] = fields) -> None:
        peer.start()
        peer.send(wire.headers(1, wire.block(fields)))
        peer.expect_stream_error(1, wire.PROTOCOL_ERROR, or_status=REFUSALS)


@case("9113/8.1", "sends a second HEADERS frame without END_STREAM")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.open(1)
    peer.expect_stream_error(1, wire.PROTOCOL_ERROR)


@case("9113/8.1", "sends a pseudo-header field in trailers")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(wire.frame(wire.DATA, 0, 1, b"test"), wire.headers(1, wire.block([GET])))
    peer.expect_stream_error(1, wire.PROTOCOL_ERROR)


@case("9113/8.1.1", "announces a length that differs from that of one DATA frame")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1, b"POST", b"/", (b"content-length", b"1"))
    peer.send(wire.frame(wire.DATA, wire.END_STREAM, 1, b"test"))
    peer.expect_stream_error(1, wire.PROTOCOL_ERROR, or_status=REFUSALS)


@case("9113/8.1.1", "announces a length that differs from that of several DATA frames")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1, b"POST", b"/", (b"content-length", b"1"))
    peer.send(wire.frame(wire.DATA, 0, 1, b"te"), wire.frame(wire.DATA, wire.END_STREAM, 1, b"st"))
    peer.expect_stream_error(1, wire.PROTOCOL_ERROR, or_status=REFUSALS)


@case("9113/8.1.1", "announces a longer content than it sends")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1, b"POST", b"/", (b"content-length", b"9"))
    peer.send(wire.frame(wire.DATA, wire.END_STREAM, 1, b"test"))
    peer.expect_stream_error(1, wire.PROTOCOL_ERROR, or_status=REFUSALS)


@case("9113/8.1.1", "announces a longer content than it sends before trailers")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1, b"POST", b"/", (b"content-length", b"9"))
    peer.send(wire.frame(wire.DATA, 0, 1, b"test"), wire.headers(1, wire.block([(b"x-test", b"ok")])))
    peer.expect_stream_error(1, wire.PROTOCOL_ERROR, or_status=REFUSALS)


@case("9113/8.1.1", "announces a content and ends the stream with the head", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.request(1, b"POST", b"/", (b"content-length", b"4"))
    peer.expect_stream_error(1, wire.PROTOCOL_ERROR, or_status=REFUSALS)


@case("9113/8.1.1", "announces two lengths", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1, b"POST", b"/", (b"content-length", b"4"), (b"content-length", b"5"))
    peer.expect_stream_error(1, wire.PROTOCOL_ERROR, or_status=REFUSALS)


@case("9113/8.2.3", "sends a cookie in several fields")
def _(peer: Peer) -> None:
    peer.start()
    peer.request(1, b"GET", b"/", (b"cookie", b"a=1"), (b"cookie", b"b=2"))
    peer.expect_response(1)


@case("9113/8.4", "sends te with the value trailers")
def _(peer: Peer) -> None:
    peer.start()
    peer.request(1, b"GET", b"/", (b"te", b"trailers"))
    peer.expect_response(1)
