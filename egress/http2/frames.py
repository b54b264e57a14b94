"""The reader of HTTP/2 frames: it finds the frames in received bytes and joins header blocks, within limits."""

from __future__ import annotations

import struct
from typing import Final

from h2.errors import ErrorCodes
from h2.exceptions import FrameDataMissingError, FrameTooLargeError, ProtocolError
from hyperframe.exceptions import InvalidDataError, InvalidFrameError, InvalidPaddingError
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, HeadersFrame, PushPromiseFrame, SettingsFrame

from egress.http.sniff import PREFACE

# RFC 9113 section 4.1.
_HEADER: Final = 9
_LENGTH: Final = struct.Struct(">HB")
_STREAM_ID: Final = 0x7FFFFFFF
_END_STREAM: Final = 0x1
_END_HEADERS: Final = 0x4
# The maximum number of CONTINUATION frames of one header block. Real peers send one for each 16 KiB.
MAX_CONTINUATIONS: Final = 16


class CalmError(ProtocolError):
    """The peer causes more work than a peer that uses the protocol as intended."""

    error_code = ErrorCodes.ENHANCE_YOUR_CALM


class PlainData(DataFrame):
    """A DATA frame without padding, like nearly all. The class of C{hyperframe} takes longer to create."""

    def __init__(self, stream_id: int, flags: int, data: bytes) -> None:
        self.stream_id = stream_id
        self.flags = {"END_STREAM"} if flags & _END_STREAM else set()  # type: ignore[assignment]
        self.data = data
        self.pad_length = 0
        self.body_len = len(data)


class PlainHeaders(HeadersFrame):
    """A HEADERS frame without padding and priority, with a whole header block."""

    def __init__(self, stream_id: int, flags: int, data: bytes) -> None:
        self.stream_id = stream_id
        self.flags = {"END_HEADERS", "END_STREAM"} if flags & _END_STREAM else {"END_HEADERS"}  # type: ignore[assignment]
        self.data = data
        self.pad_length = 0
        self.body_len = len(data)


# By the type, and the flags without END_STREAM.
_PLAIN: Final[dict[tuple[int, int], type[PlainData] | type[PlainHeaders]]] = {
    (DataFrame.type, 0): PlainData,
    (HeadersFrame.type, _END_HEADERS): PlainHeaders,
}


class FrameReader:
    """Finds the frames in the bytes of one connection. It replaces the buffer of C{h2}.

    The buffer of C{h2} waits for the whole of a frame before it checks the length, which can be 16 MiB, and stores up
    to 1 MiB of a header block.

    @param server: whether the peer is a client, which sends the preface first.
    @param block_limit: the maximum size of an encoded header block in bytes.
    @ivar max_frame_size: the maximum size of a frame's payload in bytes.
    @ivar preface_missing: whether the preface of the client is incomplete.
    """

    def __init__(self, *, server: bool, block_limit: int) -> None:
        self.max_frame_size = 0
        self._data = bytearray()
        self._preface = PREFACE if server else b""
        self._block: list[HeadersFrame | PushPromiseFrame | ContinuationFrame] = []
        self._block_size = 0
        self._block_limit = block_limit

    @property
    def preface_missing(self) -> bool:
        """Whether the preface of the client is incomplete."""
        return bool(self._preface)

    @property
    def in_block(self) -> bool:
        """Whether a header block is incomplete."""
        return bool(self._block)

    @property
    def has_frame(self) -> bool:
        """Whether the buffer contains a complete frame."""
        data = self._data
        return len(data) >= _HEADER and len(data) >= _HEADER + (data[0] << 16 | data[1] << 8 | data[2])

    @property
    def buffered(self) -> int:
        """The number of bytes received and not parsed."""
        return len(self._data)

    def add_data(self, data: bytes) -> None:
        """Add received bytes.

        @raise ProtocolError: if the peer does not start with the preface.
        """
        if self._preface:
            size = len(self._preface)
            start, data = data[:size], data[size:]
            if not self._preface.startswith(start):
                raise ProtocolError("the client does not start with the preface of HTTP/2")
            self._preface = self._preface[len(start) :]
        self._data += data

    def __iter__(self) -> FrameReader:
        return self

    def __next__(self) -> Frame:
        while True:
            frame = self._next()
            if self._block or isinstance(frame, (HeadersFrame, PushPromiseFrame, ContinuationFrame)):
                whole = self._join(frame)
                if whole is None:
                    continue
                return whole
            return frame

    def _next(self) -> Frame:
        data = self._data
        if len(data) < _HEADER:
            raise StopIteration
        high, low = _LENGTH.unpack_from(data)
        length = high << 8 | low
        if length > self.max_frame_size:
            raise FrameTooLargeError(f"a frame has {length} bytes, the limit is {self.max_frame_size}")
        end = _HEADER + length
        if len(data) < end:
            raise StopIteration
        payload = bytes(memoryview(data)[:end])
        del data[:end]
        make = _PLAIN.get((payload[3], payload[4] & ~_END_STREAM))
        if make is not None:
            stream_id = int.from_bytes(payload[5:_HEADER], "big") & _STREAM_ID
            if stream_id:
                return make(stream_id, payload[4], payload[_HEADER:])
        try:
            frame, _ = Frame.parse_frame_header(memoryview(payload)[:_HEADER])
            frame.parse_body(memoryview(payload)[_HEADER:])
        except InvalidPaddingError as error:
            raise ProtocolError("the padding of a frame is not valid") from error
        except InvalidDataError as error:
            if _acknowledges_settings(payload):
                raise FrameDataMissingError("an acknowledgment of settings has a payload") from error
            raise ProtocolError(f"a frame is not valid: {error}") from error
        except InvalidFrameError as error:
            raise FrameDataMissingError(f"a frame is incomplete: {error}") from error
        return frame

    def _join(self, frame: Frame) -> Frame | None:
        """Join the frames of a header block.

        @return: the first frame with the whole block; C{None} if the block is incomplete.
        """
        block = self._block
        if block and not (isinstance(frame, ContinuationFrame) and frame.stream_id == block[0].stream_id):
            raise ProtocolError("another frame interrupts a header block")
        assert isinstance(frame, (HeadersFrame, PushPromiseFrame, ContinuationFrame))
        if not block and isinstance(frame, ContinuationFrame):
            # C{h2} takes it for an error of its stream if it has forgotten the stream (RFC 9113 section 6.10).
            raise ProtocolError("a CONTINUATION frame follows no incomplete header block")
        self._block_size += len(frame.data)
        if self._block_size > self._block_limit:
            raise CalmError(f"a header block is over {self._block_limit} bytes")
        block.append(frame)
        if "END_HEADERS" not in frame.flags:
            if len(block) > MAX_CONTINUATIONS:
                raise CalmError(f"a header block has over {MAX_CONTINUATIONS} frames")
            return None
        first = block[0]
        if len(block) > 1:
            first.data = b"".join([part.data for part in block])
            first.flags.add("END_HEADERS")
        self._block = []
        self._block_size = 0
        return first


def _acknowledges_settings(frame: bytes) -> bool:
    return frame[3] == SettingsFrame.type and bool(frame[4] & 1)
