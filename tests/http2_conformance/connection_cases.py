"""Connections, frames and streams that break the rules (the http2 section, 3 to 5)."""

from __future__ import annotations

from tests.http2_conformance import frames as wire
from tests.http2_conformance.case import Cases, Peer

case = Cases()

END = wire.END_STREAM | wire.END_HEADERS
RESET = wire.frame(wire.RST_STREAM, 0, 1, b"\0\0\0\x08")
DATA = wire.frame(wire.DATA, wire.END_STREAM, 1, b"test")


@case("9113/3.4", "sends an invalid connection preface", forwards=False)
def _(peer: Peer) -> None:
    peer.send(b"INVALID CONNECTION PREFACE\r\n\r\n")
    peer.expect_connection_error(wire.PROTOCOL_ERROR, goaway=False)


@case("9113/3.4", "sends another frame than SETTINGS after the preface", forwards=False)
def _(peer: Peer) -> None:
    peer.send(wire.PREFACE, wire.frame(wire.PING, payload=bytes(8)), wire.headers(1, peer.block()))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/4.1", "sends a frame of an unknown kind")
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(0x16, 0, 0, bytes(8)))
    peer.expect_alive()


@case("9113/4.1", "sends a frame with undefined flags")
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(wire.PING, 0x16, 0, bytes(8)))
    peer.expect_alive()


@case("9113/4.1", "sends a frame with the reserved bit")
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(wire.PING, 0, 0x80000000, bytes(8)))
    peer.expect_alive()


@case("9113/4.2", "sends a DATA frame of 2^14 octets")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(wire.frame(wire.DATA, wire.END_STREAM, 1, bytes(1 << 14)))
    peer.expect_response(1)


def _largest(peer: Peer) -> int:
    """Return the frame size that the server announces."""
    for one in peer.frames(wire.SETTINGS):
        for at in range(0, len(one.payload), 6):
            if int.from_bytes(one.payload[at : at + 2], "big") == wire.MAX_FRAME_SIZE:
                return int.from_bytes(one.payload[at + 2 : at + 6], "big")
    return 1 << 14


@case("9113/4.2", "sends a DATA frame above the maximum size", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.target.forwarded.clear()
    peer.send(wire.frame(wire.DATA, wire.END_STREAM, 1, bytes(_largest(peer) + 1)))
    peer.expect_stream_error(1, wire.FRAME_SIZE_ERROR)


@case("9113/4.2", "sends a HEADERS frame above the maximum size", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    long = peer.block(b"GET", b"/", (b"x-long", b"a" * _largest(peer)))
    peer.send(wire.headers(1, long))
    peer.expect_connection_error(wire.FRAME_SIZE_ERROR)


@case("9113/4.3", "sends a header block that is invalid", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.headers(1, b"\x40"))
    peer.expect_connection_error(wire.COMPRESSION_ERROR)


@case("9113/4.3", "sends a PRIORITY frame inside a header block", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    block = peer.block()
    peer.send(
        wire.headers(1, block[:9], wire.END_STREAM),
        wire.frame(wire.PRIORITY, 0, 1, wire.priority(0)),
        wire.frame(wire.CONTINUATION, wire.END_HEADERS, 1, block[9:]),
    )
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/4.3", "sends HEADERS for another stream inside a header block", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    block = peer.block()
    peer.send(wire.headers(1, block[:9], wire.END_STREAM), wire.headers(3, block))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


# -- stream states


@case("9113/5.1", "sends DATA on an idle stream", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(DATA)
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/5.1", "sends RST_STREAM on an idle stream", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(RESET)
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/5.1", "sends WINDOW_UPDATE on an idle stream", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.window_update(1, 100))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/5.1", "sends CONTINUATION on an idle stream", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(wire.CONTINUATION, wire.END_HEADERS, 1, peer.block()))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/5.1", "sends DATA on a stream that it has ended")
def _(peer: Peer) -> None:
    peer.start()
    peer.request(1)
    peer.send(DATA)
    peer.expect_stream_error(1, wire.STREAM_CLOSED, or_status={200})


@case("9113/5.1", "sends HEADERS on a stream that it has ended")
def _(peer: Peer) -> None:
    peer.start()
    peer.request(1)
    peer.request(1)
    peer.expect_stream_error(1, wire.STREAM_CLOSED)
    assert len(peer.target.forwarded) <= 1


@case("9113/5.1", "sends CONTINUATION on a stream that it has ended")
def _(peer: Peer) -> None:
    peer.start()
    peer.request(1)
    peer.send(wire.frame(wire.CONTINUATION, wire.END_HEADERS, 1, peer.block()))
    peer.expect_connection_error(wire.PROTOCOL_ERROR, wire.STREAM_CLOSED)


@case("9113/5.1", "sends DATA after RST_STREAM")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(RESET)
    peer.send(DATA)
    if peer.goaway() is None:
        peer.expect_alive()
    else:
        peer.expect_connection_error(wire.STREAM_CLOSED)


@case("9113/5.1", "sends HEADERS after RST_STREAM")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(RESET)
    peer.request(1)
    peer.expect_stream_error(1, wire.STREAM_CLOSED)


@case("9113/5.1", "sends CONTINUATION after RST_STREAM")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(RESET, wire.frame(wire.CONTINUATION, wire.END_HEADERS, 1, peer.block()))
    peer.expect_connection_error(wire.PROTOCOL_ERROR, wire.STREAM_CLOSED)


@case("9113/5.1", "sends DATA on a closed stream")
def _(peer: Peer) -> None:
    peer.start()
    peer.request(1)
    peer.expect_response(1)
    peer.send(DATA)
    peer.expect_stream_error(1, wire.STREAM_CLOSED)


@case("9113/5.1", "sends HEADERS on a closed stream")
def _(peer: Peer) -> None:
    peer.start()
    peer.request(1)
    peer.expect_response(1)
    peer.request(1)
    peer.expect_connection_error(wire.STREAM_CLOSED, wire.PROTOCOL_ERROR)
    assert len(peer.target.forwarded) <= 1


@case("9113/5.1.1", "opens a stream with an even identifier", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.request(2)
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/5.1.1", "opens a stream with a lower identifier")
def _(peer: Peer) -> None:
    peer.start()
    peer.request(5)
    peer.expect_response(5)
    before = len(peer.target.forwarded)
    peer.request(3)
    peer.expect_connection_error(wire.PROTOCOL_ERROR, wire.STREAM_CLOSED)
    assert len(peer.target.forwarded) == before


@case("9113/5.1.2", "opens more streams than the server permits")
def _(peer: Peer) -> None:
    peer.start()
    limit = None
    for one in peer.frames(wire.SETTINGS):
        for at in range(0, len(one.payload), 6):
            if int.from_bytes(one.payload[at : at + 2], "big") == wire.MAX_CONCURRENT_STREAMS:
                limit = int.from_bytes(one.payload[at + 2 : at + 6], "big")
    assert limit is not None, "the server announces its limit"
    for number in range(limit + 1):
        peer.open(2 * number + 1)
    peer.expect_stream_error(2 * limit + 1, wire.PROTOCOL_ERROR, wire.REFUSED_STREAM)


@case("9113/5.4.1", "causes a connection error after requests")
def _(peer: Peer) -> None:
    peer.start()
    peer.request(1)
    peer.expect_response(1)
    peer.send(wire.frame(wire.PING, 0, 3, bytes(8)))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)
    last = [int.from_bytes(one.payload[:4], "big") for one in peer.frames(wire.GOAWAY)][-1]
    assert last == 1, "the GOAWAY names the last stream that was processed"


@case("9113/5.5", "sends a setting that is unknown")
def _(peer: Peer) -> None:
    peer.start((0xFF, 1))
    peer.expect_alive()


@case("9113/5.5", "sends an unknown frame inside a header block", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    block = peer.block()
    peer.send(
        wire.headers(1, block[:9], wire.END_STREAM),
        wire.frame(0x16, 0, 0, bytes(8)),
        wire.frame(wire.CONTINUATION, wire.END_HEADERS, 1, block[9:]),
    )
    peer.expect_connection_error(wire.PROTOCOL_ERROR)
