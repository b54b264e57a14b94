"""Tests for L{egress.wire.http1}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.model.errors import BadRequest, ClientError, HeadTooLarge, OriginProtocolError, TargetTooLong
from egress.wire.body import End
from egress.wire.heads import HeadLimits, RequestHead, ResponseHead
from egress.wire.http1 import RequestReader, ResponseReader

LIMITS = HeadLimits(head=500, fields=10, target=100)
GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def drain(reader: RequestReader | ResponseReader) -> list[object]:
    """Every event that can be had now; contents that follow one another become one."""
    events: list[object] = []
    while (event := reader.next_event()) is not None:
        if isinstance(event, bytes) and events and isinstance(events[-1], bytes):
            events[-1] += event
        else:
            events.append(event)
    return events


def names(events: list[object]) -> list[object]:
    """Events in short: a target or a status for a head."""
    short: list[object] = []
    for event in events:
        if isinstance(event, RequestHead):
            short.append(event.target)
        elif isinstance(event, ResponseHead):
            short.append(event.status)
        elif isinstance(event, End):
            short.append(event.trailers)
        else:
            short.append(event)
    return short


class RequestReaderTests(SynchronousTestCase):
    """Requests, one after the other."""

    def setUp(self) -> None:
        self.reader = RequestReader(LIMITS)

    def read(self, data: bytes) -> list[object]:
        self.reader.receive(data)
        return names(drain(self.reader))

    def test_one(self) -> None:
        self.assertEqual(self.read(GET), [b"/a"])

    def test_pulled_one_at_a_time(self) -> None:
        self.reader.receive(GET + GET)
        self.assertIsInstance(self.reader.next_event(), RequestHead)
        self.assertEqual(self.reader.buffered, len(GET))

    def test_pipelined_with_contents(self) -> None:
        self.assertEqual(
            self.read(POST + b"hello" + CHUNKED + b"3\r\nabc\r\n0\r\nA: b\r\n\r\n" + GET),
            [b"/b", b"hello", (), b"/c", b"abc", ((b"A", b"b"),), b"/a"],
        )

    def test_empty_lines_before_a_request(self) -> None:
        self.assertEqual(self.read(b"\r\n\r\n" + GET + b"\r\n" + GET), [b"/a", b"/a"])

    def test_nothing_but_empty_lines(self) -> None:
        self.reader.receive(b"\r\n" * 5)
        self.assertRaises(BadRequest, self.reader.next_event)

    def test_take_rest(self) -> None:
        self.reader.receive(GET + b"early")
        self.reader.next_event()
        self.assertEqual(self.reader.take_rest(), b"early")
        self.assertEqual(self.reader.buffered, 0)

    def test_malformed_content(self) -> None:
        self.reader.receive(CHUNKED + b"x\r\n")
        self.reader.next_event()
        self.assertRaises(BadRequest, self.reader.next_event)

    def test_refused_before_the_head_is_complete(self) -> None:
        for name, data, error in (
            ("TLS", b"\x16\x03\x01", BadRequest),
            ("binary", b"\x00", BadRequest),
            ("a lone line feed", b"\n", BadRequest),
            ("long target", b"GET /" + b"a" * 200, TargetTooLong),
            ("long head", b"GET / HTTP/1.1\r\nA: " + b"b" * 500, HeadTooLarge),
            ("long head, complete", b"GET / HTTP/1.1\r\nA: " + b"b" * 500 + b"\r\n\r\n", HeadTooLarge),
        ):
            with self.subTest(name):
                reader = RequestReader(LIMITS)
                reader.receive(data)
                self.assertIs(type(self.assertRaises(ClientError, reader.next_event)), error)

    def test_tls_is_told_what_to_do(self) -> None:
        self.reader.receive(b"\x16\x03\x01")
        self.assertIn("http://", self.assertRaises(BadRequest, self.reader.next_event).reason)

    def test_incomplete(self) -> None:
        for end in range(len(GET)):
            with self.subTest(end=end):
                reader = RequestReader(LIMITS)
                reader.receive(GET[:end])
                self.assertIsNone(reader.next_event())

    @given(st.data())
    def test_any_split_gives_the_same(self, data: st.DataObject) -> None:
        wire = POST + b"hello" + CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" + GET
        cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
        reader = RequestReader(LIMITS)
        events: list[object] = []
        for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
            reader.receive(wire[start:end])
            events += drain(reader)
        contents = b"".join(event for event in events if isinstance(event, bytes))
        self.assertEqual(contents, b"helloabcde")
        heads = [event.target for event in events if isinstance(event, RequestHead)]
        self.assertEqual(heads, [b"/b", b"/c", b"/a"])
        self.assertEqual(sum(isinstance(event, End) for event in events), 2)


class ResponseReaderTests(SynchronousTestCase):
    """Answers, each to a request that was sent."""

    def setUp(self) -> None:
        self.reader = ResponseReader(LIMITS)

    def read(self, data: bytes, method: str = "GET") -> list[object]:
        self.reader.expect(method)
        self.reader.receive(data)
        return names(drain(self.reader))

    def test_answers(self) -> None:
        for name, method, data, expected in (
            ("length", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", [200, b"abc", ()]),
            (
                "chunked",
                "GET",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n",
                [200, b"abc", ((b"A", b"b"),)],
            ),
            ("HEAD", "HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", [200, ()]),
            ("204", "GET", b"HTTP/1.1 204 No Content\r\n\r\n", [204, ()]),
            (
                "interim",
                "GET",
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 204 x\r\n\r\n",
                [100, 103, 204, ()],
            ),
        ):
            with self.subTest(name):
                self.reader = ResponseReader(LIMITS)
                self.assertEqual(self.read(data, method), expected)
                self.assertIsNone(self.reader.receive_eof())
                # Ready for the next one.
                self.assertEqual(self.read(b"HTTP/1.1 204 x\r\n\r\n"), [204, ()])

    def test_until_close(self) -> None:
        self.assertEqual(self.read(b"HTTP/1.1 200 OK\r\n\r\nabc"), [200, b"abc"])
        self.reader.receive(b"def")
        self.assertEqual(self.reader.next_event(), b"def")
        self.assertEqual(self.reader.receive_eof(), End())

    def test_cut_short(self) -> None:
        self.read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab")
        self.assertIsNone(self.reader.receive_eof())

    def test_switching_protocols(self) -> None:
        data = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes"
        self.assertEqual(self.read(data), [101])
        self.assertEqual(self.reader.take_rest(), b"frames")

    def test_bytes_behind_an_answer_are_left(self) -> None:
        self.read(b"HTTP/1.1 204 x\r\n\r\nunasked")
        self.assertEqual(self.reader.buffered, 7)

    def test_one_at_a_time(self) -> None:
        self.reader.expect("GET")
        self.assertRaises(ValueError, self.reader.expect, "GET")

    def test_refused(self) -> None:
        for name, data in (
            ("another protocol", b"SSH-2.0"),
            ("too large", b"HTTP/1.1 200 OK\r\nA: " + b"b" * 500),
            ("malformed content", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"),
        ):
            with self.subTest(name):
                reader = ResponseReader(LIMITS)
                reader.expect("GET")
                reader.receive(data)
                self.assertRaises(OriginProtocolError, drain, reader)

    @given(st.data())
    def test_any_split_gives_the_same(self, data: st.DataObject) -> None:
        wire = b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
        reader = ResponseReader(LIMITS)
        reader.expect("GET")
        events: list[object] = []
        for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
            reader.receive(wire[start:end])
            events += drain(reader)
        self.assertEqual(b"".join(event for event in events if isinstance(event, bytes)), b"abc")
        self.assertEqual([event.status for event in events if isinstance(event, ResponseHead)], [100, 200])
        self.assertIsInstance(events[-1], End)
