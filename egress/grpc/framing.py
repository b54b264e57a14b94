"""The frames of gRPC messages: a flag, a length, and a message."""

from __future__ import annotations

import base64
import binascii
from typing import Final

import attrs

_PREFIX: Final = 5
_COMPRESSED: Final = 0x01
_TRAILERS: Final = 0x80
_FLAGS: Final = frozenset({0, _COMPRESSED})
_WEB_FLAGS: Final = _FLAGS | {_TRAILERS, _TRAILERS | _COMPRESSED}

MAX_TRAILERS: Final = 16 * 1024
"""The maximum size of the trailers in the content of gRPC-Web."""


class MalformedFrame(ValueError):
    """The content does not consist of gRPC frames."""


class MessageTooLarge(MalformedFrame):
    """A message exceeds the limit."""


@attrs.frozen
class Frame:
    """One message, or the trailers of gRPC-Web.

    @ivar data: the message as sent.
    @ivar compressed: whether it is compressed (C{grpc-encoding}).
    @ivar is_trailers: whether it contains the trailers, as the lines of HTTP/1 fields.
    """

    data: bytes
    compressed: bool = False
    is_trailers: bool = False

    def encode(self) -> bytes:
        """Return the frame as sent."""
        flags = self.compressed * _COMPRESSED | self.is_trailers * _TRAILERS
        return bytes((flags,)) + len(self.data).to_bytes(4, "big") + self.data


class FrameReader:
    """Reads frames from content that arrives in pieces. It buffers at most one frame and one piece.

    @param max_message: the maximum size of one message.
    @param web: whether the content is gRPC-Web, in which trailers end the content.
    """

    def __init__(self, max_message: int, *, web: bool = False) -> None:
        self._max_message = max_message
        self._web = web
        self._buffer = bytearray()
        self._ended = False

    @property
    def is_at_boundary(self) -> bool:
        """Whether all content so far was returned as whole frames."""
        return not self._buffer

    @property
    def buffered(self) -> int:
        """The number of bytes that were not returned yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take a piece of content. Call L{next_frame} until it returns C{None} before the next piece."""
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """Return the next frame; C{None} if its end is not here yet.

        @raise MalformedFrame: if the content is not a sequence of frames.
        @raise MessageTooLarge: if the prefix announces a message over the limit.
        """
        buffer = self._buffer
        if self._ended and buffer:
            raise MalformedFrame("content follows the trailers")
        if buffer and buffer[0] not in (_WEB_FLAGS if self._web else _FLAGS):
            raise MalformedFrame("a frame has an unknown flag")
        if len(buffer) < _PREFIX:
            return None
        flags, size = buffer[0], int.from_bytes(buffer[1:_PREFIX], "big")
        is_trailers = bool(flags & _TRAILERS)
        limit = MAX_TRAILERS if is_trailers else self._max_message
        if size > limit:
            raise MessageTooLarge(f"a message has {size:,} bytes; the limit is {limit:,}")
        end = _PREFIX + size
        if len(buffer) < end:
            return None
        data = bytes(memoryview(buffer)[_PREFIX:end])
        del buffer[:end]
        self._ended = is_trailers
        return Frame(data, bool(flags & _COMPRESSED), is_trailers)

    def finish(self) -> None:
        """Handle the end of the content.

        @raise MalformedFrame: if the content ends within a frame.
        """
        if self._buffer:
            raise MalformedFrame("the content ends within a message")


class TextDecoder:
    """Decodes the base64 of C{application/grpc-web-text}. Each part of the content may have padding of its own."""

    def __init__(self) -> None:
        self._rest = b""

    def decode(self, data: bytes) -> bytes:
        """Return the content that is complete.

        @raise MalformedFrame: if it is not base64.
        """
        text = self._rest + data
        whole = len(text) - len(text) % 4
        self._rest = text[whole:]
        decoded, begin = [], 0
        while begin < whole:
            # Padding ends a part: decode up to the end of its group.
            padding = text.find(b"=", begin, whole)
            end = whole if padding < 0 else padding - padding % 4 + 4
            try:
                decoded.append(base64.b64decode(text[begin:end], validate=True))
            except binascii.Error:
                raise MalformedFrame("the content is not base64") from None
            begin = end
        return b"".join(decoded)

    def finish(self) -> None:
        """Handle the end of the content.

        @raise MalformedFrame: if it ends within a group of four characters.
        """
        if self._rest:
            raise MalformedFrame("the content is not base64")
