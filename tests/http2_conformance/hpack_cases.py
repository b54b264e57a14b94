"""Invalid header blocks (the hpack section)."""

from __future__ import annotations

from tests.http2_conformance import frames as wire
from tests.http2_conformance.case import AUTHORITY, Cases, Peer

case = Cases()


def refuses(peer: Peer, block: bytes) -> None:
    """Send a header block that cannot be decoded."""
    peer.start()
    peer.send(wire.headers(1, block))
    peer.expect_connection_error(wire.COMPRESSION_ERROR)


@case("7541/2.3.3", "sends an index beyond both tables", forwards=False)
def _(peer: Peer) -> None:
    refuses(peer, peer.block() + wire.integer(70, 7, 0x80))


@case("7541/2.3.3", "sends a literal field whose name has an index beyond both tables", forwards=False)
def _(peer: Peer) -> None:
    refuses(peer, peer.block() + wire.integer(70, 6, 0x40) + wire.text(b"empty"))


@case("7541/4.2", "sends an update of the table size at the end of a block", forwards=False)
def _(peer: Peer) -> None:
    refuses(peer, peer.block() + b"\x20")


@case("7541/5.1", "sends an integer that does not end", forwards=False)
def _(peer: Peer) -> None:
    refuses(peer, peer.block() + b"\xff" + b"\x80" * 200 + b"\x01")


@case("7541/5.2", "sends a Huffman string whose padding has more than 7 bits", forwards=False)
def _(peer: Peer) -> None:
    refuses(peer, peer.block() + b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff")


@case("7541/5.2", "sends a Huffman string whose padding is zeros", forwards=False)
def _(peer: Peer) -> None:
    refuses(peer, peer.block() + b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90")


@case("7541/5.2", "sends a Huffman string that contains EOS", forwards=False)
def _(peer: Peer) -> None:
    refuses(peer, peer.block() + b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f")


@case("7541/5.2", "sends a string that is longer than the block", forwards=False)
def _(peer: Peer) -> None:
    refuses(peer, peer.block() + b"\x00\x0fx-name")


@case("7541/6.1", "sends the index 0", forwards=False)
def _(peer: Peer) -> None:
    refuses(peer, peer.block() + b"\x80")


@case("7541/6.3", "sends an update of the table size above the announced maximum", forwards=False)
def _(peer: Peer) -> None:
    refuses(peer, wire.integer(1 << 24, 5, 0x20) + peer.block())


@case("7541/4.3", "refers to an entry that an update of the table size has evicted", forwards=False)
def _(peer: Peer) -> None:
    peer.start()
    peer.send(wire.headers(1, b"\x82\x87\x84\x41" + wire.text(AUTHORITY)))
    peer.expect_response(1)
    peer.target.forwarded.clear()
    peer.send(wire.headers(3, b"\x20\x82\x87\x84\xbe"))
    peer.expect_connection_error(wire.COMPRESSION_ERROR)
