"""Tests for L{egress.http.readers}."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.http.body import encode_chunk
from egress.http.events import End, RequestHead, ResponseHead
from egress.http.heads import HeadLimits
from egress.http.readers import RequestReader, ResponseReader
from egress.model.errors import BadRequest, ClientError, EgressError, HeadTooLarge, OriginProtocolError, TargetTooLong
from tests.http.streams import byte_by_byte, mutations, splits

LIMITS = HeadLimits(head=500, fields=10, target=100)
GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
A, B, C = ("head", b"/a"), ("head", b"/b"), ("head", b"/c")


def drain(reader: RequestReader | ResponseReader) -> list[object]:
    """All events that are available now; consecutive content is joined."""
    events: list[object] = []
    while (event := reader.next_event()) is not None:
        if isinstance(event, bytes) and events and isinstance(events[-1], bytes):
            events[-1] += event
        else:
            events.append(event)
    return events


def names(events: list[object]) -> list[object]:
    """Events in short form: a target or a status for a head, trailers for an end."""
    short: list[object] = []
    for event in events:
        if isinstance(event, RequestHead):
            short.append(("head", event.target))
        elif isinstance(event, ResponseHead):
            short.append(event.status)
        elif isinstance(event, End):
            short.append(event.trailers)
        else:
            short.append(event)
    return short


def joined(events: Iterable[object]) -> list[object]:
    """Events in short form, with consecutive content joined."""
    result: list[object] = []
    for event in names(list(events)):
        if isinstance(event, bytes) and result and type(result[-1]) is bytes:
            result[-1] += event
        else:
            result.append(event)
    return result


Split = Callable[[bytes], list[bytes]]


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, list[object]]:
    """A request and its expected events. Its target is a number, which distinguishes it from content."""
    content = draw(st.binary(max_size=40))
    target = b"/%d" % draw(st.integers(0, 99))
    head = draw(st.sampled_from([b"GET", b"POST", b"FROB"])) + b" " + target + b" HTTP/1.1\r\nHost: a\r\n"
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    if kind == "none":
        return head + b"\r\n", [("head", target)]
    if kind == "length":
        expected: list[object] = [("head", target), content, ()] if content else [("head", target)]
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(content), content), expected
    chunks = encode_chunk(content) if content else b""
    wire = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nA: b\r\n\r\n"
    return wire, [("head", target), *([content] if content else []), ((b"A", b"b"),)]


class RequestReaderTests(SynchronousTestCase):
    """Consecutive requests of a connection."""

    def setUp(self) -> None:
        self.reader = RequestReader(LIMITS)

    def read(self, data: bytes) -> list[object]:
        self.reader.receive(data)
        return names(drain(self.reader))

    def test_one(self) -> None:
        self.assertEqual(self.read(GET), [A])

    def test_events_are_pulled_one_at_a_time(self) -> None:
        self.reader.receive(GET + GET)
        self.assertIsInstance(self.reader.next_event(), RequestHead)
        self.assertEqual(self.reader.buffered, len(GET))

    def test_pipelined_with_contents(self) -> None:
        self.assertEqual(
            self.read(POST + b"hello" + CHUNKED + b"3\r\nabc\r\n0\r\nA: b\r\n\r\n" + GET),
            [B, b"hello", (), C, b"abc", ((b"A", b"b"),), A],
        )

    def test_repeated_fields(self) -> None:
        """The fields are known, and still evaluated for each request."""
        fields = b" HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"
        self.assertEqual(self.read((b"POST /b" + fields + b"x") * 2), [B, b"x", ()] * 2)
        self.assertRaises(BadRequest, self.read, b"CONNECT a:443" + fields)

    def test_empty_lines_before_a_request(self) -> None:
        self.assertEqual(self.read(b"\r\n\r\n" + GET + b"\r\n" + GET), [A, A])

    def test_some_empty_lines_before_each_request(self) -> None:
        self.assertEqual(self.read((b"\r\n" * 4 + GET) * 2), [A, A])

    def test_only_empty_lines(self) -> None:
        self.reader.receive(b"\r\n" * 5)
        self.assertRaises(BadRequest, self.reader.next_event)

    def test_take_remaining(self) -> None:
        self.reader.receive(GET + b"early")
        self.reader.next_event()
        self.assertEqual(self.reader.take_remaining(), b"early")
        self.assertEqual(self.reader.buffered, 0)

    def test_malformed_content(self) -> None:
        self.reader.receive(CHUNKED + b"x\r\n")
        self.reader.next_event()
        self.assertRaises(BadRequest, self.reader.next_event)

    def test_rejected_before_the_head_is_complete(self) -> None:
        for name, data, error in (
            ("TLS", b"\x16\x03\x01", BadRequest),
            ("binary", b"\x00", BadRequest),
            ("a lone line feed", b"\n", BadRequest),
            ("a lone carriage return", b"\rG", BadRequest),
            ("a space", b" GET / HTTP/1.1", BadRequest),
            ("line feeds alone", b"GET / HTTP/1.1\nHost: a\n\n", BadRequest),
            ("a line feed alone in the fields", b"GET / HTTP/1.1\r\nHost: a\n\r", BadRequest),
            ("a line feed alone at the end", b"GET / HTTP/1.1\r\nHost: a\r\n\n", BadRequest),
            ("carriage returns alone", b"GET / HTTP/1.1\rHost: a\r\r", BadRequest),
            ("a carriage return alone in the fields", b"GET / HTTP/1.1\r\nHost: a\rB: c", BadRequest),
            ("HTTP/0.9", b"GET /\r\n\r\n", BadRequest),
            ("no Host", b"GET / HTTP/1.1\r\n\r\n", BadRequest),
            ("method without end", b"G" * 200, TargetTooLong),
            ("fields without end", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100, HeadTooLarge),
            ("too many fields", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 11 + b"\r\n", HeadTooLarge),
            ("long target", b"GET /" + b"a" * 200, TargetTooLong),
            ("long head", b"GET / HTTP/1.1\r\nA: " + b"b" * 500, HeadTooLarge),
            ("long head, complete", b"GET / HTTP/1.1\r\nA: " + b"b" * 500 + b"\r\n\r\n", HeadTooLarge),
        ):
            with self.subTest(name):
                self.assertEqual(self.outcome([data]), ([], error))
                self.assertEqual(self.outcome(byte_by_byte(data)), ([], error))

    def test_same_error_for_any_split(self) -> None:
        """Of two errors, the same one is reported, whichever is detected first."""
        for name, data, error in (
            ("another version, and a bare line end", b"GET / HTTP/2.0\r\nA: b\rC: d\r\n\r\n", BadRequest),
            ("TRACE, and a bare line end", b"TRACE / HTTP/1.1\r\nHost: a\r\nA: b\nC: d\r\n\r\n", BadRequest),
            ("too large, behind a bare line end", b"GET / HTTP/1.1\r\nA\r: " + b"b" * 900 + b"\r\n\r\n", BadRequest),
            ("too large, before a bare line end", b"GET / HTTP/1.1\r\nA: " + b"b" * 900 + b"\r\r\n\r\n", HeadTooLarge),
            ("too large, never ends, a bare one", b"GET / HTTP/1.1\r\nA: " + b"b" * 900 + b"\r:", HeadTooLarge),
            ("too long, before a bare line end", b"GET /" + b"a" * 300 + b"\rb\r\n\r\n", TargetTooLong),
            ("too long, never ends, a bare one", b"GET /" + b"a" * 300 + b"\rb", TargetTooLong),
            ("too long, behind a bare line end", b"GET /\r" + b"a" * 300 + b"\r\n\r\n", BadRequest),
        ):
            with self.subTest(name):
                self.assertEqual(self.outcome([data]), ([], error))
                self.assertEqual(self.outcome(byte_by_byte(data)), ([], error))

    def test_rejected_at_the_first_byte_over_a_limit(self) -> None:
        for name, start, limit, error in (
            ("target", b"GET /", LIMITS.target + 80, TargetTooLong),
            ("head", b"GET / HTTP/1.1\r\nA: ", LIMITS.head, HeadTooLarge),
        ):
            with self.subTest(name):
                data = start + b"a" * (limit - len(start))
                self.assertEqual(self.outcome([data[:-1]]), ([], None))
                self.assertEqual(self.outcome([data]), ([], error))

    def test_an_error_ends_the_pipeline(self) -> None:
        self.assertEqual(self.outcome([GET + b"GET / HTTP/1.1\r\n\r\n" + GET]), ([A], BadRequest))

    def test_data_after_take_remaining_starts_a_new_head(self) -> None:
        unfinished = b"GET /a HTTP/1.1\r\nUser-Agent: something\r\n"
        self.reader.receive(unfinished)
        self.assertIsNone(self.reader.next_event())
        self.assertEqual(self.reader.take_remaining(), unfinished)
        self.assertEqual(self.read(GET), [A])

    def test_the_error_for_tls_names_the_fix(self) -> None:
        self.reader.receive(b"\x16\x03\x01")
        self.assertIn("http://", self.assertRaises(BadRequest, self.reader.next_event).reason)

    def test_incomplete(self) -> None:
        for end in range(len(GET)):
            with self.subTest(end=end):
                reader = RequestReader(LIMITS)
                reader.receive(GET[:end])
                self.assertIsNone(reader.next_event())

    def outcome(self, pieces: list[bytes]) -> tuple[list[object], type[EgressError] | None]:
        """All events of a stream, and the error or rest at its end."""
        reader = RequestReader(LIMITS)
        events: list[object] = []
        try:
            for piece in pieces:
                reader.receive(piece)
                while (event := reader.next_event()) is not None:
                    events.append(event)
        except ClientError as error:
            return joined(events), type(error)
        return joined(events), None

    @given(st.lists(requests(), max_size=4), splits())
    def test_any_split_gives_the_same_result(self, stream: list[tuple[bytes, list[object]]], split: Split) -> None:
        wire = b"".join(message for message, _ in stream)
        expected = [event for _, events in stream for event in events]
        self.assertEqual(self.outcome(split(wire)), (expected, None))

    @given(st.lists(requests(), min_size=1, max_size=3), mutations(), splits())
    def test_any_split_of_any_input_gives_the_same_result(
        self, stream: list[tuple[bytes, list[object]]], mutate: Callable[[bytes], bytes], split: Split
    ) -> None:
        wire = mutate(b"".join(message for message, _ in stream))
        self.assertEqual(self.outcome(split(wire)), self.outcome([wire]))


@st.composite
def responses(draw: st.DrawFn) -> tuple[str, bytes, list[object]]:
    """The method of a request, a response to it, and the expected events."""
    content = draw(st.binary(max_size=40))
    some = [content] if content else []
    interim = draw(st.sampled_from([[], [100], [103, 103]]))
    before = b"".join(b"HTTP/1.1 %d x\r\nA: b\r\n\r\n" % status for status in interim)
    length = b"Content-Length: %d\r\n" % len(content)
    coding = b"Transfer-Encoding: chunked\r\n"
    chunks = (encode_chunk(content) if content else b"") + b"0\r\nA: b\r\n\r\n"
    method, status, fields, after, events = draw(
        st.sampled_from(
            [
                ("GET", 200, length, content, [*some, ()]),
                ("GET", 404, coding, chunks, [*some, ((b"A", b"b"),)]),
                ("HEAD", 200, length, b"", [()]),
                ("HEAD", 200, coding, b"", [()]),
                ("GET", 204, b"", b"", [()]),
                ("GET", 304, length, b"", [()]),
            ]
        )
    )
    found = [*interim, status, *events]  # type: ignore[misc]
    return method, before + b"HTTP/1.1 %d x\r\n%b\r\n" % (status, fields) + after, found


class ResponseReaderTests(SynchronousTestCase):
    """Responses, each to a request that was sent."""

    def setUp(self) -> None:
        self.reader = ResponseReader(LIMITS)

    def read(self, data: bytes, method: str = "GET") -> list[object]:
        self.reader.expect(method)
        self.reader.receive(data)
        return names(drain(self.reader))

    def test_responses(self) -> None:
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
                # The reader is ready for the next response.
                self.assertEqual(self.read(b"HTTP/1.1 204 x\r\n\r\n"), [204, ()])

    def test_until_close(self) -> None:
        self.assertEqual(self.read(b"HTTP/1.1 200 OK\r\n\r\nabc"), [200, b"abc"])
        self.reader.receive(b"def")
        self.assertEqual(self.reader.next_event(), b"def")
        self.assertEqual(self.reader.receive_eof(), End())
        self.assertIsNone(self.reader.receive_eof())
        self.reader.expect("GET")
        self.assertIsNone(self.reader.receive_eof())

    def test_truncated(self) -> None:
        self.read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab")
        self.assertIsNone(self.reader.receive_eof())

    def test_switching_protocols(self) -> None:
        data = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes"
        self.assertEqual(self.read(data), [101])
        self.assertEqual(self.reader.take_remaining(), b"frames")

    def test_bytes_after_a_response_are_not_consumed(self) -> None:
        self.read(b"HTTP/1.1 204 x\r\n\r\nunasked")
        self.assertEqual(self.reader.buffered, 7)

    def test_a_response_to_head_does_not_consume_the_next_one(self) -> None:
        self.read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nHTTP/1.1 204 x\r\n\r\n", "HEAD")
        self.reader.expect("GET")
        self.assertEqual(names(drain(self.reader)), [204, ()])

    def test_one_at_a_time(self) -> None:
        self.reader.expect("GET")
        self.assertRaises(ValueError, self.reader.expect, "GET")

    def test_rejected(self) -> None:
        for name, data in (
            ("another protocol", b"SSH-2.0"),
            ("HTTP/2", b"HTTP/2 200 OK\r\n\r\n"),
            ("an empty line first", b"\r\nHTTP/1.1 200 OK\r\n\r\n"),
            ("too large", b"HTTP/1.1 200 OK\r\nA: " + b"b" * 500),
            ("too large, complete", b"HTTP/1.1 200 OK\r\nA: " + b"b" * 500 + b"\r\n\r\n"),
            ("interim without end", b"HTTP/1.1 103 x\r\nA: " + b"b" * 500),
            ("line feeds alone", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
            ("carriage returns alone", b"HTTP/1.1 200 OK\rContent-Length: 0\r\r"),
            ("malformed content", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"),
        ):
            with self.subTest(name):
                self.assertIs(self.outcome(["GET"], [data])[1], OriginProtocolError)
                self.assertIs(self.outcome(["GET"], byte_by_byte(data))[1], OriginProtocolError)

    def outcome(
        self, methods: list[str], pieces: list[bytes], *, eof: bool = False
    ) -> tuple[list[object], type[EgressError] | None]:
        """All events of the responses to some requests, and the error or rest at the end."""
        reader = ResponseReader(LIMITS)
        waiting = list(methods)
        events: list[object] = []
        reader.expect(waiting.pop(0))
        try:
            for piece in pieces:
                reader.receive(piece)
                while (event := reader.next_event()) is not None:
                    events.append(event)
                    if isinstance(event, End) and waiting:
                        reader.expect(waiting.pop(0))
        except OriginProtocolError as error:
            return joined(events), type(error)
        if eof and (end := reader.receive_eof()) is not None:
            events.append(end)
        return joined(events), None

    @given(st.lists(responses(), min_size=1, max_size=4), st.binary(max_size=30), splits())
    def test_any_split_gives_the_same_result(
        self, stream: list[tuple[str, bytes, list[object]]], last: bytes, split: Split
    ) -> None:
        wire = b"".join(message for _, message, _ in stream) + b"HTTP/1.1 200 OK\r\n\r\n" + last
        expected = [event for _, _, events in stream for event in events]
        expected += [200, last, ()] if last else [200, ()]
        methods = [method for method, _, _ in stream]
        self.assertEqual(self.outcome([*methods, "GET"], split(wire), eof=True), (expected, None))

    @given(st.lists(responses(), min_size=1, max_size=3), mutations(), splits())
    def test_any_split_of_any_input_gives_the_same_result(
        self, stream: list[tuple[str, bytes, list[object]]], mutate: Callable[[bytes], bytes], split: Split
    ) -> None:
        wire = mutate(b"".join(message for _, message, _ in stream))
        methods = [method for method, _, _ in stream]
        self.assertEqual(self.outcome(methods, split(wire), eof=True), self.outcome(methods, [wire], eof=True))
