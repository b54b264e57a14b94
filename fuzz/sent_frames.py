"""Another reader of HTTP/2 frames: what one end sends, compared with what the other end permits (RFC 9113)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from struct import Struct

DATA, HEADERS, _PRIORITY, RST_STREAM, SETTINGS, _PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
_FRAME = 9
_WINDOW = 65535
_FRAME_SIZE = 16384
_END = 1
_INITIAL_WINDOW = 4
_MAX_FRAME_SIZE = 5
_SETTING = Struct(">HL")

Frame = tuple[int, int, int, bytes]


def frames(data: bytes | bytearray) -> Iterator[Frame]:
    """The complete frames: type, flags, stream and payload."""
    at = 0
    while at + _FRAME <= len(data):
        end = at + _FRAME + int.from_bytes(data[at : at + 3], "big")
        if end > len(data):
            return
        stream = int.from_bytes(data[at + 5 : at + _FRAME], "big") & 0x7FFFFFFF
        yield data[at + 3], data[at + 4], stream, bytes(data[at + _FRAME : end])
        at = end


class Permitted:
    """The most that a peer has permitted at any time: upper limits for its windows and for the size of frames."""

    def __init__(self, received: bytes) -> None:
        self.connection = _WINDOW
        self.frame_size = _FRAME_SIZE
        self._initial = _WINDOW
        self._updates: defaultdict[int, int] = defaultdict(int)
        for kind, _, stream, payload in frames(received):
            if kind == SETTINGS:
                for at in range(0, len(payload) - 5, 6):
                    code, value = _SETTING.unpack_from(payload, at)
                    if code == _INITIAL_WINDOW:
                        self._initial = max(self._initial, value)
                    elif code == _MAX_FRAME_SIZE:
                        self.frame_size = max(self.frame_size, value)
            elif kind == WINDOW_UPDATE and len(payload) == 4:
                increment = int.from_bytes(payload, "big") & 0x7FFFFFFF
                if stream:
                    self._updates[stream] += increment
                else:
                    self.connection += increment

    def stream(self, stream: int) -> int:
        """The limit of a stream."""
        return self._initial + self._updates[stream]


def check_sent(sent: bytes | bytearray, received: bytes) -> dict[int, bytes]:
    """Check the frames of one end.

    @param sent: the frames, without a preface.
    @param received: what the peer has sent before.
    @return: the content of each stream.
    """
    permitted = Permitted(received)
    content: defaultdict[int, bytes] = defaultdict(bytes)
    closed: set[int] = set()
    ended: set[int] = set()
    size = total = 0
    in_block = 0
    for kind, flags, stream, payload in frames(sent):
        size += _FRAME + len(payload)
        assert len(payload) <= permitted.frame_size
        assert not in_block or (kind, stream) == (CONTINUATION, in_block), "a frame interrupts a header block"
        assert kind == RST_STREAM or stream not in closed, "a frame follows the reset of a stream"
        if kind in (HEADERS, CONTINUATION):
            in_block = 0 if flags & 4 else stream
        if kind in (DATA, HEADERS):
            assert stream not in ended, "a frame follows the end of a stream"
            if flags & _END:
                ended.add(stream)
        if kind == DATA:
            assert stream in content, "content precedes a head"
            content[stream] += payload
            total += len(payload)
            assert len(content[stream]) <= permitted.stream(stream) and total <= permitted.connection, "over the window"
        elif kind == HEADERS:
            content[stream] += b""
        elif kind == RST_STREAM:
            closed.add(stream)
    assert size == len(sent) and not in_block, "the last frame is incomplete"
    return content
