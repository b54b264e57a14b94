"""Tests for L{egress.http2.connection}; those for L{egress.http2.engine} cover the rest of it."""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError, StreamClosedError, StreamIDTooLowError, TooManyStreamsError
from h2.settings import SettingCodes
from hyperframe.frame import Frame
from twisted.trial.unittest import SynchronousTestCase

from egress.http.sniff import PREFACE
from egress.http2.connection import Connection
from tests.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    REQUEST,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    block,
    frame,
    headers,
)


class ConnectionTests(SynchronousTestCase):
    """A server whose client sends frames as bytes."""

    def setUp(self) -> None:
        self.start()

    def start(self, streams: int = 2) -> None:
        """Begin a connection."""
        settings = {SettingCodes.MAX_HEADER_LIST_SIZE: 1000, SettingCodes.MAX_CONCURRENT_STREAMS: streams}
        self.connection = Connection(client=False, settings=settings, block_limit=1000)
        self.connection.initiate_connection()
        self.receive(PREFACE + frame(SETTINGS))
        self.sent()

    def receive(self, data: bytes) -> list[Event]:
        """Process frames."""
        self.connection.frames.add_data(data)
        return [event for one in self.connection.frames for event in self.connection.receive_frame(one)]

    def sent(self) -> list[Frame]:
        """The frames to send."""
        data, found = self.connection.data_to_send(), []
        while data:
            one, length = Frame.parse_frame_header(memoryview(data)[:9])
            one.parse_body(memoryview(data)[9 : 9 + length])
            found.append(one)
            data = data[9 + length :]
        return found

    def assert_stream_error(self, events: list[Event], stream: int, code: ErrorCodes) -> None:
        """The stream ends with an error, and the connection continues."""
        (event,) = [event for event in events if isinstance(event, StreamReset)]
        self.assertEqual((event.stream_id, event.error_code, event.remote_reset), (stream, code, False))
        (reset,) = self.sent()
        self.assertEqual((reset.type, reset.stream_id, getattr(reset, "error_code", None)), (RST_STREAM, stream, code))
        self.assertIsInstance(self.receive(headers(stream + 2))[0], RequestReceived)

    def test_contradicting_lengths(self) -> None:
        length = (b"content-length", b"2")
        self.receive(headers(1, length, flags=END_HEADERS))
        self.assert_stream_error(self.receive(frame(DATA, 0, 1, b"abc")), 1, ErrorCodes.PROTOCOL_ERROR)
        self.receive(headers(5, length, flags=END_HEADERS))
        self.assert_stream_error(self.receive(frame(DATA, END_STREAM, 5, b"a")), 5, ErrorCodes.PROTOCOL_ERROR)

    def test_a_length_that_trailers_contradict(self) -> None:
        """The end of the content is also the end of its length, if trailers follow."""
        self.start(streams=10)
        length, trailers = (b"content-length", b"2"), [(b"x", b"y")]
        for stream, content in ((1, b""), (5, b"a")):
            self.receive(headers(stream, length, flags=END_HEADERS) + frame(DATA, 0, stream, content))
            self.assert_stream_error(self.receive(headers(stream, pseudo=trailers)), stream, ErrorCodes.PROTOCOL_ERROR)
        self.receive(headers(9, length, flags=END_HEADERS) + frame(DATA, 0, 9, b"ab"))
        self.assertIsInstance(self.receive(headers(9, pseudo=trailers))[0], TrailersReceived)
        self.receive(headers(11, length, flags=END_HEADERS))
        events = self.receive(headers(11, (b"content-length", b"0"), pseudo=[]))
        self.assert_stream_error(events, 11, ErrorCodes.PROTOCOL_ERROR)

    def test_a_length_that_is_no_number(self) -> None:
        """The parser of requests rejects it, so that there is a record of the request."""
        for stream, flags in ((1, END_HEADERS), (3, END_HEADERS | END_STREAM)):
            (event,) = self.receive(headers(stream, (b"content-length", b"x"), flags=flags))
            assert isinstance(event, RequestReceived)
            self.assertIn((b"content-length", b"x"), event.headers)
            self.assertEqual((event.stream_id, event.stream_ended is not None), (stream, flags != END_HEADERS))
            self.connection.reset_stream(stream, ErrorCodes.PROTOCOL_ERROR)
        self.assertIsInstance(self.receive(headers(5))[0], RequestReceived)

    def test_a_status_in_a_request(self) -> None:
        for stream, flags in ((1, END_HEADERS), (5, END_HEADERS | END_STREAM)):
            events = self.receive(headers(stream, flags=flags, pseudo=[(b":status", b"100")]))
            self.assert_stream_error(events, stream, ErrorCodes.PROTOCOL_ERROR)

    def test_trailers_without_an_end(self) -> None:
        self.receive(headers(1, flags=END_HEADERS))
        events = self.receive(headers(1, (b"x", b"y"), flags=END_HEADERS, pseudo=[]))
        self.assert_stream_error(events, 1, ErrorCodes.PROTOCOL_ERROR)

    def test_a_stream_that_depends_on_itself(self) -> None:
        payload = b"\0\0\0\1\x10" + block(REQUEST)
        events = self.receive(frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, payload))
        self.assert_stream_error(events, 1, ErrorCodes.PROTOCOL_ERROR)

    def test_a_refused_stream(self) -> None:
        """The compression continues: the next request refers to fields of the refused one."""
        self.receive(headers(1) + headers(3))
        events = self.receive(headers(5, (b"x", b"y")))
        (event,) = events
        assert isinstance(event, StreamReset)
        self.assertEqual((event.stream_id, event.error_code), (5, ErrorCodes.REFUSED_STREAM))
        self.connection.reset_stream(1)
        self.assertIsInstance(self.receive(headers(7))[0], RequestReceived)

    def test_frames_on_a_stream_that_is_half_closed(self) -> None:
        self.receive(headers(1))
        self.assert_stream_error(self.receive(frame(DATA, 0, 1, b"abc")), 1, ErrorCodes.STREAM_CLOSED)
        self.assert_stream_error(self.receive(headers(3)), 3, ErrorCodes.STREAM_CLOSED)

    def test_data_on_the_way_to_a_reset_stream(self) -> None:
        self.receive(headers(1, flags=END_HEADERS))
        self.connection.reset_stream(1)
        self.sent()
        self.assertEqual(self.receive(frame(DATA, 0, 1, b"x" * 10_000)), [])
        self.assertEqual(self.sent(), [])
        for _ in range(3):
            self.receive(frame(DATA, 0, 1, b"x" * 10_000))
        (update,) = self.sent()
        self.assertEqual((update.type, update.stream_id), (WINDOW_UPDATE, 0))

    def reset(self, *streams: int) -> None:
        """Open streams, which the peer resets."""
        for stream in streams:
            self.receive(headers(stream) + frame(RST_STREAM, 0, stream, bytes(4)))
        self.sent()

    def test_frames_of_a_stream_that_is_forgotten(self) -> None:
        """It is an error of the stream."""
        self.reset(1, 3)
        self.receive(headers(5))
        self.assertEqual(sorted(self.connection.streams), [5])
        self.assertEqual(self.receive(headers(1)), [])
        (reset,) = self.sent()
        self.assertEqual(
            (reset.type, reset.stream_id, getattr(reset, "error_code", 0)), (RST_STREAM, 1, ErrorCodes.STREAM_CLOSED)
        )

    def test_a_stream_that_is_used_again(self) -> None:
        """It ended properly, which the peer knew."""
        for stream in (1, 3):
            self.receive(headers(stream))
            self.connection.send_fields(stream, [(b":status", b"200")], end=True)
        self.receive(headers(5))
        self.assertEqual(sorted(self.connection.streams), [5])
        self.assertRaises(StreamClosedError, self.receive, headers(1))

    def test_a_stream_below_the_last_one(self) -> None:
        self.receive(headers(3))
        self.assertRaises(StreamIDTooLowError, self.receive, headers(1))

    def test_closed_streams_are_discarded(self) -> None:
        """Not with each new stream, but before there are many of them."""
        self.start(streams=1000)
        most = 0
        for stream in range(1, 1000, 2):
            self.receive(headers(stream))
            most = max(most, len(self.connection.streams))
            self.connection.reset_stream(stream)
        self.assertEqual(most, 16)
        for stream in range(1001, 1201, 2):
            self.receive(headers(stream))
            most = max(most, len(self.connection.streams))
        self.assertLess(most, 100 + 16)
        self.assertEqual(self.connection.open_inbound_streams, 100)

    def test_an_interim_response_at_the_end(self) -> None:
        client = Connection(client=True, settings={SettingCodes.MAX_HEADER_LIST_SIZE: 1000}, block_limit=1000)
        client.initiate_connection()
        client.open_stream(REQUEST, end=True)
        interim = headers(1, pseudo=[(b":status", b"103")], flags=END_HEADERS)
        client.frames.add_data(frame(SETTINGS) + interim + headers(1, pseudo=[(b":status", b"103")]))
        found = [event for one in client.frames for event in client.receive_frame(one)]
        self.assertEqual(
            [type(event) for event in found],
            [RemoteSettingsChanged, InformationalResponseReceived, StreamReset],
        )

    def test_fields_on_the_way_to_a_reset_stream(self) -> None:
        """They are discarded, also when C{h2} has forgotten the stream; a reset of the peer remains an error."""
        self.receive(headers(1, flags=END_HEADERS))
        self.connection.reset_stream(1)
        self.sent()
        for other in (3, 5):
            self.assertEqual(self.receive(headers(1, pseudo=[(b"x", b"y")])), [])
            self.assertEqual(self.sent(), [])
            # With another stream, C{h2} forgets those that have ended.
            self.receive(headers(other))
        self.receive(frame(RST_STREAM, 0, 5, bytes(4)) + headers(5))
        self.assertEqual([one.type for one in self.sent()], [RST_STREAM])

    def test_data_on_a_stream_that_never_existed(self) -> None:
        self.assertRaises(ProtocolError, self.receive, frame(DATA, 0, 1, b"abc"))

    def test_a_goaway(self) -> None:
        """Streams continue in both directions."""
        self.receive(headers(1, flags=END_HEADERS))
        payload = (1).to_bytes(4, "big") + (2).to_bytes(4, "big") + b"why"
        (event,) = self.receive(frame(GOAWAY, 0, 0, payload))
        assert isinstance(event, ConnectionTerminated)
        self.assertEqual((event.last_stream_id, event.error_code, event.additional_data), (1, 2, b"why"))
        self.assertIsInstance(self.receive(frame(DATA, END_STREAM, 1, b"abc"))[0], DataReceived)
        self.connection.go_away(ErrorCodes.NO_ERROR, 1)
        self.connection.send_headers(1, [(b":status", b"200")], end_stream=True)
        self.assertEqual([one.type for one in self.sent()], [GOAWAY, HEADERS])

    def test_unknown_settings(self) -> None:
        payload = b"".join(code.to_bytes(2, "big") + b"\0\0\0\1" for code in range(1000, 1100))
        known = len(self.connection.remote_settings)
        self.receive(frame(SETTINGS, 0, 0, payload))
        self.assertEqual(len(self.connection.remote_settings), known)

    def test_a_large_table(self) -> None:
        """The peer cannot choose how much memory the compression takes."""
        self.receive(headers(1) + frame(SETTINGS, 0, 0, b"\0\1\xff\xff\xff\xff"))
        self.sent()
        self.connection.send_fields(1, [(b":status", b"200"), (b"x", b"y")], end=True)
        (one,) = self.sent()
        self.assertEqual(getattr(one, "data", b""), b"\x20\x88\x00\x01x\x01y")

    def test_credit(self) -> None:
        self.receive(headers(1, flags=END_HEADERS))
        self.receive(frame(DATA, 0, 1, b"x" * 16384) * 3)
        self.connection.credit_stream(1, 1000)
        self.assertEqual(self.sent(), [])
        self.connection.credit_stream(1, 40_000)
        self.connection.credit_connection(40_000)
        self.assertEqual([(one.type, one.stream_id) for one in self.sent()], [(WINDOW_UPDATE, 1), (WINDOW_UPDATE, 0)])
        self.receive(frame(DATA, END_STREAM, 1, b"x"))
        self.connection.credit_stream(1, 40_000)
        self.connection.credit_stream(3, 40_000)
        self.assertEqual(self.sent(), [])

    def test_a_wider_stream(self) -> None:
        self.receive(headers(1, flags=END_HEADERS))
        self.connection.widen_stream(1, 100_000)
        (update,) = self.sent()
        self.assertEqual((update.stream_id, getattr(update, "window_increment", 0)), (1, 100_000))
        self.receive(frame(DATA, END_STREAM, 1, b"x"))
        self.connection.widen_stream(1, 100_000)
        self.assertEqual(self.sent(), [])

    def test_too_many_streams(self) -> None:
        """The limit of the peer for streams that this end opens."""
        settings = {SettingCodes.MAX_HEADER_LIST_SIZE: 1000}
        client = Connection(client=True, settings=settings, block_limit=1000)
        client.initiate_connection()
        client.frames.add_data(frame(SETTINGS, 0, 0, b"\0\3\0\0\0\1"))
        for one in client.frames:
            client.receive_frame(one)
        self.assertEqual(client.open_stream(REQUEST, end=True), 1)
        self.assertRaises(TooManyStreamsError, client.open_stream, REQUEST, end=True)

    def test_a_large_head(self) -> None:
        self.receive(headers(1))
        value = b"x" * 40_000
        self.connection.send_fields(1, [(b":status", b"200"), (b"x", value)], end=True)
        found = self.sent()
        self.assertEqual([one.type for one in found], [HEADERS, CONTINUATION, CONTINUATION])
        self.assertEqual([sorted(one.flags) for one in found], [["END_STREAM"], [], ["END_HEADERS"]])
        self.assertTrue(b"".join(getattr(one, "data", b"") for one in found).endswith(value))
