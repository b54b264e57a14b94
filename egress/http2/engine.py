"""One end of an HTTP/2 connection: bytes in, events out, and the data to send, in turns between its streams.

It serves connections with clients and with origins. Its owner passes it the received bytes (L{Engine.receive}),
processes the events (L{Engine.next_events}), and writes the output (L{Engine.take_output}).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import attrs
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, StreamReset, WindowUpdated
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from egress.http2.connection import Connection
from egress.http2.guard import DATA_BYTES, DATA_CREDIT, EMPTY_DATA, MESSAGE_CREDIT, PROVOKED_RESET, Guard, is_bulk
from egress.http2.windows import CLIENT_GROWTH, ORIGIN_GROWTH, WINDOW, GrowthBudget, Windows
from egress.model.decision import Header, Headers

KIB: Final = 1024
# The default sizes of windows (RFC 9113 section 6.9.2).
_DEFAULT_WINDOW: Final = 65535
# The size of the window of a connection. Credit for it is given back immediately, so it limits the data on the way.
CONNECTION_WINDOW: Final = 16 * 1024 * KIB
# The maximum size of a DATA frame that is sent, so that streams take turns. It is also the smallest limit of a peer.
FRAME_SIZE: Final = 16 * KIB
# The data of a stream that waits to be sent, above which its sender must pause, and below which it continues.
HIGH_WATER: Final = 64 * KIB
LOW_WATER: Final = 16 * KIB
# The work of one turn of the reactor. A header block counts as several frames.
WORK: Final = 64
_BLOCK_WORK: Final = 16
# Types of frames (RFC 9113 section 6).
_HEADERS: Final = 1
_MESSAGE: Final = frozenset({0, _HEADERS})


class ConnectionFault(Exception):
    """The peer violated the protocol, and the connection cannot continue. The output contains a C{GOAWAY}.

    @ivar code: the error code.
    """

    def __init__(self, code: ErrorCodes, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@attrs.frozen
class EngineSettings:
    """The limits of one end.

    @ivar header_list: the maximum size of a decoded header list in bytes.
    @ivar streams: the maximum number of concurrent streams that the peer opens.
    @ivar connect_protocol: whether clients can use extended C{CONNECT} (RFC 8441).
    """

    header_list: int
    streams: int = 100
    connect_protocol: bool = False


class _Outgoing:
    """The data of one stream that waits to be sent.

    @ivar size: the number of bytes.
    @ivar end: the trailers after the data; C{None} if the end is not known yet.
    """

    __slots__ = ("end", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: deque[bytes] = deque()
        self.size = 0
        self.end: Headers | None = None

    def take(self, limit: int) -> bytes:
        """Remove at most C{limit} bytes."""
        pieces, parts = self.pieces, []
        while pieces and limit:
            piece = pieces.popleft()
            if len(piece) > limit:
                pieces.appendleft(piece[limit:])
                piece = piece[:limit]
            limit -= len(piece)
            self.size -= len(piece)
            parts.append(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Engine:
    """One end of a connection.

    @param client: whether this end is the client.
    @param settings: the limits of this end.
    @param seconds: returns the time in seconds.
    @param growth: limits the growth of the windows of all connections of this kind.
    @ivar sent: the streams of which data was sent in the last L{take_output}; their owner may produce more.
    """

    def __init__(
        self,
        *,
        client: bool,
        settings: EngineSettings,
        seconds: Callable[[], float] = float,
        growth: GrowthBudget | None = None,
    ) -> None:
        self.sent: list[int] = []
        codes = {
            SettingCodes.HEADER_TABLE_SIZE: 4096,
            SettingCodes.MAX_CONCURRENT_STREAMS: settings.streams,
            SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
            SettingCodes.MAX_HEADER_LIST_SIZE: settings.header_list,
        }
        if client:
            codes[SettingCodes.ENABLE_PUSH] = 0
        elif settings.connect_protocol:
            codes[SettingCodes.ENABLE_CONNECT_PROTOCOL] = 1
        self._h2 = Connection(client=client, settings=codes, block_limit=2 * settings.header_list)
        self._outgoing: OrderedDict[int, _Outgoing] = OrderedDict()
        self._windows = Windows(GrowthBudget(ORIGIN_GROWTH if client else CLIENT_GROWTH, growth))
        self._seconds = seconds
        self._guard = Guard(seconds())
        self._failed = False

    def begin(self) -> None:
        """Prepare the preface and the settings."""
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW - _DEFAULT_WINDOW)

    # -- received data

    def receive(self, data: bytes) -> None:
        """Add received bytes.

        @raise ConnectionFault: if they are not HTTP/2.
        """
        if self._failed:
            return
        try:
            self._h2.frames.add_data(data)
        except ProtocolError as error:
            raise self._fail(error.error_code, str(error)) from error

    def next_events(self) -> Iterator[Event]:
        """Process the frames of one turn of the reactor; see L{has_frame}.

        The owner processes each event before the next frame is processed. So no event is about a stream that a later
        frame has closed.

        @raise ConnectionFault: if the peer violates the protocol.
        """
        connection, work = self._h2, 0
        try:
            for frame in () if self._failed else connection.frames:
                kind = frame.type
                if kind not in _MESSAGE:
                    self._guard.frame(-1 if kind is None else kind, self._seconds())
                found = connection.receive_frame(frame)
                for event in found:
                    if self._keep(event):
                        yield event
                if not found and kind in _MESSAGE and not (connection.config.client_side and is_bulk(frame)):
                    self._guard.spend(EMPTY_DATA, "frames of closed streams", self._seconds())
                work += _BLOCK_WORK if kind == _HEADERS else 1
                if work >= WORK or self._failed:
                    break
        except ProtocolError as error:
            raise self._fail(error.error_code, str(error)) from error

    def _keep(self, event: Event) -> bool:
        """Handle an event of flow control; return whether the owner needs it."""
        if isinstance(event, DataReceived):
            size = event.flow_controlled_length
            self._h2.credit_connection(size)
            self._h2.credit_stream(event.stream_id, size - len(event.data))
            if len(event.data) >= DATA_BYTES:
                self._guard.earn(DATA_CREDIT)
            elif not event.data and event.stream_ended is None:
                self._guard.spend(EMPTY_DATA, "DATA without data", self._seconds())
        elif isinstance(event, StreamReset):
            self._outgoing.pop(event.stream_id, None)
            if not event.remote_reset:
                self._guard.spend(PROVOKED_RESET, "frames that cause a reset", self._seconds())
        else:
            return not isinstance(event, WindowUpdated)
        return True

    def _fail(self, code: ErrorCodes, reason: str) -> ConnectionFault:
        self._failed = True
        self._outgoing.clear()
        self._h2.terminate(code, reason)
        return ConnectionFault(code, reason)

    def fail(self, code: ErrorCodes, reason: str) -> None:
        """End the connection because of an error: prepare a C{GOAWAY}, and process no further frames."""
        if not self._failed:
            self._fail(code, reason)

    @property
    def has_frame(self) -> bool:
        """Whether there are received frames for another turn of the reactor."""
        return not self._failed and self._h2.frames.has_frame

    @property
    def unsent(self) -> int:
        """The number of bytes of frames that wait for L{take_output}, without the data of streams."""
        return self._h2.unsent

    @property
    def in_head(self) -> bool:
        """Whether a header block, or the preface, is incomplete."""
        return self._h2.frames.in_block or self._h2.frames.preface_missing

    def take(self, stream_id: int, size: int) -> None:
        """Give credit for received data that was taken. The window may grow."""
        if self._h2.receives(stream_id):
            self._h2.credit_stream(stream_id, size)
            growth = self._windows.grow(stream_id, size)
            if growth:
                self._h2.widen_stream(stream_id, growth)

    def forget(self, stream_id: int) -> None:
        """Regain the growth of the window of a stream, whose data was taken or discarded."""
        self._windows.forget(stream_id)

    def close(self) -> None:
        """Regain the growth of all windows: the connection is lost."""
        self._windows.close()

    # -- data to send

    def open(self, fields: Sequence[Header], *, end: bool) -> int:
        """Open a stream with a request.

        @param fields: the fields of the request.
        @param end: whether the stream ends with the request.
        @return: the identifier of the stream.
        """
        return self._h2.open_stream(fields, end=end)

    @property
    def stream_limit(self) -> int:
        """The number of concurrent streams that the peer permits."""
        return self._h2.remote_settings.max_concurrent_streams

    def send_head(self, stream_id: int, fields: Sequence[Header], *, end: bool = False) -> None:
        """Send the fields of a message. They must precede its data.

        @param stream_id: the stream.
        @param fields: the fields, with lower-case names, first the pseudo-header fields.
        @param end: whether the message ends with them.
        """
        self._h2.send_fields(stream_id, fields, end=end)
        if end:
            self._guard.earn(MESSAGE_CREDIT)

    def send_data(self, stream_id: int, data: bytes) -> None:
        """Add content to the data of a stream."""
        if data:
            outgoing = self._outgoing_of(stream_id)
            outgoing.pieces.append(data)
            outgoing.size += len(data)

    def send_end(self, stream_id: int, trailers: Headers = ()) -> None:
        """End a message after its data.

        @param stream_id: the stream.
        @param trailers: the fields after the content.
        """
        outgoing = self._outgoing_of(stream_id)
        outgoing.end = trailers

    def _outgoing_of(self, stream_id: int) -> _Outgoing:
        outgoing = self._outgoing.get(stream_id)
        if outgoing is None:
            outgoing = _Outgoing()
            stream = self._h2.streams.get(stream_id)
            if stream is not None and stream.open:
                # Data of a stream that was reset is discarded.
                self._outgoing[stream_id] = outgoing
        return outgoing

    def pending(self, stream_id: int) -> int:
        """The number of bytes of a stream that wait to be sent."""
        outgoing = self._outgoing.get(stream_id)
        return 0 if outgoing is None else outgoing.size

    def ends_later(self, stream_id: int) -> bool:
        """Whether a message waits to be sent up to its end."""
        outgoing = self._outgoing.get(stream_id)
        return outgoing is not None and outgoing.end is not None

    def refuse(self, stream_id: int, code: ErrorCodes) -> None:
        """Abort a stream because of an error of the peer.

        @raise ConnectionFault: if the peer causes too many of them.
        """
        self.reset(stream_id, code)
        try:
            self._guard.spend(PROVOKED_RESET, "malformed messages", self._seconds())
        except ProtocolError as error:
            raise self._fail(error.error_code, str(error)) from error

    def reset(self, stream_id: int, code: ErrorCodes) -> None:
        """Abort a stream, if it is open. Its data is not sent."""
        self._outgoing.pop(stream_id, None)
        stream = self._h2.streams.get(stream_id)
        if stream is not None and stream.open:
            self._h2.reset_stream(stream_id, code)

    def discard(self, stream_id: int) -> None:
        """Send nothing more on a stream that the peer ignores."""
        self._outgoing.pop(stream_id, None)

    def go_away(self, code: ErrorCodes = ErrorCodes.NO_ERROR, last_stream: int | None = None) -> None:
        """Announce the end of the connection. Streams that exist already continue.

        @param code: the reason.
        @param last_stream: the last stream of the peer that is processed; C{None} for the last one that it opened.
        """
        self._h2.go_away(code, self._h2.highest_inbound_stream_id if last_stream is None else last_stream)

    def ping(self, data: bytes) -> None:
        """Send a C{PING} with 8 bytes."""
        self._h2.ping(data)

    def take_output(self, limit: int = 256 * KIB) -> bytes:
        """Return the frames to write: all control frames, and data of the streams in turns, within their windows.

        @param limit: the number of bytes after which no further data frame is added; 0 for control frames only.
        """
        self.sent = []
        size = 0
        outgoing = self._outgoing
        if not outgoing and not self._h2.unsent:
            return b""
        if outgoing and limit:
            window = self._h2.outbound_flow_control_window
            blocked = 0
            while outgoing and size < limit and blocked < len(outgoing):
                stream_id = next(iter(outgoing))
                taken = self._send_frame(stream_id, outgoing[stream_id], window)
                if taken < 0:
                    blocked += 1
                else:
                    blocked = 0
                    window -= taken
                    size += taken
                if stream_id in outgoing:
                    outgoing.move_to_end(stream_id)
        return self._h2.data_to_send()

    def _send_frame(self, stream_id: int, outgoing: _Outgoing, window: int) -> int:
        """Send one frame of a stream.

        @param window: the window of the connection.
        @return: the number of bytes of data; -1 if the stream can send nothing now.
        """
        connection = self._h2
        stream = connection.streams[stream_id]
        data = b""
        if outgoing.size:
            limit = min(window, stream.outbound_flow_control_window, FRAME_SIZE)
            if limit <= 0:
                return -1
            data = outgoing.take(limit)
        ends = outgoing.end is not None and not outgoing.size
        if data or (ends and not outgoing.end):
            connection.send_content(stream_id, data, end=ends and not outgoing.end)
            if len(data) >= DATA_BYTES:
                self._guard.earn(DATA_CREDIT)
        elif not ends:
            return -1
        if ends:
            if outgoing.end:
                connection.send_fields(stream_id, outgoing.end, end=True)
            del self._outgoing[stream_id]
            self._guard.earn(MESSAGE_CREDIT)
        self.sent.append(stream_id)
        return len(data)
