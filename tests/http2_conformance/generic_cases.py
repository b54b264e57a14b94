"""What every server does for a well-behaved client (the generic section)."""

from __future__ import annotations

from tests.http2_conformance import frames as wire
from tests.http2_conformance.case import AUTHORITY, Cases, Peer

case = Cases()

END = wire.END_STREAM | wire.END_HEADERS


@case("9113/3.4", "sends the client connection preface")
def _(peer: Peer) -> None:
    peer.start()
    first = peer.seen[0]
    assert first.kind == wire.SETTINGS and not first.flags & wire.ACK
    assert sum(one.flags & wire.ACK for one in peer.frames(wire.SETTINGS)) == 1
    peer.expect_alive()


@case("9113/5.1", "sends a PRIORITY frame on an idle stream")
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(wire.PRIORITY, 0, 1, wire.priority(0)))
    peer.request(3)
    peer.expect_response(3)


@case("9113/5.1", "sends a WINDOW_UPDATE frame on a stream that it has ended")
def _(peer: Peer) -> None:
    peer.start()
    peer.request(1)
    peer.send(wire.window_update(1, 100))
    peer.expect_response(1)
    peer.expect_alive()


@case("9113/5.1", "sends a PRIORITY frame on a stream that it has ended")
def _(peer: Peer) -> None:
    peer.start()
    peer.request(1)
    peer.send(wire.frame(wire.PRIORITY, 0, 1, wire.priority(0)))
    peer.expect_response(1)
    peer.expect_alive()


@case("9113/5.1", "sends RST_STREAM on a stream that it has ended")
def _(peer: Peer) -> None:
    peer.start()
    peer.request(1)
    peer.send(wire.frame(wire.RST_STREAM, 0, 1, b"\0\0\0\x08"))
    peer.expect_alive()


@case("9113/5.1", "sends a PRIORITY frame on a closed stream")
def _(peer: Peer) -> None:
    peer.start()
    peer.request(1)
    peer.expect_response(1)
    peer.send(wire.frame(wire.PRIORITY, 0, 1, wire.priority(0)))
    peer.expect_alive()


@case("9113/6.1", "sends a DATA frame")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(wire.frame(wire.DATA, wire.END_STREAM, 1, b"test"))
    peer.expect_response(1)


@case("9113/6.1", "sends several DATA frames")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(wire.frame(wire.DATA, 0, 1, b"te"), wire.frame(wire.DATA, wire.END_STREAM, 1, b"st"))
    peer.expect_response(1)


@case("9113/6.1", "sends a DATA frame with padding")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(wire.frame(wire.DATA, wire.END_STREAM | wire.PADDED, 1, b"\x06test" + bytes(6)))
    peer.expect_response(1)


@case("9113/6.2", "sends a HEADERS frame")
def _(peer: Peer) -> None:
    peer.start()
    peer.request(1)
    peer.expect_response(1)


@case("9113/6.2", "sends a HEADERS frame with padding")
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.headers(1, b"\x06" + peer.block() + bytes(6), END | wire.PADDED))
    peer.expect_response(1)


@case("9113/6.2", "sends a HEADERS frame with a priority")
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.headers(1, wire.priority(0, 255) + peer.block(), END | wire.WITH_PRIORITY))
    peer.expect_response(1)


@case("9113/6.3", "sends PRIORITY frames with each weight, exclusive or not")
def _(peer: Peer) -> None:
    peer.start()
    for weight in (0, 255):
        for exclusive in (False, True):
            peer.send(wire.frame(wire.PRIORITY, 0, 1, wire.priority(0, weight, exclusive=exclusive)))
    peer.request(1)
    peer.expect_response(1)


@case("9113/6.4", "sends a RST_STREAM frame")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(wire.frame(wire.RST_STREAM, 0, 1, b"\0\0\0\x08"))
    peer.expect_alive()


@case("9113/6.5", "sends a SETTINGS frame")
def _(peer: Peer) -> None:
    peer.start()
    before = sum(one.flags & wire.ACK for one in peer.frames(wire.SETTINGS))
    peer.send(wire.settings((wire.MAX_CONCURRENT_STREAMS, 100), (wire.INITIAL_WINDOW_SIZE, 65_535)))
    assert sum(one.flags & wire.ACK for one in peer.frames(wire.SETTINGS)) == before + 1


@case("9113/6.7", "sends a PING frame")
def _(peer: Peer) -> None:
    peer.start()
    peer.expect_alive()


@case("9113/6.8", "sends a GOAWAY frame without open streams")
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.frame(wire.GOAWAY, 0, 0, bytes(8)))
    # It may close the connection, or still answer.
    if not peer.target.closed:
        peer.expect_alive()


@case("9113/6.9", "sends a WINDOW_UPDATE frame for the connection and for a stream")
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.window_update(0, 1))
    peer.open(1)
    peer.send(wire.window_update(1, 1), wire.frame(wire.DATA, wire.END_STREAM, 1, b"test"))
    peer.expect_response(1)


@case("9113/6.10", "sends a CONTINUATION frame")
def _(peer: Peer) -> None:
    peer.start()
    block = peer.block()
    peer.send(
        wire.headers(1, block[:3], wire.END_STREAM),
        wire.frame(wire.CONTINUATION, wire.END_HEADERS, 1, block[3:]),
    )
    peer.expect_response(1)


@case("9113/6.10", "sends several CONTINUATION frames")
def _(peer: Peer) -> None:
    peer.start()
    block = peer.block()
    peer.send(
        wire.headers(1, block[:3], wire.END_STREAM),
        wire.frame(wire.CONTINUATION, 0, 1, block[3:9]),
        wire.frame(wire.CONTINUATION, wire.END_HEADERS, 1, block[9:]),
    )
    peer.expect_response(1)


@case("9113/8.1", "sends GET, HEAD and POST requests")
def _(peer: Peer) -> None:
    peer.start()
    peer.request(1)
    peer.request(3, b"HEAD")
    peer.open(5)
    peer.send(wire.frame(wire.DATA, wire.END_STREAM, 5, b"test"))
    for stream in (1, 3, 5):
        peer.expect_response(stream)
    assert not any(one.payload for one in peer.frames(wire.DATA, 3)), "the response to HEAD has no content"


@case("9113/8.1", "sends a POST request with trailers")
def _(peer: Peer) -> None:
    peer.start()
    peer.open(1)
    peer.send(wire.frame(wire.DATA, 0, 1, b"test"), wire.headers(1, wire.block([(b"x-checksum", b"1")])))
    peer.expect_response(1)


@case("7541/2.3.3", "sends an indexed field of the static table")
def _(peer: Peer) -> None:
    peer.start()
    indexed = b"\x82\x87\x84" + wire.literal(b":authority", AUTHORITY)  # GET, https, /
    peer.send(wire.headers(1, indexed))
    peer.expect_response(1)


@case("7541/2.3.3", "sends an indexed field of the dynamic table")
def _(peer: Peer) -> None:
    peer.start()
    added = b"\x82\x87\x84\x41" + wire.text(AUTHORITY)  # :authority, stored
    peer.send(wire.headers(1, added), wire.headers(3, b"\x82\x87\x84\xbe"))
    peer.expect_response(1)
    peer.expect_response(3)


@case("7541/4.2", "sends an update of the table size at the beginning of a block")
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.headers(1, b"\x20" + peer.block()))
    peer.expect_response(1)


@case("7541/5.2", "sends a string with the Huffman code")
def _(peer: Peer) -> None:
    peer.start()
    huffman = b"\x82\x87\x04\x81\x63"  # the path "/"
    peer.send(wire.headers(1, huffman + wire.literal(b":authority", AUTHORITY)))
    peer.expect_response(1)


@case("7541/6.2", "sends literal fields, stored, not stored and never stored")
def _(peer: Peer) -> None:
    peer.start()
    extra = b"".join(first + wire.text(b"x-name") + wire.text(b"value") for first in (b"\x40", b"\x00", b"\x10"))
    peer.send(wire.headers(1, peer.block() + extra))
    peer.expect_response(1)
