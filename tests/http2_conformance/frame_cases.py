"""Frames with invalid contents (the http2 section, 6)."""

from __future__ import annotations

import struct

from tests.http2_conformance import frames as wire
from tests.http2_conformance.case import Cases, Peer

case = Cases()

END = wire.END_STREAM | wire.END_HEADERS


# -- DATA


@case("9113/6.1", "sends DATA on stream 0", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(wire.DATA, wire.END_STREAM, 0, b"test"))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/6.1", "sends DATA whose padding is longer than the frame")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(wire.frame(wire.DATA, wire.END_STREAM | wire.PADDED, 1, b"\x06test"))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/6.1", "sends DATA with the flag for padding, but without a length")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(wire.frame(wire.DATA, wire.END_STREAM | wire.PADDED, 1, b""))
    peer.expect_connection_error(wire.FRAME_SIZE_ERROR, wire.PROTOCOL_ERROR)


# -- HEADERS


@case("9113/6.2", "sends HEADERS without END_HEADERS, then another frame", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.headers(1, peer.block(), wire.END_STREAM), wire.frame(wire.PING, payload=bytes(8)))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/6.2", "sends HEADERS on stream 0", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.request(0)
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/6.2", "sends HEADERS whose padding is longer than the frame", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.headers(1, b"\xff" + peer.block()[:10], END | wire.PADDED))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/6.2", "sends HEADERS with the flag for a priority, but without one", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.headers(1, b"\0\0", END | wire.WITH_PRIORITY))
    peer.expect_connection_error(wire.FRAME_SIZE_ERROR, wire.PROTOCOL_ERROR, wire.COMPRESSION_ERROR)


# -- PRIORITY


@case("9113/6.3", "sends PRIORITY on stream 0", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(wire.PRIORITY, 0, 0, wire.priority(0)))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/6.3", "sends PRIORITY with another length than 5 octets")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(wire.frame(wire.PRIORITY, 0, 1, bytes(4)))
    peer.expect_stream_error(1, wire.FRAME_SIZE_ERROR)


# -- RST_STREAM


@case("9113/6.4", "sends RST_STREAM on stream 0", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(wire.RST_STREAM, 0, 0, b"\0\0\0\x08"))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/6.4", "sends RST_STREAM with another length than 4 octets")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(wire.frame(wire.RST_STREAM, 0, 1, b"\0\0\x08"))
    peer.expect_connection_error(wire.FRAME_SIZE_ERROR)


# -- SETTINGS


@case("9113/6.5", "acknowledges settings with a payload", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(wire.SETTINGS, wire.ACK, 0, bytes(6)))
    peer.expect_connection_error(wire.FRAME_SIZE_ERROR)


@case("9113/6.5", "sends SETTINGS on a stream", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(wire.SETTINGS, 0, 1, struct.pack("!HI", wire.MAX_CONCURRENT_STREAMS, 9)))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/6.5", "sends SETTINGS whose length is no multiple of 6 octets", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(wire.SETTINGS, 0, 0, bytes(3)))
    peer.expect_connection_error(wire.FRAME_SIZE_ERROR)


for number, value, code in (
    (wire.ENABLE_PUSH, 2, wire.PROTOCOL_ERROR),
    (wire.INITIAL_WINDOW_SIZE, 1 << 31, wire.FLOW_CONTROL_ERROR),
    (wire.MAX_FRAME_SIZE, (1 << 14) - 1, wire.PROTOCOL_ERROR),
    (wire.MAX_FRAME_SIZE, 1 << 24, wire.PROTOCOL_ERROR),
):

    @case("9113/6.5.2", f"sends the setting {number} with the value {value}", forwards=False)
    def _(peer: Peer, number: int = number, value: int = value, code: int = code) -> None:
        peer.start()
        peer.send(wire.settings((number, value)))
        peer.expect_connection_error(code)


@case("9113/6.5.3", "sends a setting several times, of which the last one counts")
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 100), (wire.INITIAL_WINDOW_SIZE, 1)))
    peer.request(1)
    assert sum(len(one.payload) for one in peer.frames(wire.DATA, 1)) == 1


# -- PUSH_PROMISE


@case("9113/6.6", "sends PUSH_PROMISE", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.target.forwarded.clear()
    peer.send(wire.frame(wire.PUSH_PROMISE, wire.END_HEADERS, 1, b"\0\0\0\x02" + peer.block()))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


# -- PING


@case("9113/6.7", "sends an acknowledgment of a PING, which has no answer")
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(wire.PING, wire.ACK, 0, b"invalid!"))
    assert not any(one.payload == b"invalid!" for one in peer.frames(wire.PING))
    peer.expect_alive()


@case("9113/6.7", "sends PING on a stream", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(wire.PING, 0, 1, bytes(8)))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/6.7", "sends PING with another length than 8 octets", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(wire.PING, 0, 0, bytes(6)))
    peer.expect_connection_error(wire.FRAME_SIZE_ERROR)


# -- GOAWAY


@case("9113/6.8", "sends GOAWAY on a stream", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(wire.GOAWAY, 0, 1, bytes(8)))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


# -- WINDOW_UPDATE


@case("9113/6.9", "increases the window of the connection by 0", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.window_update(0, 0))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/6.9", "increases the window of a stream by 0")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(wire.window_update(1, 0))
    peer.expect_stream_error(1, wire.PROTOCOL_ERROR)


@case("9113/6.9", "sends WINDOW_UPDATE with another length than 4 octets", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(wire.WINDOW_UPDATE, 0, 0, bytes(3)))
    peer.expect_connection_error(wire.FRAME_SIZE_ERROR)


@case("9113/6.9.1", "permits one octet of content")
def _(peer: Peer) -> None:
    peer.start((wire.INITIAL_WINDOW_SIZE, 1))
    peer.request(1)
    assert [len(one.payload) for one in peer.frames(wire.DATA, 1)] == [1]


@case("9113/6.9.1", "increases the window of the connection above the maximum", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.window_update(0, (1 << 31) - 1), wire.window_update(0, (1 << 31) - 1))
    peer.expect_connection_error(wire.FLOW_CONTROL_ERROR)


@case("9113/6.9.1", "increases the window of a stream above the maximum")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(wire.window_update(1, (1 << 31) - 1), wire.window_update(1, (1 << 31) - 1))
    peer.expect_stream_error(1, wire.FLOW_CONTROL_ERROR)


@case("9113/6.9.2", "changes the initial window after a request")
def _(peer: Peer) -> None:
    peer.start((wire.INITIAL_WINDOW_SIZE, 0))
    peer.request(1)
    assert not any(one.payload for one in peer.frames(wire.DATA, 1))
    peer.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 1)))
    assert sum(len(one.payload) for one in peer.frames(wire.DATA, 1)) == 1


@case("9113/6.9.2", "makes the window of a stream negative")
def _(peer: Peer) -> None:
    peer.start((wire.INITIAL_WINDOW_SIZE, 3))
    peer.request(1)
    peer.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 2)), wire.window_update(1, 2))
    assert sum(len(one.payload) for one in peer.frames(wire.DATA, 1)) == 4


@case("9113/6.9.1", "sends more content than the window of the stream permits")
def _(peer: Peer) -> None:
    peer.target.hold()
    peer.start()
    peer.open(1)
    # The largest window that any setting of a server permits here is below 1 MiB.
    for _ in range(64):
        peer.send(wire.frame(wire.DATA, 0, 1, bytes(1 << 14)))
    peer.expect_stream_error(1, wire.FLOW_CONTROL_ERROR)


# -- CONTINUATION


@case("9113/6.10", "sends another frame than CONTINUATION inside a header block", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    block = peer.block()
    peer.send(
        wire.headers(1, block[:9], wire.END_STREAM),
        wire.frame(wire.CONTINUATION, 0, 1, block[9:12]),
        wire.frame(wire.DATA, wire.END_STREAM, 1, b"test"),
    )
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/6.10", "sends CONTINUATION on stream 0", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    block = peer.block()
    peer.send(
        wire.headers(1, block[:9], wire.END_STREAM), wire.frame(wire.CONTINUATION, wire.END_HEADERS, 0, block[9:])
    )
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/6.10", "sends CONTINUATION after END_HEADERS")
def _(peer: Peer) -> None:
    peer.start()
    peer.send(
        wire.headers(1, peer.block(), wire.END_HEADERS), wire.frame(wire.CONTINUATION, wire.END_HEADERS, 1, b"\x82")
    )
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/6.10", "sends CONTINUATION after CONTINUATION with END_HEADERS")
def _(peer: Peer) -> None:
    peer.start()
    block = peer.block()
    peer.send(
        wire.headers(1, block[:9], 0),
        wire.frame(wire.CONTINUATION, wire.END_HEADERS, 1, block[9:]),
        wire.frame(wire.CONTINUATION, wire.END_HEADERS, 1, b"\x82"),
    )
    peer.expect_connection_error(wire.PROTOCOL_ERROR)


@case("9113/6.10", "sends CONTINUATION after DATA")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(wire.frame(wire.DATA, 0, 1, b"test"), wire.frame(wire.CONTINUATION, wire.END_HEADERS, 1, b"\x82"))
    peer.expect_connection_error(wire.PROTOCOL_ERROR)
