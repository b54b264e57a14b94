"""WebSockets: frames (RFC 6455) and messages, compressed with permessage-deflate (RFC 7692).

The original frames are forwarded, so both sides keep their compression contexts.  Control frames pass without a
decision.
"""

from __future__ import annotations

import codecs
import zlib
from typing import Final

from egress.http.websocket_extensions import Deflate
from egress.messages.splitter import Ending, Piece, Splitter
from egress.model.errors import AuthorizerUnavailable, EgressError, MessageInvalid, MessageTooLarge
from egress.model.message import Direction, MessageKind, MessageObligation

TEXT: Final = "text"
BINARY: Final = "binary"

# RFC 6455 section 5.2.
_CONTINUATION: Final = 0x0
_TYPES: Final = {0x1: TEXT, 0x2: BINARY}
_CLOSE: Final = 0x8
_CONTROL: Final = frozenset({_CLOSE, 0x9, 0xA})
_MAX_CONTROL: Final = 125

# RFC 6455 section 7.4.1, and the registry of close codes.
PROTOCOL_ERROR: Final = 1002
INVALID_TEXT: Final = 1007
POLICY_VIOLATION: Final = 1008
TOO_LARGE: Final = 1009
INTERNAL_ERROR: Final = 1011
TRY_AGAIN_LATER: Final = 1013
_MAX_REASON: Final = 123
# Codes that no Close frame contains.  Codes that future extensions may define are left to the receiver.
_INVALID_CODES: Final = frozenset({*range(1000), 1004, 1005, 1006, 1015})
_CODES_END: Final = 5000

# The frame headers of one message have at most this many bytes more than its content: limits empty fragments.
_MAX_HEADERS: Final = 64 * 1024
# A message that is longer than the first number decompresses to at most the second number of bytes for each byte.
FREE_SIZE: Final = 64 * 1024
MAX_RATIO: Final = 200
# RFC 7692 section 7.2.2: the end of a compressed message, which the sender removes.
_TAIL: Final = b"\x00\x00\xff\xff"
_AFTER_LAST_BLOCK: Final = frozenset({b"", _TAIL, b"\x00" + _TAIL})

# The size from which a translation of every fourth byte is faster than large integers.
_LARGE: Final = 2048
_ALL_BYTES: Final = bytes(range(256))


def unmasked(payload: bytes, key: bytes) -> bytes:
    """Apply a masking key to a payload (RFC 6455 section 5.3)."""
    size = len(payload)
    if size < _LARGE:
        return _xor(payload, (key * (size // 4 + 1))[:size])
    found = bytearray(payload)
    for lane in range(4):
        found[lane::4] = payload[lane::4].translate(_xor(_ALL_BYTES, key[lane : lane + 1] * 256))
    return bytes(found)


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "little") ^ int.from_bytes(other, "little")).to_bytes(len(one), "little")


def close_frame(code: int, reason: str, *, masked: bool) -> bytes:
    """Encode a Close frame, with as much of the reason as fits."""
    text = reason.encode("utf-8", "replace")[:_MAX_REASON].decode("utf-8", "ignore").encode("utf-8")
    payload = code.to_bytes(2, "big") + text
    # The key protects intermediaries from the content of scripts, which a reason is not: zeros are sufficient.
    return (
        bytes((0x80 | _CLOSE, 0x80 | len(payload))) + bytes(4) + payload
        if masked
        else (bytes((0x80 | _CLOSE, len(payload))) + payload)
    )


class _Inflater:
    """Decompresses the messages of one direction.

    @param takeover: whether a message can refer to the content of earlier messages.
    """

    def __init__(self, *, takeover: bool) -> None:
        self._takeover = takeover
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    def inflate(self, payload: bytes, max_size: int) -> bytes:
        """Decompress one message."""
        limit = min(max_size, max(FREE_SIZE, MAX_RATIO * len(payload)))
        stream = self._stream
        try:
            content = stream.decompress(payload + _TAIL, limit + 1)
        except zlib.error as error:
            raise MessageInvalid("a WebSocket message is not valid compressed data", not_text=True) from error
        if len(content) > limit:
            raise MessageTooLarge(f"a WebSocket message decompresses to more than {limit} bytes")
        if stream.unconsumed_tail or (stream.eof and stream.unused_data not in _AFTER_LAST_BLOCK):
            raise MessageInvalid("a WebSocket message has data after its compressed content", not_text=True)
        if stream.eof or not self._takeover:
            # Where a receiver would continue with the context, a reference to it is an error here.
            self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        return content


class _TextCheck:
    """Checks text while it arrives: invalid text is rejected before the end of the message.

    RFC 6455 section 8.1 requires the check, and not its time; receivers of long messages do the same.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def add(self, part: bytes, *, final: bool) -> None:
        """Check a part of the text.

        @param final: whether it is the last one.
        """
        try:
            self._decoder.decode(part, final)
        except UnicodeDecodeError as error:
            raise MessageInvalid("a WebSocket text message is not valid UTF-8", not_text=True) from error


class MessageSplitter:
    """Divides the frames of one direction into messages and control frames; see L{Splitter}.

    @param masked: whether frames must be masked, as the frames of clients are.
    @param max_size: the maximum size of a message in bytes, compressed and decompressed.
    @param takeover: whether compressed messages can refer to earlier ones; C{None}: there is no compression.
    """

    def __init__(self, *, masked: bool, max_size: int, takeover: bool | None = None) -> None:
        self._masked = masked
        self._max_size = max_size
        self._inflater = None if takeover is None else _Inflater(takeover=takeover)
        self._buffer = bytearray()
        # The current message: its fragments, their payloads, and its type.  Not lists: fragments can be very short.
        self._frames = bytearray()
        self._payloads = bytearray()
        self._type: str | None = None
        self._compressed = False
        self._text = _TextCheck()
        # The number of payload bytes of the first frame in the buffer that were checked as text.
        self._checked = 0
        self._closed = False

    @property
    def held(self) -> int:
        """See L{Splitter.held}."""
        return len(self._buffer) + len(self._frames) + len(self._payloads)

    def receive(self, data: bytes) -> None:
        """See L{Splitter.receive}.  After a Close frame, there is nothing more to receive."""
        if not self._closed:
            self._buffer += data

    def receive_end(self) -> None:
        """See L{Splitter.receive_end}.  An incomplete frame is discarded."""
        self._buffer.clear()

    def next_piece(self) -> Piece | None:
        """See L{Splitter.next_piece}."""
        while True:
            frame = self._next_frame()
            if frame is None:
                return None
            opcode, final, data, payload = frame
            if opcode in _CONTROL:
                if opcode == _CLOSE:
                    _check_close(payload)
                    self._closed = True
                    self._buffer.clear()
                return Piece(data, overtakes=not self._closed)
            if final and not self._frames:
                return self._message(data, payload)
            self._frames += data
            self._payloads += payload
            if len(self._frames) > _MAX_HEADERS + 2 * len(self._payloads):
                raise MessageTooLarge("a WebSocket message has too many short fragments")
            if final:
                data, payload = bytes(self._frames), bytes(self._payloads)
                self._frames.clear()
                self._payloads.clear()
                return self._message(data, payload)

    def _message(self, data: bytes, content: bytes) -> Piece:
        kind, self._type = self._type, None
        if self._compressed:
            assert self._inflater is not None
            content = self._inflater.inflate(content, self._max_size)
            if kind is TEXT:
                self._text.add(content, final=True)
        return Piece(data, kind, content)

    def _next_frame(self) -> tuple[int, bool, bytes, bytes] | None:
        """Take a complete frame: its opcode, whether it is final, its bytes and its payload."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        opcode, final, size = first & 0x0F, bool(first & 0x80), second & 0x7F
        start = 2
        if size > _MAX_CONTROL:
            start = 4 if size == _MAX_CONTROL + 1 else 10
            if len(buffer) < start:
                return None
            short = _MAX_CONTROL if start == 4 else 0xFFFF
            size = int.from_bytes(buffer[2:start], "big")
            if size <= short or size >> 63:
                raise MessageInvalid("a WebSocket frame has a malformed length")
        self._check(first, opcode, final, size)
        if bool(second & 0x80) is not self._masked:
            raise MessageInvalid(f"a WebSocket frame is {'not masked' if self._masked else 'masked'}")
        start += 4 if self._masked else 0
        end = start + size
        if opcode == _CONTINUATION:
            is_text = self._type is TEXT and not self._compressed
        else:
            is_text = _TYPES.get(opcode) is TEXT and not first & 0x40
        if len(buffer) < end:
            if is_text and len(buffer) > start + self._checked:
                self._text.add(self._payload(buffer, start, self._checked), final=False)
                self._checked = len(buffer) - start
            return None
        data = bytes(memoryview(buffer)[:end])
        del buffer[:end]
        payload = self._payload(data, start)
        if opcode in _TYPES:
            self._type, self._compressed = _TYPES[opcode], bool(first & 0x40)
        if is_text:
            self._text.add(payload[self._checked :], final=final)
            self._checked = 0
        return opcode, final, data, payload

    def _payload(self, data: bytes | bytearray, start: int, skipped: int = 0) -> bytes:
        """Return the payload of a frame, or the rest of it.

        @param start: the end of the header.
        @param skipped: the number of bytes to skip.
        """
        payload = bytes(data[start + skipped :])
        if not self._masked:
            return payload
        key, turn = bytes(data[start - 4 : start]), skipped % 4
        return unmasked(payload, key[turn:] + key[:turn])

    def _check(self, first: int, opcode: int, final: bool, size: int) -> None:
        """Check the first bytes of a frame, before its content is received."""
        if opcode in _CONTROL:
            if first & 0x70 or not final or size > _MAX_CONTROL:
                raise MessageInvalid("a WebSocket control frame is fragmented, too long, or has reserved bits")
            return
        if opcode != _CONTINUATION and opcode not in _TYPES:
            raise MessageInvalid("a WebSocket frame has an unknown opcode")
        if (opcode == _CONTINUATION) is (self._type is None):
            raise MessageInvalid("a WebSocket message has its fragments out of order")
        if first & 0x30 or (first & 0x40 and (self._inflater is None or opcode == _CONTINUATION)):
            raise MessageInvalid("a WebSocket frame has reserved bits that no extension uses")
        if len(self._payloads) + size > self._max_size:
            raise MessageTooLarge(f"a WebSocket message is longer than {self._max_size} bytes")


def _check_close(payload: bytes) -> None:
    """Check the payload of a Close frame (RFC 6455 sections 5.5.1 and 7.4)."""
    if not payload:
        return
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or code in _INVALID_CODES or code >= _CODES_END:
        raise MessageInvalid("a WebSocket Close frame has an invalid code")
    try:
        payload[2:].decode("utf-8")
    except UnicodeDecodeError as error:
        raise MessageInvalid("the reason in a WebSocket Close frame is not valid UTF-8", not_text=True) from error


class FrameTracker:
    """Passes the bytes of a direction whose messages are not authorized, and knows where frames begin and end."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._rest = 0
        self._passed = b""

    held = 0

    @property
    def between_frames(self) -> bool:
        """Whether another frame can be inserted here."""
        return not (self._rest or self._header)

    def receive(self, data: bytes) -> None:
        """See L{Splitter.receive}."""
        self._passed += data
        at = 0
        while at < len(data):
            if self._rest:
                taken = min(self._rest, len(data) - at)
                self._rest -= taken
                at += taken
                continue
            header = self._header
            needed = 2
            if len(header) >= 2:
                needed += {126: 2, 127: 8}.get(header[1] & 0x7F, 0) + (4 if header[1] & 0x80 else 0)
            taken = min(needed - len(header), len(data) - at)
            header += data[at : at + taken]
            at += taken
            if len(header) >= 2:
                self._complete(header)

    def _complete(self, header: bytearray) -> None:
        """Begin a payload if its header is complete."""
        size = header[1] & 0x7F
        extended = {126: 2, 127: 8}.get(size, 0)
        if len(header) < 2 + extended + (4 if header[1] & 0x80 else 0):
            return
        self._rest = int.from_bytes(header[2 : 2 + extended], "big") if extended else size
        header.clear()

    def receive_end(self) -> None:
        """See L{Splitter.receive_end}."""

    def next_piece(self) -> Piece | None:
        """See L{Splitter.next_piece}."""
        data, self._passed = self._passed, b""
        return Piece(data) if data else None


def _close_code(error: EgressError) -> int:
    if isinstance(error, MessageInvalid):
        return INVALID_TEXT if error.not_text else PROTOCOL_ERROR
    if isinstance(error, MessageTooLarge):
        return TOO_LARGE
    return TRY_AGAIN_LATER if isinstance(error, AuthorizerUnavailable) else POLICY_VIOLATION


class WebSocketInspection:
    """See L{egress.messages.splitter.Inspection}.

    @param terms: the messages to authorize.
    @param deflate: the negotiated compression, if there is one.
    """

    kind = MessageKind.WEBSOCKET

    def __init__(self, terms: MessageObligation, deflate: Deflate | None) -> None:
        def splitter(direction: Direction, takeover: bool) -> MessageSplitter | FrameTracker:
            if direction not in terms.directions:
                return FrameTracker()
            return MessageSplitter(
                masked=direction is Direction.CLIENT,
                max_size=terms.max_size,
                takeover=None if deflate is None else takeover,
            )

        self._client = splitter(Direction.CLIENT, deflate is None or deflate.client_takeover)
        self._origin = splitter(Direction.ORIGIN, deflate is None or deflate.server_takeover)

    @property
    def client(self) -> Splitter:
        """See L{egress.messages.splitter.Inspection.client}."""
        return self._client

    @property
    def origin(self) -> Splitter:
        """See L{egress.messages.splitter.Inspection.origin}."""
        return self._origin

    def ending(self, error: EgressError) -> Ending:
        """Close both directions; where a frame is incomplete, the connection ends without a Close frame."""
        code = _close_code(error)
        return Ending(
            client=_closing(self._origin, code, error.reason, masked=False),
            origin=_closing(self._client, code, error.reason, masked=True),
        )


def _closing(sent: MessageSplitter | FrameTracker, code: int, reason: str, *, masked: bool) -> bytes:
    if isinstance(sent, FrameTracker) and not sent.between_frames:
        return b""
    return close_frame(code, reason, masked=masked)
