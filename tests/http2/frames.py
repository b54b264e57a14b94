"""Frames as bytes (RFC 9113 section 4.1)."""

from __future__ import annotations

from hpack.hpack import Encoder

from egress.model.decision import Header

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS = 4
PADDED = 8
WITH_PRIORITY = 32

REQUEST: list[Header] = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"origin.test"),
    (b":path", b"/"),
]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Encode a frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def block(fields: list[Header]) -> bytes:
    """Encode a header block without a dynamic table."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode(fields)


def headers(
    stream: int, *fields: Header, flags: int = END_HEADERS | END_STREAM, pseudo: list[Header] = REQUEST
) -> bytes:
    """Encode a request."""
    return frame(HEADERS, flags, stream, block([*pseudo, *fields]))
