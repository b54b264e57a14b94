"""Messages of netlink: the framing, and the acknowledgements of the kernel.

The layout is that of C{linux/netlink.h}.  Integers are in the byte order of the machine, except where a subsystem says
otherwise.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

REQUEST: Final = 0x1
ACKNOWLEDGE: Final = 0x4
EXCLUSIVE: Final = 0x200
CREATE: Final = 0x400
APPEND: Final = 0x800

_ERROR: Final = 0x2
_NESTED: Final = 0x8000
_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_RESULT: Final = struct.Struct("=i")


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)


def attribute(kind: int, content: bytes) -> bytes:
    """Return an attribute, padded to a multiple of four bytes."""
    return _padded(_ATTRIBUTE.pack(_ATTRIBUTE.size + len(content), kind) + content)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that contains attributes."""
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """Return an attribute that is a string with a final zero."""
    return attribute(kind, value.encode() + b"\0")


def message(kind: int, flags: int, sequence: int, content: bytes) -> bytes:
    """Return a message to the kernel.

    @param sequence: the kernel repeats this number in its acknowledgement.
    """
    return _padded(_HEADER.pack(_HEADER.size + len(content), kind, flags, sequence, 0) + content)


def results(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the sequence number, and the C{errno} or 0, of each acknowledgement in a datagram of the kernel."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        if kind == _ERROR and length >= _HEADER.size + _RESULT.size:
            (result,) = _RESULT.unpack_from(data, offset + _HEADER.size)
            yield sequence, -result
        offset += length + -length % 4
