"""Frames of HTTP/2 and of WebSockets, and calls of gRPC, for the client and the origin of L{benchmarks.messages}.

They know only what the benchmark sends, so that they cost little.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from hpack import Encoder

Fields = Sequence[tuple[bytes, bytes]]

# RFC 9113 section 6.
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_MAX_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65535
INITIAL_WINDOW_SIZE: Final = 4
_ENABLE_PUSH: Final = 2
_FRAME: Final = struct.Struct(">BHBBL")
_FRAME_SIZE: Final = 16384

# RFC 6455 section 5.2.
TEXT, BINARY, CLOSE = 1, 2, 8
FINAL, COMPRESSED = 0x80, 0x40

SERVICE, METHOD = "bench.v1.Echo", "Unary"


def h2_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Encode a frame of HTTP/2."""
    size = len(payload)
    return _FRAME.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def h2_data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    """Encode content as frames."""
    parts = [payload[at : at + _FRAME_SIZE] for at in range(0, len(payload), _FRAME_SIZE)]
    frames = [h2_frame(DATA, 0, stream, part) for part in parts[:-1]]
    return b"".join([*frames, h2_frame(DATA, flags, stream, parts[-1])])


def h2_beginning(*, client: bool) -> bytes:
    """Encode the beginning of a connection with the largest windows."""
    settings = struct.pack(">HL", INITIAL_WINDOW_SIZE, _MAX_WINDOW)
    settings += struct.pack(">HL", _ENABLE_PUSH, 0) if client else b""
    window = struct.pack(">L", _MAX_WINDOW - DEFAULT_WINDOW)
    beginning = h2_frame(SETTINGS, 0, 0, settings) + h2_frame(WINDOW_UPDATE, 0, 0, window)
    return PREFACE + beginning if client else beginning


class H2Frame(NamedTuple):
    """A received frame of HTTP/2."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class WebSocketFrame(NamedTuple):
    """A received frame of a WebSocket.

    @ivar first: the first byte, with the flags and the opcode.
    @ivar payload: the payload without a mask.
    """

    first: int
    payload: bytes


def take_h2_frames(data: bytearray) -> Iterator[H2Frame]:
    """Remove complete frames of HTTP/2 from received bytes."""
    while len(data) >= _FRAME.size:
        high, low, kind, flags, stream = _FRAME.unpack_from(data)
        end = _FRAME.size + (high << 16 | low)
        if len(data) < end:
            return
        payload = bytes(data[_FRAME.size : end])
        del data[:end]
        yield H2Frame(kind, flags, stream, payload)


def masked(payload: bytes, key: bytes) -> bytes:
    """Apply a masking key, or remove it (RFC 6455 section 5.3)."""
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little")).to_bytes(size, "little")


def websocket_frame(first: int, payload: bytes, key: bytes = b"") -> bytes:
    """Encode a frame of a WebSocket.

    @param first: the first byte, with the flags and the opcode.
    @param key: the masking key of a client.
    """
    size, mask = len(payload), 0x80 if key else 0
    if size < 126:
        head = bytes((first, mask | size))
    elif size < 65536:
        head = struct.pack(">BBH", first, mask | 126, size)
    else:
        head = struct.pack(">BBQ", first, mask | 127, size)
    return head + key + (masked(payload, key) if key else payload)


def take_websocket_frames(data: bytearray) -> Iterator[WebSocketFrame]:
    """Remove complete frames of a WebSocket from received bytes."""
    while len(data) >= 2:
        size, start = data[1] & 0x7F, 2
        if size > 125:
            start = 4 if size == 126 else 10
            if len(data) < start:
                return
            size = int.from_bytes(data[2:start], "big")
        is_masked = data[1] & 0x80
        start += 4 if is_masked else 0
        if len(data) < start + size:
            return
        first, payload = data[0], bytes(data[start : start + size])
        if is_masked:
            payload = masked(payload, bytes(data[start - 4 : start]))
        del data[: start + size]
        yield WebSocketFrame(first, payload)


def grpc_frame(message: bytes) -> bytes:
    """Encode a message of gRPC."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def echo_message(text: bytes) -> bytes:
    """Encode the message of the service: a string in field 1, of less than 128 bytes."""
    return b"\x0a" + bytes((len(text),)) + text


class FieldBlocks:
    """The header blocks that one end of a connection repeats.

    Encoders of gRPC add the fields to the dynamic table with their first blocks, and refer to the table later. So do
    these, without the time for encoding.

    @param lists: the header lists, in their order on the connection.
    """

    def __init__(self, *lists: Fields) -> None:
        encoder = Encoder()
        self._first = [encoder.encode(fields) for fields in lists]
        self._later = [encoder.encode(fields) for fields in lists]
        self._is_first = True

    def next(self) -> list[bytes]:
        """Return the blocks of the next message."""
        blocks = self._first if self._is_first else self._later
        self._is_first = False
        return blocks
