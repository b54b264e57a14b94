"""Tests for L{egress.http2.engine}: two ends, of which one is a client and the other a server."""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from twisted.trial.unittest import SynchronousTestCase

from egress.http.sniff import PREFACE
from egress.http2.engine import FRAME_SIZE, HIGH_WATER, WORK, ConnectionFault, Engine, EngineSettings
from egress.http2.windows import WINDOW, GrowthBudget
from tests.http2.frames import DATA, PING, REQUEST, RST_STREAM, SETTINGS, frame, headers

OK = [(b":status", b"200")]


class EngineTests(SynchronousTestCase):
    """A client and a server."""

    def setUp(self) -> None:
        self.start()

    def start(self, **settings: int) -> None:
        """Connect the two ends."""
        self.client = Engine(client=True, settings=EngineSettings(1000))
        self.server = Engine(client=False, settings=EngineSettings(1000, **settings))  # type: ignore[arg-type]
        self.client.begin()
        self.server.begin()
        self.exchange()

    def exchange(self) -> tuple[list[Event], list[Event]]:
        """Exchange all data; return the events of the client and of the server."""
        found: tuple[list[Event], list[Event]] = [], []
        ends = (self.client, self.server)
        while outputs := [end.take_output() for end in ends]:
            if not any(outputs):
                break
            for end, events, data in zip(ends, found, reversed(outputs), strict=True):
                end.receive(data)
                while end.has_frame:
                    events += end.next_events()
        return found

    def request(self, *, end: bool = True) -> int:
        """Send a request."""
        stream = self.client.open(REQUEST, end=end)
        self.exchange()
        return stream

    def received(self, events: list[Event], stream: int) -> bytes:
        """The data of a stream among events."""
        return b"".join(one.data for one in events if isinstance(one, DataReceived) and one.stream_id == stream)

    def test_a_message_in_each_direction(self) -> None:
        stream = self.client.open(REQUEST, end=False)
        self.client.send_data(stream, b"abc")
        self.client.send_data(stream, b"")
        self.client.send_end(stream)
        _, events = self.exchange()
        self.assertIsInstance(events[0], RequestReceived)
        self.assertEqual(self.received(events, stream), b"abc")
        self.assertIsInstance(events[-1], StreamEnded)
        self.server.send_head(stream, OK)
        self.server.send_data(stream, b"hello")
        self.server.send_end(stream, ((b"x", b"y"),))
        self.assertTrue(self.server.ends_later(stream))
        events, _ = self.exchange()
        self.assertEqual(
            [type(one) for one in events if not isinstance(one, StreamEnded)],
            [ResponseReceived, DataReceived, TrailersReceived],
        )
        self.assertFalse(self.server.ends_later(stream))

    def test_an_end_with_the_head(self) -> None:
        stream = self.request()
        self.server.send_head(stream, OK, end=True)
        events, _ = self.exchange()
        self.assertEqual([type(one) for one in events], [ResponseReceived, StreamEnded])

    def test_trailers_without_content(self) -> None:
        stream = self.request()
        self.server.send_head(stream, OK)
        self.server.send_end(stream, ((b"x", b"y"),))
        events, _ = self.exchange()
        self.assertEqual([type(one) for one in events], [ResponseReceived, TrailersReceived, StreamEnded])

    def test_large_content(self) -> None:
        """Credit follows the data that is taken."""
        stream = self.client.open(REQUEST, end=False)
        self.client.send_data(stream, b"x" * 100_000)
        _, events = self.exchange()
        self.assertEqual((len(self.received(events, stream)), self.client.pending(stream)), (65536, 34464))
        self.server.take(stream, 65536)
        _, events = self.exchange()
        self.assertEqual((len(self.received(events, stream)), self.client.pending(stream)), (34464, 0))

    def upload(self, stream: int, size: int) -> int:
        """Send data of which the server takes nothing any more; return the number of bytes that it receives."""
        self.client.send_data(stream, b"x" * size)
        _, events = self.exchange()
        return len(self.received(events, stream))

    def grow(self, stream: int) -> None:
        """Take content until the window has twice its size."""
        for _ in range(4):
            self.assertEqual(self.upload(stream, 40_000), 40_000)
            self.server.take(stream, 40_000)
            self.exchange()

    def test_windows_grow(self) -> None:
        """The window of a stream that carries much data; see L{tests.http2.test_windows}."""
        one, two = (self.request(end=False) for _ in range(2))
        self.grow(one)
        self.assertGreater(self.upload(one, 1_000_000), WINDOW + 20_000)
        self.assertEqual(self.upload(two, 1_000_000), WINDOW)

    def test_credit_of_a_grown_window(self) -> None:
        """It has the size of the grown window."""
        stream = self.request(end=False)
        self.grow(stream)
        received = self.upload(stream, 1_000_000)
        self.server.take(stream, received)
        _, events = self.exchange()
        self.assertGreaterEqual(len(self.received(events, stream)), 2 * WINDOW)

    def test_windows_of_ended_streams(self) -> None:
        """Their growth is available again once their data was taken, or the connection is lost."""
        growth = GrowthBudget(WINDOW)
        self.server = Engine(client=False, settings=EngineSettings(1000), growth=growth)
        self.client = Engine(client=True, settings=EngineSettings(1000))
        self.client.begin()
        self.server.begin()
        one, two = self.request(end=False), self.request(end=False)
        self.grow(one)
        self.client.send_end(one)
        self.exchange()
        self.assertFalse(growth.take(1))
        self.server.take(one, 40_000)
        self.server.forget(one)
        self.assertTrue(growth.take(WINDOW))
        growth.give_back(WINDOW)
        self.grow(two)
        self.assertFalse(growth.take(1))
        self.server.close()
        self.assertTrue(growth.take(WINDOW))

    def test_streams_take_turns(self) -> None:
        one, two = self.request(), self.request()
        for stream in (one, two):
            self.server.send_head(stream, OK)
        self.server.send_data(one, b"1" * 3 * FRAME_SIZE)
        self.server.send_data(two, b"2" * FRAME_SIZE)
        self.server.send_end(two)
        events, _ = self.exchange()
        order = [event.stream_id for event in events if isinstance(event, DataReceived)]
        self.assertEqual(order, [one, two, one, one])

    def test_a_slow_stream_delays_no_other(self) -> None:
        slow = self.client.open(REQUEST, end=False)
        self.client.send_data(slow, b"x" * 100_000)
        self.exchange()
        for _ in range(30):
            stream = self.client.open(REQUEST, end=False)
            self.client.send_data(stream, b"y" * 65_000)
            self.client.send_end(stream)
            _, events = self.exchange()
            self.assertEqual(len(self.received(events, stream)), 65_000)
            self.server.reset(stream, ErrorCodes.NO_ERROR)
        self.assertEqual(self.client.pending(slow), 100_000 - 65536)

    def test_output_within_a_limit(self) -> None:
        stream = self.request()
        self.server.send_head(stream, OK)
        self.server.send_data(stream, b"x" * HIGH_WATER)
        self.assertLess(len(self.server.take_output(0)), 100)
        self.assertEqual(self.server.sent, [])
        first = self.server.take_output(2 * FRAME_SIZE)
        self.assertEqual(len(first), 2 * (FRAME_SIZE + 9))
        self.assertEqual(self.server.sent, [stream, stream])

    def test_small_pieces_share_a_frame(self) -> None:
        stream = self.request()
        self.server.send_head(stream, OK)
        for _ in range(100):
            self.server.send_data(stream, b"abc")
        events, _ = self.exchange()
        self.assertEqual([len(one.data) for one in events if isinstance(one, DataReceived)], [300])

    def test_a_reset(self) -> None:
        stream = self.request()
        self.server.send_head(stream, OK)
        self.server.send_data(stream, b"x" * 100)
        self.server.reset(stream, ErrorCodes.CANCEL)
        self.server.reset(stream, ErrorCodes.CANCEL)
        events, _ = self.exchange()
        self.assertEqual([type(one) for one in events], [ResponseReceived, StreamReset])
        self.assertEqual(self.server.pending(stream), 0)

    def test_data_after_a_reset(self) -> None:
        stream = self.request()
        self.server.reset(stream, ErrorCodes.CANCEL)
        self.server.send_data(stream, b"x")
        self.server.send_end(stream)
        self.assertEqual((self.server.pending(stream), self.server.ends_later(stream)), (0, False))

    def test_a_reset_by_the_peer(self) -> None:
        stream = self.client.open(REQUEST, end=False)
        self.exchange()
        self.server.send_head(stream, OK)
        self.server.send_data(stream, b"x" * 100_000)
        self.exchange()
        self.client.reset(stream, ErrorCodes.CANCEL)
        _, events = self.exchange()
        (event,) = events
        assert isinstance(event, StreamReset)
        self.assertEqual((event.error_code, self.server.pending(stream)), (ErrorCodes.CANCEL, 0))

    def test_a_response_before_the_end_of_the_request(self) -> None:
        stream = self.client.open(REQUEST, end=False)
        self.exchange()
        self.server.send_head(stream, OK)
        self.server.send_end(stream)
        events, _ = self.exchange()
        self.assertIsInstance(events[-1], StreamEnded)
        self.server.reset(stream, ErrorCodes.NO_ERROR)
        (last,), _ = self.exchange()
        assert isinstance(last, StreamReset)
        self.assertEqual(last.error_code, ErrorCodes.NO_ERROR)

    def test_the_limit_of_streams(self) -> None:
        self.start(streams=2)
        self.assertEqual(self.client.stream_limit, 2)
        self.request()

    def test_unsent_frames(self) -> None:
        self.assertEqual(self.client.unsent, 0)
        self.client.ping(b"12345678")
        self.assertEqual(self.client.unsent, 17)
        self.exchange()
        self.assertEqual(self.client.unsent, 0)

    def test_a_stream_that_the_peer_ignores(self) -> None:
        stream = self.client.open(REQUEST, end=False)
        self.client.send_data(stream, b"x" * 100_000)
        self.exchange()
        self.client.discard(stream)
        self.server.take(stream, 65536)
        _, events = self.exchange()
        self.assertEqual((events, self.client.pending(stream)), ([], 0))

    def test_content_on_the_way_to_a_reset_stream(self) -> None:
        """Its amount is limited by the window, and it is not a flood."""
        stream = self.request()
        self.server.send_head(stream, OK)
        self.server.send_data(stream, b"x" * 65536)
        data = self.server.take_output()
        self.client.reset(stream, ErrorCodes.CANCEL)
        self.client.receive(data)
        content = frame(DATA, stream=stream, payload=b"x" * 1000)
        for _ in range(500):
            self.client.receive(content)
        while self.client.has_frame:
            self.assertEqual(list(self.client.next_events()), [])
        for _ in range(500):
            self.client.receive(frame(DATA, stream=stream, payload=b"x"))
        with self.assertRaises(ConnectionFault):
            while self.client.has_frame:
                list(self.client.next_events())

    def test_the_length_in_a_response(self) -> None:
        """The length in a 304 is not that of its content."""
        stream = self.request()
        self.server.send_head(stream, [(b":status", b"304"), (b"content-length", b"5")])
        self.server.send_end(stream)
        events, _ = self.exchange()
        self.assertEqual([type(one) for one in events], [ResponseReceived, DataReceived, StreamEnded])

    def test_extended_connect(self) -> None:
        self.start(connect_protocol=True)
        self.assertTrue(self.client._h2.remote_settings.enable_connect_protocol)  # noqa: SLF001

    def test_padding(self) -> None:
        """The credit for it is given back immediately."""
        server = self.raw()
        server.receive(headers(1, flags=4))
        for _ in range(500):
            server.receive(frame(DATA, 8, 1, b"\xfex" + bytes(254)))
            list(server.next_events())

    def raw(self) -> Engine:
        """A server whose client sends frames as bytes."""
        server = Engine(client=False, settings=EngineSettings(1000))
        server.begin()
        server.receive(PREFACE)
        self.assertTrue(server.in_head is False)
        server.receive(frame(SETTINGS))
        list(server.next_events())
        server.take_output()
        return server

    def test_the_work_of_one_turn(self) -> None:
        server = self.raw()
        server.receive(frame(PING, 0, 0, b"12345678") * (WORK + 1))
        self.assertEqual(len(list(server.next_events())), WORK)
        self.assertTrue(server.has_frame)
        self.assertEqual(len(list(server.next_events())), 1)
        self.assertFalse(server.has_frame)
        self.assertEqual(len(server.take_output()), 17 * (WORK + 1))

    def test_a_request_and_its_reset_in_one_read(self) -> None:
        """The owner can respond to each event before the next frame is processed."""
        server = self.raw()
        server.receive(headers(1) + frame(RST_STREAM, 0, 1, bytes(4)))
        events = []
        for event in server.next_events():
            events.append(event)
            if isinstance(event, RequestReceived):
                server.send_head(1, [(b":status", b"403")], end=True)
        self.assertIsInstance(events[0], RequestReceived)

    def test_a_fault(self) -> None:
        server = self.raw()
        server.receive(frame(PING, 0, 1, b"12345678") + headers(1))
        fault = self.assertRaises(ConnectionFault, lambda: list(server.next_events()))
        self.assertEqual(fault.code, ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual(server.take_output()[3], 7)
        server.receive(headers(1))
        self.assertEqual((list(server.next_events()), server.has_frame), ([], False))
        server.fail(ErrorCodes.INTERNAL_ERROR, "")
        self.assertEqual(server.take_output(), b"")

    def test_a_failure(self) -> None:
        server = self.raw()
        server.fail(ErrorCodes.INTERNAL_ERROR, "why")
        self.assertTrue(server.take_output().endswith(b"why"))

    def test_frames_of_a_stream_that_was_reset(self) -> None:
        """Data may be on the way; a flood of it is an error."""
        server = self.raw()
        server.receive(headers(1, flags=4))
        list(server.next_events())
        server.reset(1, ErrorCodes.CANCEL)
        server.receive(frame(DATA, 0, 1, b"x" * 10))
        self.assertEqual(list(server.next_events()), [])
        server.receive(frame(DATA, 0, 1, b"x") * 300)
        with self.assertRaises(ConnectionFault) as raised:
            while server.has_frame:
                list(server.next_events())
        self.assertEqual(raised.exception.code, ErrorCodes.ENHANCE_YOUR_CALM)

    def test_empty_data(self) -> None:
        server = self.raw()
        server.receive(headers(1, flags=4) + frame(DATA, 0, 1) * 50 + frame(DATA, 1, 1))
        while server.has_frame:
            list(server.next_events())
        server.receive(headers(3, flags=4) + frame(DATA, 0, 3) * 300)
        with self.assertRaises(ConnectionFault) as raised:
            while server.has_frame:
                list(server.next_events())
        self.assertIn("DATA", str(raised.exception))

    def test_provoked_resets(self) -> None:
        server = self.raw()
        server.receive(headers(1, (b"content-length", b"1"), flags=4))
        list(server.next_events())
        server.receive(frame(DATA, 1, 1, b"xy"))
        (event,) = server.next_events()
        assert isinstance(event, StreamReset)
        self.assertEqual((event.remote_reset, server.unsent), (False, 13))
        with self.assertRaises(ConnectionFault) as raised:
            for _ in range(200):
                server.refuse(3, ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual(raised.exception.code, ErrorCodes.ENHANCE_YOUR_CALM)

    def test_time_restores_the_budget(self) -> None:
        now = [0.0]
        server = Engine(client=False, settings=EngineSettings(1000), seconds=lambda: now[0])
        server.begin()
        server.receive(PREFACE + frame(SETTINGS))
        for _ in range(500):
            now[0] += 1
            server.receive(frame(PING, 0, 0, b"12345678") * 40)
            list(server.next_events())

    def test_no_http2(self) -> None:
        server = Engine(client=False, settings=EngineSettings(1000))
        server.begin()
        self.assertTrue(server.in_head)
        self.assertRaises(ConnectionFault, server.receive, b"GET / HTTP/1.1\r\n")

    def test_goodbye_and_ping(self) -> None:
        self.request()
        self.server.go_away()
        self.server.go_away(last_stream=7)
        self.server.ping(b"12345678")
        events, _ = self.exchange()
        self.assertEqual([getattr(one, "last_stream_id", None) for one in events], [1, 7, None])
