"""The protocol state of one HTTP/2 connection: C{h2} with the rules of RFC 9113 that it lacks.

These are the differences to C{h2}:

  - A malformed message ends its stream, not the connection (RFC 9113 section 8.1.1).
  - A stream beyond the limit is refused, not the connection (section 5.1.2).
  - A connection continues to carry its streams after C{GOAWAY} in either direction (section 6.8).
  - A header block that cannot be decoded is a compression error (section 4.3).
  - Credit for the connection and credit for a stream are independent, so that a slow stream does not stop others.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, ConnectionInputs, H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event, RequestReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import (
    InvalidBodyLengthError,
    ProtocolError,
    StreamClosedError,
    StreamIDTooLowError,
    TooManyStreamsError,
)
from h2.settings import SettingCodes
from h2.stream import H2Stream, StreamClosedBy, StreamInputs, StreamState
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from egress.http2.field_blocks import BlockDecoder, BlockEncoder
from egress.http2.frames import FrameReader, PlainData, PlainHeaders
from egress.http2.settings import CompactSettings
from egress.model.decision import Header

_KNOWN_SETTINGS: Final = frozenset(int(code) for code in SettingCodes)
# The header of a frame (RFC 9113 section 4.1): its length in 24 bits, its type and flags, and its stream.
_FRAME: Final = struct.Struct(">BHBBL")
_DATA, _HEADERS, _CONTINUATION = 0, 1, 9
_END_STREAM: Final = 1
_END_HEADERS: Final = 4

# The number of streams, with closed ones, below which they are not counted.
_FEW_STREAMS: Final = 16

Received = tuple[list[Frame], list[Event]]


class Connection(H2Connection):
    """One end of a connection.

    @param client: whether this end is the client.
    @ivar frames: finds the frames in the received bytes.
    @param settings: the settings of this end.
    @param block_limit: the maximum size of an encoded header block in bytes.
    """

    # The streams of which C{h2} remembers how they ended.
    MAX_CLOSED_STREAMS = 1024

    def __init__(self, *, client: bool, settings: dict[SettingCodes, int], block_limit: int) -> None:
        super().__init__(
            H2Configuration(
                client_side=client,
                header_encoding=None,
                # The fields are checked by the modules that translate them.
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            )
        )
        self.local_settings = CompactSettings(client=client, values=settings)
        self.remote_settings = CompactSettings(client=not client)
        self.encoder = BlockEncoder()  # type: ignore[assignment]
        self.blocks = BlockDecoder(2 * settings[SettingCodes.MAX_HEADER_LIST_SIZE])
        self.frames = FrameReader(server=not client, block_limit=block_limit)
        self.frames.max_frame_size = self.max_inbound_frame_size
        self.incoming_buffer = self.frames  # type: ignore[assignment]
        # L{blocks} takes its place.
        self.decoder = None  # type: ignore[assignment]
        # A connection has no table of its own: with its bound methods, it takes 1.6 KiB.
        self._frame_dispatch_table = _receivers_of(self)
        self._peer_ids = AllowedStreamIDs.EVEN if client else AllowedStreamIDs.ODD
        self._begun = False
        self._count_at = _FEW_STREAMS

    @property
    def unsent(self) -> int:
        """The number of bytes to send."""
        return len(self._data_to_send)

    def receive_frame(self, frame: Frame) -> list[Event]:
        """Process one frame."""
        if not self._begun:
            # RFC 9113 section 3.4.
            self._begun = True
            if not isinstance(frame, SettingsFrame) or "ACK" in frame.flags:
                raise ProtocolError("the first frame is not SETTINGS")
        events: list[Event]
        try:
            frames, events = self._frame_dispatch_table[frame.__class__](self, frame)
        except StreamClosedError as error:
            return self._late(error.stream_id, error.error_code, error)
        except StreamIDTooLowError as error:
            if self._stream_is_closed_by_end(error.stream_id):
                raise StreamClosedError(error.stream_id) from error
            return self._late(error.stream_id, ErrorCodes.STREAM_CLOSED, error)
        if frames:
            self._prepare_for_sending(frames)
        return events

    def _late(self, stream_id: int, code: ErrorCodes, error: ProtocolError) -> list[Event]:
        """Process a frame of a closed stream (RFC 9113 section 5.1).

        @param code: the code for a stream that was reset.
        @raise ProtocolError: if the stream was not reset.
        """
        if not self._stream_is_closed_by_reset(stream_id):
            raise error
        self._prepare_for_sending([_reset(stream_id, code)])
        return error._events if isinstance(error, StreamClosedError) else []  # noqa: SLF001

    def terminate(self, error_code: ErrorCodes, reason: str = "") -> None:
        """End the connection because of an error: prepare a C{GOAWAY}."""
        self.go_away(error_code, self.highest_inbound_stream_id, reason.encode("utf-8", "replace")[:200])

    def go_away(self, error_code: ErrorCodes, last_stream: int, data: bytes = b"") -> None:
        """Prepare a C{GOAWAY}. Streams that exist already continue.

        @param last_stream: the last stream that is processed.
        """
        frame = GoAwayFrame(0, last_stream_id=last_stream, error_code=error_code, additional_data=data)
        self._prepare_for_sending([frame])

    # -- data to send

    def open_stream(self, fields: Sequence[Header], *, end: bool) -> int:
        """Open a stream with the fields of a request.

        @param end: whether the stream ends with them.
        @return: the identifier of the stream.
        @raise TooManyStreamsError: if the peer permits no further stream.
        """
        if self._is_full(self.remote_settings.max_concurrent_streams):
            raise TooManyStreamsError("the peer permits no further stream")
        stream_id = self.get_next_available_stream_id()
        self.state_machine.process_input(ConnectionInputs.SEND_HEADERS)
        stream = self._begin_new_stream(stream_id, AllowedStreamIDs.ODD)
        # A response to a HEAD has a length and no content.
        stream.request_method = fields[0][1]
        self.send_fields(stream_id, fields, end=end)
        return stream_id

    def send_fields(self, stream_id: int, fields: Sequence[Header], *, end: bool = False) -> None:
        """Send the fields of a message, or the fields after its content.

        @param fields: the fields, with lower-case names, first the pseudo-header fields. C{:status} or C{:method} is
            the first one.
        @param end: whether the message ends with them.
        """
        machine = self.streams[stream_id].state_machine
        is_interim = fields[0][0] == b":status" and fields[0][1].startswith(b"1")
        machine.process_input(StreamInputs.SEND_INFORMATIONAL_HEADERS if is_interim else StreamInputs.SEND_HEADERS)
        if end:
            machine.process_input(StreamInputs.SEND_END_STREAM)
        block, limit = self.encoder.encode(fields), self.max_outbound_frame_size
        kind, flags, output = _HEADERS, _END_STREAM if end else 0, self._data_to_send
        while len(block) > limit:
            output += _frame(kind, flags, stream_id, block[:limit])
            block = block[limit:]
            kind, flags = _CONTINUATION, 0
        output += _frame(kind, flags | _END_HEADERS, stream_id, block)

    def send_content(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Send content in one frame, within the windows and the maximum size of a frame.

        @param end: whether the message ends with it.
        """
        stream = self.streams[stream_id]
        stream.state_machine.process_input(StreamInputs.SEND_DATA)
        if end:
            stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)
        stream.outbound_flow_control_window -= len(data)
        self.outbound_flow_control_window -= len(data)
        self._data_to_send += _frame(_DATA, _END_STREAM if end else 0, stream_id, data)

    # -- credit

    def credit_connection(self, size: int) -> None:
        """Let the peer send more data on the connection."""
        increment = self._inbound_flow_control_window_manager.process_bytes(size)
        if increment:
            self._prepare_for_sending([_window_update(0, increment)])

    def credit_stream(self, stream_id: int, size: int) -> None:
        """Let the peer send more data on a stream, if the stream is still open."""
        stream = self._receiving(stream_id)
        if stream is not None:
            increment = stream._inbound_window_manager.process_bytes(size)  # noqa: SLF001
            if increment:
                self._prepare_for_sending([_window_update(stream_id, increment)])

    def widen_stream(self, stream_id: int, increment: int) -> None:
        """Increase the window of a stream permanently."""
        stream = self._receiving(stream_id)
        if stream is not None:
            stream._inbound_window_manager.max_window_size += increment  # noqa: SLF001
            self.increment_flow_control_window(increment, stream_id)

    def receives(self, stream_id: int) -> bool:
        """Whether the peer may send more data on a stream."""
        return self._receiving(stream_id) is not None

    def _receiving(self, stream_id: int) -> H2Stream | None:
        stream = self.streams.get(stream_id)
        ended = stream is None or not stream.open or stream.state_machine.state is StreamState.HALF_CLOSED_REMOTE
        return None if ended else stream

    # -- received frames

    def _receive_headers_frame(self, frame: HeadersFrame) -> Received:
        headers = self.blocks.decode(frame.data)
        self.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
        if self._stream_closed_by(frame.stream_id) is StreamClosedBy.SEND_RST_STREAM:
            # RFC 9113 section 5.1: the fields were on the way when the stream was reset.
            return [], []
        is_new = frame.stream_id not in self.streams
        refused = is_new and self._is_full(self.local_settings.max_concurrent_streams)
        stream = self._get_or_create_stream(frame.stream_id, self._peer_ids)
        # For trailers, the length that the head has announced. C{h2} compares it only at the end of a DATA frame.
        announced = stream._expected_content_length  # noqa: SLF001
        try:
            events = _receive_fields(stream, headers, ended="END_STREAM" in frame.flags)
            if announced is not None and announced != stream._actual_content_length:  # noqa: SLF001
                return self._stream_error(stream, ErrorCodes.PROTOCOL_ERROR)
            if self.config.client_side:
                # The length in a 304 is not that of its content. The reader of responses compares the lengths.
                stream._expected_content_length = None  # noqa: SLF001
        except StreamClosedError:
            raise
        except ProtocolError as error:
            if is_new and stream.open and not (refused or self.config.client_side):
                # C{h2} rejects a length that is not a number. L{egress.http2.client_fields} does so, too, and the
                # request gets its record.
                ended = StreamEnded(stream_id=stream.stream_id) if "END_STREAM" in frame.flags else None
                return [], [RequestReceived(stream_id=stream.stream_id, headers=headers, stream_ended=ended)]
            return self._stream_error(stream, error.error_code)
        if refused:
            return self._stream_error(stream, ErrorCodes.REFUSED_STREAM)
        if "PRIORITY" in frame.flags and frame.depends_on == frame.stream_id:
            return self._stream_error(stream, ErrorCodes.PROTOCOL_ERROR)
        return [], events

    def _is_full(self, limit: int) -> bool:
        """Whether as many streams are open as one side may open. The other side opens none."""
        if len(self.streams) < min(limit, self._count_at):
            return False
        # This also discards the closed ones. Thus not at each new stream.
        count = self._open_streams(1)
        self._count_at = max(_FEW_STREAMS, 2 * count)
        return count >= limit

    def _stream_error(self, stream: H2Stream, code: ErrorCodes) -> Received:
        """End a stream because of an error of the peer."""
        stream.state_machine.state = StreamState.CLOSED
        stream.state_machine.stream_closed_by = StreamClosedBy.SEND_RST_STREAM
        event = StreamReset(stream_id=stream.stream_id, error_code=code, remote_reset=False)
        return [_reset(stream.stream_id, code)], [event]

    def _receive_data_frame(self, frame: DataFrame) -> Received:
        try:
            return super()._receive_data_frame(frame)
        except InvalidBodyLengthError as error:
            self.credit_connection(frame.flow_controlled_length)
            return self._stream_error(self.streams[frame.stream_id], error.error_code)

    def _handle_data_on_closed_stream(self, events: list[Event], exc: StreamClosedError, frame: DataFrame) -> Received:
        self.credit_connection(frame.flow_controlled_length)
        if not exc._events and self._stream_closed_by(frame.stream_id) is StreamClosedBy.SEND_RST_STREAM:  # noqa: SLF001
            # RFC 9113 section 5.1: the data was on the way when the stream was reset.
            return [], events
        return [_reset(exc.stream_id, exc.error_code)], [*events, *exc._events]  # noqa: SLF001

    def _receive_settings_frame(self, frame: SettingsFrame) -> Received:
        # Unknown settings are ignored (RFC 9113 section 6.5.2). C{h2} would store them.
        frame.settings = {code: value for code, value in frame.settings.items() if code in _KNOWN_SETTINGS}
        return super()._receive_settings_frame(frame)

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> Received:
        event = ConnectionTerminated()
        event.error_code = frame.error_code
        event.last_stream_id = frame.last_stream_id
        event.additional_data = frame.additional_data or None
        return [], [event]


def _receive_fields(stream: H2Stream, fields: list[Header], *, ended: bool) -> list[Event]:
    """Process a header list. C{h2} would also prepare the checks of the fields, which are off.

    @param ended: whether the stream ends with the list.
    @raise ProtocolError: if the stream is in another state.
    """
    machine = stream.state_machine
    is_interim = bool(fields) and fields[0][0] == b":status" and fields[0][1].startswith(b"1")
    if is_interim and ended:
        raise ProtocolError("an interim response ends the stream")
    events = machine.process_input(StreamInputs.RECV_INFORMATIONAL_HEADERS if is_interim else StreamInputs.RECV_HEADERS)
    event: Any = events[0]
    event.headers = fields
    if ended:
        events += machine.process_input(StreamInputs.RECV_END_STREAM)
        event.stream_ended = events[-1]
    elif isinstance(event, TrailersReceived):
        raise ProtocolError("the fields after the content do not end the stream")
    stream._initialize_content_length(fields)  # noqa: SLF001
    return events


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    size = len(payload)
    return _FRAME.pack(size >> 16, size & 0xFFFF, kind, flags, stream_id) + payload


def _reset(stream_id: int, code: ErrorCodes) -> RstStreamFrame:
    frame = RstStreamFrame(stream_id)
    frame.error_code = code
    return frame


def _window_update(stream_id: int, increment: int) -> WindowUpdateFrame:
    frame = WindowUpdateFrame(stream_id)
    frame.window_increment = increment
    return frame


_receivers: dict[type[Frame], Callable[..., Received]] = {}


def _receivers_of(connection: Connection) -> dict[type[Frame], Callable[..., Received]]:
    """Return the functions that process the frames of each type, which all connections share."""
    if not _receivers:
        for kind, method in connection._frame_dispatch_table.items():  # noqa: SLF001
            _receivers[kind] = getattr(Connection, method.__name__)
        _receivers[PlainData] = Connection._receive_data_frame  # noqa: SLF001
        _receivers[PlainHeaders] = Connection._receive_headers_frame  # noqa: SLF001
    return _receivers
