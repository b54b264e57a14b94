"""The message in the content of a call with one request message."""

from __future__ import annotations

import zlib
from typing import Final

from egress.grpc.call import Kind
from egress.grpc.framing import FrameReader, MalformedFrame, MessageTooLarge, TextDecoder
from egress.model.decision import Headers

# The window bits of zlib: gzip, and zlib ("deflate").
_WINDOWS: Final = {b"gzip": 31, b"deflate": 15}
_ENCODING: Final = b"grpc-encoding"


def encoding_of(headers: Headers) -> bytes:
    """Return the value of C{grpc-encoding}; C{identity} without one, and an unknown one if there are several."""
    values = [value for name, value in headers if name.lower() == _ENCODING]
    return b",".join(values) if values else b"identity"


def only_message(content: bytes, kind: Kind, encoding: bytes, limit: int) -> bytes:
    """Return the only message in the whole content of a request, decompressed.

    @param content: the content.
    @param kind: the kind of the request.
    @param encoding: the value of C{grpc-encoding}.
    @param limit: the maximum size of the message.
    @raise MalformedFrame: if the content is not one message, or cannot be decompressed.
    """
    if kind is Kind.WEB_TEXT:
        decoder = TextDecoder()
        content = decoder.decode(content)
        decoder.finish()
    reader = FrameReader(limit)
    reader.feed(content)
    frame = reader.next_frame()
    if frame is None or not reader.is_at_boundary:
        raise MalformedFrame("the content is not one message")
    return decompress(frame.data, encoding, limit) if frame.compressed else frame.data


def decompress(data: bytes, encoding: bytes, limit: int) -> bytes:
    """Decompress a message.

    @raise MalformedFrame: if the encoding is not supported, or does not describe the data.
    @raise MessageTooLarge: if it exceeds the limit.
    """
    window = _WINDOWS.get(encoding)
    if window is None:
        raise MalformedFrame("the message is compressed in an unknown way")
    decoder = zlib.decompressobj(window)
    try:
        found = decoder.decompress(data, limit + 1)
    except zlib.error:
        raise MalformedFrame("the message cannot be decompressed") from None
    if len(found) > limit:
        raise MessageTooLarge(f"a message has more than {limit:,} bytes")
    if not decoder.eof or decoder.unused_data:
        raise MalformedFrame("the message cannot be decompressed")
    return found
