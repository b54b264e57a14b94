"""The HTTP/2 of a case: the frames that its client sends, and its responses as the judge reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from hpack import Decoder

from tests.http2_conformance import frames as wire

Field = tuple[bytes, bytes]
Fill = Callable[[bytes], bytes]

OPENING = wire.PREFACE + wire.settings()
ACKNOWLEDGED = wire.frame(wire.SETTINGS, wire.ACK)


@attrs.frozen
class Frame:
    """A frame of the client.

    Hosts and ports are inserted in both.

    @ivar fields: the fields of a header block.
    @ivar payload: the payload of another frame, or a part of a header block that precedes the fields.
    """

    kind: int
    flags: int = 0
    stream: int = 1
    fields: tuple[Field, ...] = ()
    payload: bytes = b""

    def encode(self, fill: Fill) -> bytes:
        """Encode the frame.

        @param fill: inserts hosts and ports.
        """
        payload = fill(self.payload) + wire.block([(name, fill(value)) for name, value in self.fields])
        return wire.frame(self.kind, self.flags, self.stream, payload)


def encode(part: Sequence[Frame], fill: Fill) -> bytes:
    """Encode the frames that the client sends together."""
    return b"".join(frame.encode(fill) for frame in part)


class Reader:
    """Reads what a proxy sent to the client."""

    def __init__(self, received: bytes) -> None:
        self._statuses: dict[int, int] = {}
        self._contents: dict[int, bytes] = {}
        self._over: set[int] = set()
        self._ended = False
        decoder = Decoder()
        at = 0
        while len(received) >= at + 9:
            size = int.from_bytes(received[at : at + 3], "big")
            kind, flags = received[at + 3], received[at + 4]
            stream = int.from_bytes(received[at + 5 : at + 9], "big") & 0x7FFFFFFF
            payload = received[at + 9 : at + 9 + size]
            at += 9 + size
            if kind == wire.HEADERS:
                found = dict(decoder.decode(payload, raw=True))
                status = int(found.get(b":status", b"0"))
                if status >= 200:
                    self._statuses[stream] = status
            elif kind == wire.DATA:
                self._contents[stream] = self._contents.get(stream, b"") + payload
            elif kind == wire.GOAWAY:
                self._ended = True
            if kind == wire.RST_STREAM or (kind in (wire.HEADERS, wire.DATA) and flags & wire.END_STREAM):
                self._over.add(stream)

    def responses(self) -> bytes:
        """The responses in HTTP/1.1, which the judge reads."""
        return b"".join(
            b"HTTP/1.1 %d -\r\nContent-Length: %d\r\n\r\n%b"
            % (status, len(self._contents.get(stream, b"")), self._contents.get(stream, b""))
            for stream, status in sorted(self._statuses.items())
        )

    def over(self, streams: set[int]) -> bool:
        """Whether the client knows that it gets nothing more for some streams."""
        return self._ended or streams <= self._over
