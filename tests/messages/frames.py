"""WebSocket frames and compressed messages, as a peer encodes them."""

from __future__ import annotations

import zlib

from egress.messages.websocket import unmasked

KEY = b"\x01\x80\xff\x42"


def frame(payload: bytes, opcode: int = 1, *, final: bool = True, bits: int = 0, masked: bool = False) -> bytes:
    """Encode a frame."""
    size = len(payload)
    first = (0x80 if final else 0) | bits | opcode
    mask = 0x80 if masked else 0
    if size < 126:
        head = bytes((first, mask | size))
    elif size < 1 << 16:
        head = bytes((first, mask | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, mask | 127)) + size.to_bytes(8, "big")
    return head + (KEY + unmasked(payload, KEY) if masked else payload)


class Deflater:
    """Compresses the messages of one direction."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj(9, zlib.DEFLATED, -15)

    def message(self, content: bytes, opcode: int = 1, *, masked: bool = False) -> bytes:
        """Encode a compressed message in one frame."""
        payload = self._stream.compress(content) + self._stream.flush(zlib.Z_SYNC_FLUSH)
        return frame(payload[:-4], opcode, bits=0x40, masked=masked)
