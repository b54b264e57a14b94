"""The framing of message content (RFC 9112 section 6) and the chunked coding (section 7.1)."""

from __future__ import annotations

import enum
import re
from typing import Final

from egress.http.events import END, End
from egress.http.field_lines import MalformedFields, parse_fields
from egress.http.hop_by_hop import encode_fields, trailer_fields
from egress.model.decision import Headers


class MalformedBody(ValueError):
    """The content does not have the framing that the head announced."""


# A recipient ignores chunk extensions that it does not know (RFC 9112 section 7.1.1), so they are read and dropped.
# White space around ";" and "=" is "bad" white space, which a recipient removes (RFC 9110 section 5.6.3).
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED: Final = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_EXTENSIONS: Final = rb"(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED)
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})" + _EXTENSIONS)
# Some origins pad sizes with leading zeros or trailing white space. Requests must not be padded: a line that one
# recipient reads as a size and another as an error enables request smuggling.
_PADDED_CHUNK_LINE = re.compile(rb"0*([0-9A-Fa-f]{1,15})" + _EXTENSIONS + rb"[ \t]*")
_MAX_CHUNK_LINE: Final = 256
# The maximum number of extension bytes in excess of the content bytes.
_MAX_EXTENSIONS: Final = 16 * 1024
# The maximum number of chunks that are joined to one piece of content: each chunk takes time, however small it is.
MAX_CHUNKS: Final = 128


def encode_chunk(data: bytes) -> bytes:
    """Encode content as one chunk. C{data} must not be empty, which would end the message."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_last_chunk(trailers: Headers) -> bytes:
    """Encode the end of chunked content, with its trailers."""
    return b"0\r\n%b\r\n" % encode_fields(trailers)


class LengthBody:
    """Content of a known length."""

    def __init__(self, length: int) -> None:
        self._remaining = length

    def take(self, buffer: bytes) -> tuple[bytes | End | None, bytes]:
        """Parse the next event.

        @return: content, or the end, or C{None} if more data is needed; and the rest of C{buffer}.
        """
        if not self._remaining:
            return END, buffer
        if not buffer:
            return None, buffer
        if len(buffer) <= self._remaining:
            self._remaining -= len(buffer)
            return buffer, b""
        data, rest = buffer[: self._remaining], buffer[self._remaining :]
        self._remaining = 0
        return data, rest


class UntilCloseBody:
    """Content that ends with the connection (responses only)."""

    def take(self, buffer: bytes) -> tuple[bytes | End | None, bytes]:
        """Parse the next event; see L{LengthBody.take}."""
        return (buffer or None), b""


class _ChunkState(enum.Enum):
    SIZE = enum.auto()
    DATA = enum.auto()
    DATA_END = enum.auto()
    TRAILERS = enum.auto()


class ChunkedBody:
    """Content in the chunked coding.

    It is stricter than the RFC requires of a recipient: no bare line feeds, and limits for extensions and trailers. It
    rejects what another parser might frame differently. The original framing is never forwarded: L{encode_chunk} writes
    each size in its canonical form, without extensions.

    @param response: whether an origin sent the content; then sizes may be padded.
    """

    def __init__(self, trailer_limit: int, field_limit: int, *, response: bool = False) -> None:
        self._state = _ChunkState.SIZE
        self._response = response
        self._line = _PADDED_CHUNK_LINE if response else _CHUNK_LINE
        self._extensions = 0
        self._remaining = 0
        self._trailer_limit = trailer_limit
        self._field_limit = field_limit

    def take(self, buffer: bytes) -> tuple[bytes | End | None, bytes]:
        """Parse the next event; see L{LengthBody.take}.

        The content of up to L{MAX_CHUNKS} chunks is one event, so that tiny chunks are not forwarded separately and one
        call takes a bounded time.

        @raise MalformedBody: if it is not valid chunked coding.
        """
        chunks: list[bytes] = []
        position = 0
        while self._state is not _ChunkState.TRAILERS and len(chunks) < MAX_CHUNKS:
            try:
                next_position = self._step(buffer, position, chunks)
            except MalformedBody:
                if chunks:
                    # Return the content before the error first, as if it had been received separately.
                    break
                raise
            if next_position == position:
                break
            position = next_position
        rest = buffer[position:]
        if chunks:
            return b"".join(chunks), rest
        if self._state is _ChunkState.TRAILERS:
            return self._take_trailers(rest)
        return None, rest

    def _step(self, buffer: bytes, position: int, chunks: list[bytes]) -> int:
        """Parse a size, data, or the end of a chunk.

        @return: the position after the parsed bytes; C{position} itself if more data is needed.
        """
        if self._state is _ChunkState.DATA:
            data = buffer[position : position + self._remaining]
            if data:
                chunks.append(data)
                self._remaining -= len(data)
                if not self._remaining:
                    self._state = _ChunkState.DATA_END
            return position + len(data)
        if self._state is _ChunkState.DATA_END:
            line_end = buffer[position : position + 2]
            if not b"\r\n".startswith(line_end):
                raise MalformedBody("a chunk is longer than its size says")
            if len(line_end) < 2:
                return position
            self._state = _ChunkState.SIZE
            return position + 2
        end = buffer.find(b"\r\n", position, position + _MAX_CHUNK_LINE)
        if end < 0:
            if len(buffer) - position >= _MAX_CHUNK_LINE or buffer.find(b"\n", position) >= 0:
                raise MalformedBody("a chunk size is not a line of its own")
            return position
        self._begin_chunk(buffer[position:end])
        return end + 2

    def _begin_chunk(self, line: bytes) -> None:
        match = self._line.fullmatch(line)
        if match is None:
            raise MalformedBody("a chunk size is not a hexadecimal number, or what follows it is no extension")
        self._remaining = int(match[1], 16)
        self._extensions = max(0, self._extensions + len(line) - len(match[1]) - self._remaining)
        if self._extensions > _MAX_EXTENSIONS:
            raise MalformedBody(f"the chunk extensions are over {_MAX_EXTENSIONS} bytes more than the content")
        self._state = _ChunkState.DATA if self._remaining else _ChunkState.TRAILERS

    def _take_trailers(self, buffer: bytes) -> tuple[End | None, bytes]:
        if buffer.startswith(b"\r\n"):
            return END, buffer[2:]
        end = buffer.find(b"\r\n\r\n", 0, self._trailer_limit)
        if end < 0:
            if len(buffer) >= self._trailer_limit:
                raise MalformedBody("the trailers are over the limit")
            return None, buffer
        try:
            trailers = parse_fields(buffer[: end + 4], self._field_limit, response=self._response)
        except MalformedFields as error:
            raise MalformedBody(f"the trailers are malformed: {error}") from error
        return End(trailer_fields(trailers)), buffer[end + 4 :]


Body = LengthBody | UntilCloseBody | ChunkedBody
