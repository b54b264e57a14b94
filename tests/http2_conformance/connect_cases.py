"""CONNECT on a connection to a listener: the streams that carry tunnels (RFC 9113 section 8.5, RFC 8441)."""

from __future__ import annotations

from tests.http2_conformance import frames as wire
from tests.http2_conformance.case import Cases, Peer

case = Cases()

AUTHORITY = b"tunnel.test:443"
METHOD = (b":method", b"CONNECT")
NAMED = (b":authority", AUTHORITY)
CANCEL = 0x8
CONNECT_ERROR = 0xA
# A strict server may respond with an error instead of a reset.
REFUSALS = (400, 403, 404, 405, 501)


def connect(peer: Peer, stream: int = 1, *more: wire.Field, flags: int = wire.END_HEADERS) -> None:
    """Send a CONNECT."""
    peer.send(wire.headers(stream, wire.block([METHOD, NAMED, *more]), flags))


def expect_data(peer: Peer, stream: int, data: bytes) -> None:
    """Check the data that came out of a tunnel."""
    found = b"".join(one.payload for one in peer.frames(wire.DATA, stream))
    if found != data:
        raise AssertionError(f"{data!r} on stream {stream}, not {found!r}")


@case("9113/8.5", "sends CONNECT with only a method and an authority")
def _(peer: Peer) -> None:
    peer.start()
    connect(peer)
    if peer.status(1) != 200 or peer.ended(1):
        raise AssertionError(f"an open stream with status 200, not {peer.status(1)}")


MALFORMED: list[tuple[str, list[wire.Field]]] = [
    ("sends CONNECT with a scheme", [METHOD, (b":scheme", b"https"), NAMED]),
    ("sends CONNECT with a path", [METHOD, (b":path", b"/"), NAMED]),
    ("sends CONNECT without an authority", [METHOD]),
    ("sends CONNECT with an empty authority", [METHOD, (b":authority", b"")]),
    ("sends CONNECT with two authorities", [METHOD, NAMED, NAMED]),
    ("sends CONNECT whose authority has no port", [METHOD, (b":authority", b"tunnel.test")]),
    ("sends CONNECT whose authority is a URL", [METHOD, (b":authority", b"https://tunnel.test:443/")]),
    ("sends CONNECT with another host", [METHOD, NAMED, (b"host", b"other.test:443")]),
    ("sends CONNECT with a connection field", [METHOD, NAMED, (b"connection", b"close")]),
    ("sends CONNECT with a length", [METHOD, NAMED, (b"content-length", b"5")]),
]

for title, fields in MALFORMED:

    @case("9113/8.5", title, forwards=False)
    def _(peer: Peer, fields: list[wire.Field] = fields) -> None:
        peer.start()
        peer.send(wire.headers(1, wire.block(fields), wire.END_HEADERS))
        peer.expect_stream_error(1, wire.PROTOCOL_ERROR, or_status=REFUSALS)


@case("9113/8.5", "sends data through a tunnel")
def _(peer: Peer) -> None:
    peer.start()
    connect(peer)
    peer.send(wire.frame(wire.DATA, 0, 1, b"hello"))
    expect_data(peer, 1, b"hello")


@case("9113/8.5", "sends padded data through a tunnel")
def _(peer: Peer) -> None:
    peer.start()
    connect(peer)
    peer.send(wire.frame(wire.DATA, wire.PADDED, 1, b"\x03hello\0\0\0"))
    expect_data(peer, 1, b"hello")


@case("9113/8.5", "sends data before the response to CONNECT")
def _(peer: Peer) -> None:
    peer.start()
    head = wire.headers(1, wire.block([METHOD, NAMED]), wire.END_HEADERS)
    peer.send(head, wire.frame(wire.DATA, 0, 1, b"hello"))
    expect_data(peer, 1, b"hello")


@case("9113/8.5", "ends its direction of a tunnel")
def _(peer: Peer) -> None:
    peer.start()
    connect(peer)
    peer.send(wire.frame(wire.DATA, wire.END_STREAM, 1, b"hello"))
    expect_data(peer, 1, b"hello")
    if not peer.ended(1) or peer.reset(1) is not None:
        raise AssertionError("the tunnel must end without a reset, as its origin ends its direction, too")


@case("9113/8.5", "ends its direction with the CONNECT")
def _(peer: Peer) -> None:
    peer.start()
    connect(peer, flags=wire.END_HEADERS | wire.END_STREAM)
    if peer.status(1) != 200 or peer.reset(1) is not None:
        raise AssertionError("status 200, and no reset")


@case("9113/8.5", "sends data after the end of its direction")
def _(peer: Peer) -> None:
    peer.start()
    connect(peer)
    peer.send(wire.frame(wire.DATA, wire.END_STREAM, 1, b""), wire.frame(wire.DATA, 0, 1, b"more"))
    peer.expect_stream_error(1, wire.STREAM_CLOSED)


@case("9113/8.5", "sends trailers in a tunnel")
def _(peer: Peer) -> None:
    peer.start()
    connect(peer)
    peer.send(wire.headers(1, wire.block([(b"x-sum", b"1")])))
    peer.expect_stream_error(1, wire.PROTOCOL_ERROR)


@case("9113/8.5", "sends a second head in a tunnel")
def _(peer: Peer) -> None:
    peer.start()
    connect(peer)
    connect(peer)
    peer.expect_stream_error(1, wire.PROTOCOL_ERROR)


@case("9113/8.5", "resets a tunnel")
def _(peer: Peer) -> None:
    peer.start()
    connect(peer)
    connect(peer, 3)
    peer.send(wire.frame(wire.RST_STREAM, 0, 1, CANCEL.to_bytes(4, "big")))
    peer.send(wire.frame(wire.DATA, 0, 3, b"hello"))
    expect_data(peer, 3, b"hello")


@case("9113/8.5", "causes its tunnel to break")
def _(peer: Peer) -> None:
    """The origin resets the connection, which is a stream error of type CONNECT_ERROR."""
    peer.start()
    connect(peer)
    peer.send(wire.frame(wire.DATA, 0, 1, b"break"))
    peer.expect_stream_error(1, CONNECT_ERROR)


@case("9113/8.5", "sends more data in a tunnel than its window")
def _(peer: Peer) -> None:
    peer.start()
    peer.target.hold()
    connect(peer)
    for _ in range(6):
        peer.send(wire.frame(wire.DATA, 0, 1, bytes(16384)))
    peer.expect_stream_error(1, wire.FLOW_CONTROL_ERROR)


@case("8441/4", "sends an extended CONNECT without a path", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    fields = [METHOD, (b":protocol", b"websocket"), (b":scheme", b"http"), (b":authority", b"tunnel.test")]
    peer.send(wire.headers(1, wire.block(fields), wire.END_HEADERS))
    peer.expect_stream_error(1, wire.PROTOCOL_ERROR, or_status=REFUSALS)


@case("9113/8.3.1", "sends a request with the scheme http to a proxy")
def _(peer: Peer) -> None:
    peer.start()
    fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"origin.test")]
    peer.send(wire.headers(1, wire.block(fields)))
    peer.expect_response(1)


@case("9113/8.3.1", "sends a request with a scheme that the proxy does not support", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    fields = [(b":method", b"GET"), (b":scheme", b"ftp"), (b":path", b"/"), (b":authority", b"origin.test")]
    peer.send(wire.headers(1, wire.block(fields)))
    peer.expect_stream_error(1, wire.PROTOCOL_ERROR, or_status=REFUSALS)
