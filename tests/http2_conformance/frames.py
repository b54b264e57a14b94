"""Frames and header blocks as bytes, valid or not (RFC 9113 section 4, RFC 7541 section 6)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from tests.http2.frames import (
    ACK as ACK,
)
from tests.http2.frames import (
    CONTINUATION as CONTINUATION,
)
from tests.http2.frames import (
    DATA as DATA,
)
from tests.http2.frames import (
    END_HEADERS as END_HEADERS,
)
from tests.http2.frames import (
    END_STREAM as END_STREAM,
)
from tests.http2.frames import (
    GOAWAY as GOAWAY,
)
from tests.http2.frames import (
    HEADERS as HEADERS,
)
from tests.http2.frames import (
    PADDED as PADDED,
)
from tests.http2.frames import (
    PING as PING,
)
from tests.http2.frames import (
    PRIORITY as PRIORITY,
)
from tests.http2.frames import (
    PUSH_PROMISE as PUSH_PROMISE,
)
from tests.http2.frames import (
    RST_STREAM as RST_STREAM,
)
from tests.http2.frames import (
    SETTINGS as SETTINGS,
)
from tests.http2.frames import (
    WINDOW_UPDATE as WINDOW_UPDATE,
)
from tests.http2.frames import (
    WITH_PRIORITY as WITH_PRIORITY,
)
from tests.http2.frames import (
    frame as frame,
)

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
FLOW_CONTROL_ERROR: Final = 0x3
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
COMPRESSION_ERROR: Final = 0x9

ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5

Field = tuple[bytes, bytes]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def integer(value: int, bits: int, first: int = 0) -> bytes:
    """Encode an integer with a prefix of some bits, whose octet begins with other bits (RFC 7541 section 5.1)."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    out, value = bytearray([first | limit]), value - limit
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    out.append(value)
    return bytes(out)


def text(value: bytes) -> bytes:
    """Encode a string without the Huffman code (RFC 7541 section 5.2)."""
    return integer(len(value), 7) + value


def literal(name: bytes, value: bytes) -> bytes:
    """Encode a field without indexing, with a new name (RFC 7541 section 6.2.2)."""
    return b"\x00" + text(name) + text(value)


def block(fields: Iterable[Field]) -> bytes:
    """Encode a header list."""
    return b"".join(literal(name, value) for name, value in fields)


def settings(*values: tuple[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, payload=b"".join(struct.pack("!HI", *value) for value in values))


def window_update(stream: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack("!I", increment))


def priority(depends_on: int, weight: int = 15, *, exclusive: bool = False) -> bytes:
    """Return the five octets of a priority (RFC 9113 section 6.3)."""
    return struct.pack("!IB", depends_on | (exclusive << 31), weight)


def headers(stream: int, payload: bytes, flags: int = END_STREAM | END_HEADERS) -> bytes:
    """Return a HEADERS frame."""
    return frame(HEADERS, flags, stream, payload)
