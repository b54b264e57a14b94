"""A client for many large transfers at the same time on one HTTP/2 connection: bytes in, bytes out.

It makes and reads the frames itself, so that it is much faster than the proxy.  Each stream sends content to an origin
that sends it back, and compares every byte.  The content differs between streams, so that it cannot be mixed up.
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from hpack import Decoder, Encoder

KIB: Final = 1024
MIB: Final = 1024 * KIB

_FRAME: Final = struct.Struct(">HBBBL")
_NUMBER: Final = struct.Struct(">L")
_SETTING: Final = struct.Struct(">HL")
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_ENABLE_PUSH, _INITIAL_WINDOW_SIZE = 2, 4
_DEFAULT_WINDOW: Final = 65535
_MAX_WINDOW: Final = 2**31 - 1
_FRAME_SIZE: Final = 16 * KIB

# All content is a part of this, from an offset of its own.
_POOL: Final = random.Random(7).randbytes(MIB)  # noqa: S311 -- no secret
_TWICE: Final = memoryview(_POOL + _POOL[:_FRAME_SIZE])


class BulkError(Exception):
    """A transfer is not as expected."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Encode a frame (RFC 9113 section 4.1)."""
    size = len(payload)
    return _FRAME.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def content(stream: int, offset: int, size: int) -> memoryview:
    """A part of the content of a stream, of at most 16 KiB."""
    begin = (stream * 7919 + offset) % MIB
    return _TWICE[begin : begin + size]


class Transfer:
    """One stream.

    @param size: the size of its content.
    @param window: the window for the response, which is kept open; C{None} for a stream that is read slowly: see
        L{BulkClient.credit}.
    @ivar received: the size of the content of the response.
    @ivar done: whether the response is complete.
    """

    def __init__(self, stream: int, size: int, window: int | None) -> None:
        self.stream = stream
        self.size = size
        self.window = window
        self.received = 0
        self.status = b""
        self.done = False
        self.left = size
        self.credit = _DEFAULT_WINDOW
        self.taken = 0
        self._sent_digest = hashlib.blake2b()
        self._received_digest = hashlib.blake2b()

    def next_part(self, size: int) -> memoryview:
        """Take content to send."""
        part = content(self.stream, self.size - self.left, size)
        self._sent_digest.update(part)
        self.left -= size
        return part

    def receive(self, data: memoryview) -> None:
        """Add content of the response."""
        self.received += len(data)
        self._received_digest.update(data)

    def check(self) -> None:
        """Compare the response with the request.

        @raise BulkError: if it is not the same content.
        """
        if self.status != b"200":
            raise BulkError(f"stream {self.stream} has the status {self.status!r}")
        if (self.received, self.left) != (self.size, 0):
            raise BulkError(f"stream {self.stream} sent all but {self.left} bytes, and received {self.received}")
        if self._received_digest.digest() != self._sent_digest.digest():
            raise BulkError(f"stream {self.stream} received other content")


class BulkClient:
    """The client end of a connection.

    @param authority: the authority of all requests.
    @ivar transfers: by their stream.
    """

    def __init__(self, authority: str) -> None:
        self.transfers: dict[int, Transfer] = {}
        self._authority = authority
        self._encoder, self._decoder = Encoder(), Decoder()
        self._input = bytearray()
        # A slow stream gets no more than this before its first credit.
        settings = _SETTING.pack(_ENABLE_PUSH, 0) + _SETTING.pack(_INITIAL_WINDOW_SIZE, KIB)
        self._output: list[bytes | memoryview] = [_PREFACE, frame(_SETTINGS, 0, 0, settings)]
        self._grant(0, _MAX_WINDOW - _DEFAULT_WINDOW)
        self._connection_taken = 0
        self._credit = _DEFAULT_WINDOW
        self._initial = _DEFAULT_WINDOW
        self._waiting: deque[Transfer] = deque()
        self._kinds: dict[int, Callable[[int, int, memoryview], None]] = {
            _DATA: self._on_data,
            _HEADERS: self._on_headers,
            _RST_STREAM: self._on_reset,
            _SETTINGS: self._on_settings,
            _PING: self._on_ping,
            _GOAWAY: self._on_goaway,
            _WINDOW_UPDATE: self._on_window,
        }

    def start(self, path: str, size: int, window: int | None) -> Transfer:
        """Start a transfer; see L{Transfer}."""
        stream = 2 * len(self.transfers) + 1
        fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", self._authority),
            (":path", path),
            ("content-length", str(size)),
        ]
        self._output.append(frame(_HEADERS, _END_HEADERS, stream, self._encoder.encode(fields)))
        transfer = self.transfers[stream] = Transfer(stream, size, window)
        transfer.credit = self._initial
        if window is not None:
            self._grant(stream, window - KIB)
        self._waiting.append(transfer)
        return transfer

    def credit(self, transfer: Transfer, size: int) -> None:
        """Let the origin send more on a stream that is read slowly."""
        if not transfer.done:
            self._grant(transfer.stream, size)

    def _grant(self, stream: int, size: int) -> None:
        self._output.append(frame(_WINDOW_UPDATE, 0, stream, _NUMBER.pack(size)))

    # -- output

    def take_output(self, limit: int = 256 * KIB) -> bytes:
        """Return frames to send: about C{limit} bytes of content, of all streams in turns."""
        output, self._output = self._output, []
        waiting, blocked = self._waiting, 0
        while waiting and blocked < len(waiting) and self._credit > 0 and limit > 0:
            transfer = waiting.popleft()
            size = min(transfer.left, transfer.credit, self._credit, _FRAME_SIZE)
            if size <= 0:
                waiting.append(transfer)
                blocked += 1
                continue
            blocked = 0
            part = transfer.next_part(size)
            transfer.credit -= size
            self._credit -= size
            limit -= size
            flags = 0 if transfer.left else _END_STREAM
            output.append(_FRAME.pack(size >> 8, size & 0xFF, _DATA, flags, transfer.stream))
            output.append(part)
            if transfer.left:
                waiting.append(transfer)
        return b"".join(output)

    # -- input

    def receive(self, data: bytes) -> None:
        """Process bytes.

        @raise BulkError: if a transfer fails.
        """
        self._input += data
        begin = 0
        with memoryview(self._input) as view:
            for kind, flags, stream, payload, end in self._frames(view):
                with payload:
                    process = self._kinds.get(kind)
                    if process is None:
                        raise BulkError(f"a frame of the type {kind} is not expected")
                    process(flags, stream, payload)
                begin = end
        del self._input[:begin]

    def _frames(self, view: memoryview) -> Iterator[tuple[int, int, int, memoryview, int]]:
        begin, size = 0, len(view)
        while size - begin >= _FRAME.size:
            high, low, kind, flags, stream = _FRAME.unpack_from(view, begin)
            end = begin + _FRAME.size + (high << 8 | low)
            if end > size:
                return
            yield kind, flags, stream, view[begin + _FRAME.size : end], end
            begin = end

    def _on_data(self, flags: int, stream: int, payload: memoryview) -> None:
        transfer, size = self.transfers[stream], len(payload)
        transfer.receive(payload)
        # Padding is not expected.
        self._connection_taken += size
        if self._connection_taken >= 64 * MIB:
            self._grant(0, self._connection_taken)
            self._connection_taken = 0
        if flags & _END_STREAM:
            self._end(transfer)
        elif transfer.window is not None:
            transfer.taken += size
            if 2 * transfer.taken >= transfer.window:
                self._grant(stream, transfer.taken)
                transfer.taken = 0

    def _end(self, transfer: Transfer) -> None:
        transfer.done = True
        transfer.check()

    def _on_headers(self, flags: int, stream: int, payload: memoryview) -> None:
        if not flags & _END_HEADERS:
            raise BulkError("a header block with several frames is not expected")
        fields = dict(self._decoder.decode(payload.tobytes(), raw=True))
        transfer = self.transfers[stream]
        transfer.status = fields.get(b":status", transfer.status)
        if flags & _END_STREAM:
            self._end(transfer)

    def _on_reset(self, flags: int, stream: int, payload: memoryview) -> None:
        raise BulkError(f"stream {stream} was reset: {payload.hex()}")

    def _on_goaway(self, flags: int, stream: int, payload: memoryview) -> None:
        raise BulkError(f"the connection ends: {payload.tobytes()!r}")

    def _on_ping(self, flags: int, stream: int, payload: memoryview) -> None:
        if not flags & _ACK:
            self._output.append(frame(_PING, _ACK, 0, payload.tobytes()))

    def _on_settings(self, flags: int, stream: int, payload: memoryview) -> None:
        if flags & _ACK:
            return
        for identifier, value in _SETTING.iter_unpack(payload):
            if identifier == _INITIAL_WINDOW_SIZE:
                for transfer in self.transfers.values():
                    transfer.credit += value - self._initial
                self._initial = value
        self._output.append(frame(_SETTINGS, _ACK, 0, b""))

    def _on_window(self, flags: int, stream: int, payload: memoryview) -> None:
        (increment,) = _NUMBER.unpack(payload)
        if stream:
            self.transfers[stream].credit += increment
        else:
            self._credit += increment
