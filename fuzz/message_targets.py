"""The properties of the parsers of messages, for all inputs: WebSockets, event streams and gRPC."""

from __future__ import annotations

import base64
import codecs
import zlib
from typing import Any, Final

from egress.grpc.call import Kind, call_of, may_be_call
from egress.grpc.framing import MAX_TRAILERS, Frame, FrameReader, MalformedFrame, TextDecoder
from egress.grpc.status import decode_message, encode_message
from egress.grpc.timeout import parse_timeout
from egress.messages.event_stream import EventSplitter
from egress.messages.grpc import GrpcSplitter
from egress.messages.splitter import Piece, Splitter
from egress.messages.websocket import FrameTracker, MessageSplitter, close_frame
from egress.model.errors import MessageInvalid, MessageTooLarge
from fuzz.reading import pieces

_SHORT: Final = 300


def _pieces_of(splitter: Splitter, parts: list[bytes], limit: int) -> tuple[list[Piece], str | None]:
    """The pieces of data that arrives in parts, and the error that ends it.

    @param limit: the number of bytes that may be in memory in addition to one part.
    """
    found: list[Piece] = []
    try:
        for part in [*parts, None]:
            if part is None:
                splitter.receive_end()
            else:
                splitter.receive(part)
            while (piece := splitter.next_piece()) is not None:
                found.append(piece)
            assert splitter.held <= limit
    except (MessageInvalid, MessageTooLarge) as error:
        return found, type(error).__name__
    return found, None


# -- WebSockets

_KINDS: Final = {1: "text", 2: "binary"}
_FIRST: Final = {"text": 1, "binary": 2}
_AFTER_LAST_BLOCK: Final = (b"", b"\0\0\xff\xff", b"\0\0\0\xff\xff")


class _Malformed(Exception):
    pass


def _check_text(first: int, content: bytes, *, final: bool) -> None:
    """Check a text message, or the beginning of one: text that is not compressed is checked while it arrives."""
    if first & 0x4F == 1:
        try:
            codecs.utf_8_decode(content, "strict", final)
        except UnicodeDecodeError:
            raise _Malformed from None


def _frame(data: bytes, masked: bool) -> tuple[int, bytes, bytes] | None:
    """The first byte of a frame, its bytes and its payload; C{None} if it is incomplete (RFC 6455 section 5.2)."""
    if len(data) < 2:
        return None
    short = data[1] & 0x7F
    width = {126: 2, 127: 8}.get(short, 0)
    if len(data) < 2 + width:
        return None
    size = int.from_bytes(data[2 : 2 + width], "big") if width else short
    if (width == 2 and size < 126) or (width == 8 and not 1 << 16 <= size < 1 << 63):
        raise _Malformed
    if bool(data[1] & 0x80) is not masked:
        raise _Malformed
    if data[0] & 8 and (size > 125 or not data[0] & 0x80 or data[0] & 0x70):
        raise _Malformed
    if data[0] & 0x30 or data[0] & 0x0F not in (0, 1, 2, 8, 9, 10):
        raise _Malformed
    start = 2 + width + 4 * masked
    # A message is limited, so an announced one that is longer is rejected before it arrives.
    if size > _SHORT:
        raise _Malformed
    if len(data) < start + size:
        return None
    payload = data[start : start + size]
    if masked:
        key = data[start - 4 : start]
        payload = bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))
    return data[0], data[: start + size], payload


class _Messages:
    """Another reader of WebSocket messages, which has all data at once."""

    def __init__(self, data: bytes, *, masked: bool, takeover: bool | None) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.controls: list[bytes] = []
        self.size = 0
        self.malformed = False
        self._takeover = takeover
        self._inflate = zlib.decompressobj(-15)
        self._first = 0
        self._content = b""
        try:
            while (frame := _frame(data[self.size :], masked)) is not None:
                self.size += len(frame[1])
                if not self._read(*frame):
                    return
            # The beginning of a frame can show that it is out of order, or too long.
            rest = data[self.size :]
            complete = rest[1:2] and len(rest) >= 2 + {126: 2, 127: 8}.get(rest[1] & 0x7F, 0)
            if complete and not rest[0] & 8:
                self._check(rest[0])
                announced = rest[1] & 0x7F
                size = int.from_bytes(rest[2 : 4 if announced == 126 else 10], "big") if announced > 125 else announced
                if len(self._content) + size > _SHORT:
                    raise _Malformed
                start = 2 + {126: 2, 127: 8}.get(announced, 0) + 4 * masked
                key = rest[start - 4 : start] if masked else b"\0"
                payload = bytes(byte ^ key[at % len(key)] for at, byte in enumerate(rest[start:]))
                _check_text(self._first or rest[0], self._content + payload, final=False)
        except _Malformed:
            self.malformed = True

    def _check(self, first: int) -> None:
        if (first & 0x0F == 0) is (self._first == 0):
            raise _Malformed
        if first & 0x40 and (self._takeover is None or not first & 0x0F):
            raise _Malformed

    def _read(self, first: int, frame: bytes, payload: bytes) -> bool:
        """Read a frame; return whether others can follow."""
        if first & 8:
            closes = first & 0x0F == 8
            if closes and payload:
                code = int.from_bytes(payload[:2], "big")
                if len(payload) == 1 or code < 1000 or code in (1004, 1005, 1006, 1015) or code > 4999:
                    raise _Malformed
                _check_text(1, payload[2:], final=True)
            self.controls.append(frame)
            return not closes
        self._check(first)
        self._first = self._first or first
        self._content += payload
        if len(self._content) > _SHORT:
            raise _Malformed
        if first & 0x80:
            content, kind = self._content, _KINDS[self._first & 0x0F]
            if self._first & 0x40:
                content = self._inflated(content)
            self._first, self._content = 0, b""
            _check_text(_FIRST[kind], content, final=True)
            self.messages.append((kind, content))
        else:
            _check_text(self._first, self._content, final=False)
        return True

    def _inflated(self, payload: bytes) -> bytes:
        stream = self._inflate
        try:
            content = stream.decompress(payload + b"\0\0\xff\xff")
        except zlib.error:
            raise _Malformed from None
        if len(content) > _SHORT or (stream.eof and stream.unused_data not in _AFTER_LAST_BLOCK):
            raise _Malformed
        if stream.eof or not self._takeover:
            self._inflate = zlib.decompressobj(-15)
        return content


def websocket(data: bytes) -> None:
    """The frames of a WebSocket: the messages that another reader finds, however the data is cut.

    All bytes are forwarded, in order except for control frames, and nothing follows a Close or an error.
    """
    seed, data = data[:1] or b"\0", data[1:]
    masked, takeover = bool(seed[0] & 1), (None, True, False)[(seed[0] >> 1) % 3]

    def read(parts: list[bytes]) -> tuple[list[Piece], str | None]:
        splitter = MessageSplitter(masked=masked, max_size=_SHORT, takeover=takeover)
        # An incomplete frame, and a message that is stored as frames and as payloads, with a header for each byte.
        found = _pieces_of(splitter, parts, len(data) * 3)
        if found[1] is None and found[0] and found[0][-1].data[0] & 0x0F == 8:
            held = splitter.held
            splitter.receive(b"\x81\x00")
            assert splitter.next_piece() is None and splitter.held == held, "data follows a Close"
        return found

    whole, error = read([data])
    assert read(list(pieces(data, seed[0]))) == (whole, error)
    other = _Messages(data, masked=masked, takeover=takeover)
    assert [(piece.type, piece.content) for piece in whole if piece.type is not None] == other.messages
    assert [piece.data for piece in whole if piece.type is None] == other.controls
    assert (error is not None) is other.malformed, error
    forwarded = [piece.data for piece in whole]
    ordered = sorted(forwarded, key=lambda one: data.find(one)) if other.controls else forwarded
    assert other.controls or data.startswith(b"".join(ordered))
    assert sum(map(len, forwarded)) <= other.size
    for piece in whole:
        # Each piece is complete: alone, it is the same piece, unless it refers to an earlier message.
        alone, _ = _pieces_of(MessageSplitter(masked=masked, max_size=_SHORT, takeover=takeover), [piece.data], 0)
        assert takeover or alone == [piece]
    tracker = FrameTracker()
    assert b"".join(piece.data for piece in _pieces_of(tracker, list(pieces(data, seed[0])), 0)[0]) == data
    if not other.malformed and not other.controls:
        assert tracker.between_frames is (other.size == len(data))
    _close(data, masked=masked)


def _close(data: bytes, *, masked: bool) -> None:
    """The frame that ends a direction is a Close, whatever the reason is."""
    reason = data[:_SHORT].decode("utf-8", "replace")
    frame = close_frame(1008, reason, masked=masked)
    splitter = MessageSplitter(masked=masked, max_size=0)
    splitter.receive(frame)
    assert splitter.next_piece() == Piece(frame)
    payload = frame[6 if masked else 2 :]
    assert len(payload) <= 125 and payload[:2] == b"\x03\xf0" and reason.startswith(payload[2:].decode())


# -- event streams


def _events_of(data: bytes) -> list[tuple[str, bytes]]:
    """Another reader of event streams, which has all data at once (HTML section 9.2.6)."""
    found: list[tuple[str, bytes]] = []
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for block in text.split(b"\n\n"):
        fields = [line.partition(b":") for line in block.split(b"\n") if line and not line.startswith(b":")]
        if fields:
            lines = [(name, value.removeprefix(b" ")) for name, _, value in fields]
            kinds = [value for name, value in lines if name == b"event"]
            kind = kinds[-1].decode("utf-8", "backslashreplace") if kinds else ""
            found.append((kind or "message", b"\n".join(value for name, value in lines if name == b"data")))
    return found


def events(data: bytes) -> None:
    """An event stream: the events that another reader finds, however the data is cut, and all bytes in order.

    An event over the limit ends the stream, also however it is cut, and at most one such event is in memory.
    """
    seed, data = data[:1] or b"\0", data[1:]
    limit = len(data) + 1 if seed[0] & 1 else 24
    whole, error = _pieces_of(EventSplitter(limit), [data], 2 * limit)
    split, split_error = _pieces_of(EventSplitter(limit), list(pieces(data, seed[0])), 2 * limit)
    assert split_error == error
    messages = [(piece.type, piece.content) for piece in whole if piece.type is not None]
    assert [(piece.type, piece.content) for piece in split if piece.type is not None] == messages
    others = _events_of(data)
    assert messages == others[: len(messages)]
    assert (error is None and messages == others) or (error == "MessageTooLarge" and limit <= len(data))
    for found in (whole, split):
        forwarded = b"".join(piece.data for piece in found)
        assert forwarded == data if error is None else data.startswith(forwarded)


# -- gRPC

# The escapes of a message do not depend on its length.
_TEXT: Final = 64
_CALLS: Final = (Kind.GRPC, Kind.WEB, Kind.WEB_TEXT)
_ENCODINGS: Final = (None, b"identity", b"gzip", b"deflate")


def _longest(kind: Kind) -> int:
    """The size of an incomplete frame. Trailers have a limit of their own."""
    return 5 + (_SHORT if kind is Kind.GRPC else MAX_TRAILERS)


def _read_frames(parts: list[bytes], kind: Kind) -> tuple[list[Frame], type[BaseException] | None]:
    reader = FrameReader(_SHORT, web=kind is not Kind.GRPC)
    text = TextDecoder() if kind is Kind.WEB_TEXT else None
    found: list[Frame] = []
    try:
        for part in parts:
            reader.feed(part if text is None else text.decode(part))
            while (frame := reader.next_frame()) is not None:
                found.append(frame)
            assert reader.buffered <= _longest(kind)
        reader.finish()
        if text is not None:
            text.finish()
    except MalformedFrame:
        return found, MalformedFrame
    return found, None


def _inflated(frame: Frame, encoding: bytes | None) -> bytes | None:
    """The content of a message; C{None} if it is not readable."""
    if not frame.compressed:
        return frame.data
    if encoding in (None, b"identity"):
        return None
    stream = zlib.decompressobj(31 if encoding == b"gzip" else 15)
    try:
        content = stream.decompress(frame.data, _SHORT + 1)
    except zlib.error:
        return None
    return content if stream.eof and not stream.unused_data and len(content) <= _SHORT else None


def _authorized(data: bytes, parts: list[bytes], seed: int, frames: list[Frame], kind: Kind, malformed: bool) -> None:
    """The messages for decisions are the messages that are forwarded."""
    encoding = _ENCODINGS[seed // 3 % 4]
    headers = () if encoding is None else ((b"grpc-encoding", encoding),)

    def read(reads: list[bytes]) -> tuple[list[Piece], str | None]:
        return _pieces_of(GrpcSplitter(_SHORT, kind, headers), reads, _longest(kind))

    whole, error = read([data])
    split = read(parts)
    assert split == (whole, error) or (kind is Kind.WEB_TEXT and error is not None and split[1] is not None)
    assert error is not None or not malformed
    for frame, piece in zip(frames, whole, strict=error is None):
        sent = piece.data if kind is not Kind.WEB_TEXT else base64.b64decode(piece.data)
        assert sent == frame.encode()
        assert (piece.type is None) is frame.is_trailers
        if not frame.is_trailers:
            assert piece.content == _inflated(frame, encoding)


def grpc(data: bytes) -> None:
    """The frames of gRPC and gRPC-Web, their messages, calls, messages of statuses, and deadlines."""
    seed, data = data[:1] or b"\0", data[1:]
    kind = _CALLS[seed[0] % 3]
    whole = _read_frames([data], kind)
    parts = list(pieces(data, seed[0]))
    split = _read_frames(parts, kind)
    if whole[1] is None or kind is not Kind.WEB_TEXT:
        assert split == whole
    if whole[1] is None and kind is not Kind.WEB_TEXT:
        assert b"".join(frame.encode() for frame in whole[0]) == data
    _authorized(data, parts, seed[0], whole[0], kind, whole[1] is not None)
    _facts(data)


def _facts(data: bytes) -> None:
    decode_message(data[:_TEXT])
    message = data[:_TEXT].decode("latin-1")
    assert decode_message(encode_message(message)) == message
    timeout = parse_timeout(data)
    assert timeout is None or timeout >= 0
    content_type, _, path = data.partition(b"\n")
    headers: tuple[Any, ...] = ((b"Content-Type", content_type),)
    call = call_of("POST", path.decode("utf-8", "replace"), headers)
    if call is not None:
        assert may_be_call(headers)
        assert path.decode() == f"/{call.service}/{call.method}"
