"""Event streams (C{text/event-stream}): events by the parsing rules of the HTML standard, section 9.2."""

from __future__ import annotations

import re
from typing import Final

from egress.http.events import ResponseHead
from egress.messages.splitter import Ending, Piece, Splitter
from egress.model.decision import Headers
from egress.model.errors import EgressError, MessageTooLarge
from egress.model.message import Direction, MessageKind, MessageObligation

_MEDIA_TYPE: Final = b"text/event-stream"
_DEFAULT_TYPE: Final = "message"
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_BOM: Final = b"\xef\xbb\xbf"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CR: Final = 0x0D
_LF: Final = 0x0A


def is_event_stream(head: ResponseHead) -> bool:
    """Whether a response is an event stream."""
    types = [value for name, value in head.headers if name.lower() == b"content-type"]
    return any(value.partition(b";")[0].strip(b" \t").lower() == _MEDIA_TYPE for value in types)


def coding_of(headers: Headers) -> bytes | None:
    """Return the content coding of a response, unless it is C{identity}."""
    values = [value for name, value in headers if name.lower() == b"content-encoding"]
    codings = [coding for value in values for coding in (each.strip(b" \t") for each in value.split(b",")) if coding]
    return next((coding for coding in codings if coding.lower() != b"identity"), None)


class EventSplitter:
    """Divides an event stream into events; see L{Splitter}.

    A block of comments and empty lines passes without a decision.  Every other block is an event, also where a client
    that conforms to the standard ignores it: without C{data}, and at an incomplete end.

    @param max_size: the maximum size of an event in bytes, with its comments, and of other blocks.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._buffer = bytearray()
        # Positions in the buffer: the end of the blocks that pass, the current line, and the search for its end.
        self._passed = self._line = self._search = 0
        self._at_start = True
        self._after_cr = False
        self._ended = False
        self._type = b""
        self._data: list[bytes] = []
        self._has_fields = False

    @property
    def held(self) -> int:
        """See L{Splitter.held}."""
        return 2 * len(self._buffer)

    def receive(self, data: bytes) -> None:
        """See L{Splitter.receive}."""
        self._buffer += data

    def receive_end(self) -> None:
        """See L{Splitter.receive_end}.  An incomplete event is an event, because some clients process it."""
        self._ended = True

    def next_piece(self) -> Piece | None:
        """See L{Splitter.next_piece}."""
        buffer = self._buffer
        self._skip_line_feed()
        while (end := _LINE_END.search(buffer, self._search)) is not None:
            line = bytes(buffer[self._line : end.start()])
            self._line = self._search = end.end()
            # The next read may begin with the second half of this line end.
            self._after_cr = self._line == len(buffer) and buffer[-1] == _CR
            if line:
                self._read(line)
            elif self._has_fields:
                # A line feed after the carriage return does not count: it can follow in the next read.
                return self._event(end.start() + 1)
            else:
                self._check_size(end.start() + 1)
                # Only at the start of the stream, a byte order mark is not part of a line.
                self._at_start = False
                self._passed = self._line
        self._search = len(buffer)
        if self._ended:
            return self._last()
        self._check_size(len(buffer))
        return self._take(self._passed) if self._passed else None

    def _skip_line_feed(self) -> None:
        if self._after_cr and len(self._buffer) > self._line:
            self._after_cr = False
            if self._buffer[self._line] == _LF:
                # It belongs to the block that the carriage return has ended, if it has.
                self._passed += self._passed == self._line
                self._line += 1
                self._search = self._line

    def _read(self, line: bytes) -> None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        name, _, value = line.partition(b":")
        if not name:
            return
        self._has_fields = True
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._type = value

    def _check_size(self, end: int) -> None:
        if end - self._passed > self._max_size:
            raise MessageTooLarge(f"an event of the event stream is longer than {self._max_size} bytes")

    def _event(self, end: int) -> Piece:
        self._check_size(end)
        kind = self._type.decode("utf-8", "backslashreplace") or _DEFAULT_TYPE
        content = b"\n".join(self._data)
        self._type, self._data, self._has_fields = b"", [], False
        return self._take(self._line, kind, content)

    def _last(self) -> Piece | None:
        rest = bytes(self._buffer[self._line :])
        self._line = self._search = len(self._buffer)
        if rest:
            self._read(rest)
        if self._has_fields:
            return self._event(self._line)
        return self._take(self._line) if self._buffer else None

    def _take(self, size: int, kind: str | None = None, content: bytes = b"") -> Piece:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._line -= size
        self._search -= size
        self._passed = 0
        return Piece(data, kind, content)


class EventStreamInspection:
    """See L{egress.messages.splitter.Inspection}.

    @param terms: the messages to authorize.
    """

    kind = MessageKind.SSE
    client: Splitter | None = None

    def __init__(self, terms: MessageObligation) -> None:
        self.origin: Splitter | None = EventSplitter(terms.max_size) if Direction.ORIGIN in terms.directions else None

    def ending(self, error: EgressError) -> Ending:
        """End the stream with a comment that contains the reason."""
        reason = _CONTROL.sub(" ", error.reason)
        return Ending(client=f": {reason}\n\n".encode("utf-8", "replace"))
