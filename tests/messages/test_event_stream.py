"""Tests for L{egress.messages.event_stream}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.heads import HeadLimits, parse_response_head
from egress.messages.event_stream import EventSplitter, EventStreamInspection, coding_of, is_event_stream
from egress.messages.splitter import Piece
from egress.model.decision import Decision, Verdict
from egress.model.errors import MessageDenied, MessageTooLarge
from egress.model.message import Direction, MessageKind, MessageObligation

LIMITS = HeadLimits(10_000, 100, 1000)


def pieces(splitter: EventSplitter, data: bytes = b"", *, end: bool = False) -> list[Piece]:
    """All pieces that are complete."""
    splitter.receive(data)
    if end:
        splitter.receive_end()
    found = []
    while (piece := splitter.next_piece()) is not None:
        found.append(piece)
    return found


def events(data: bytes, *, end: bool = False) -> list[tuple[str, bytes]]:
    """The types and contents of events, however the data is cut; all data passes in order."""
    found = []
    for step in (1, 2, 3, 5, len(data)):
        splitter = EventSplitter(1000)
        all_pieces: list[Piece] = []
        for at in range(0, len(data), step):
            all_pieces += pieces(splitter, data[at : at + step])
        if end:
            all_pieces += pieces(splitter, end=True)
            assert b"".join(piece.data for piece in all_pieces) == data
        assert data.startswith(b"".join(piece.data for piece in all_pieces))
        found.append([(piece.type, piece.content) for piece in all_pieces if piece.type is not None])
    assert all(each == found[0] for each in found), found
    return found[0]


class EventTests(SynchronousTestCase):
    """Events by the rules of the HTML standard."""

    def test_events(self) -> None:
        for end in (b"\n", b"\r\n", b"\r"):
            with self.subTest(end=end):
                lines = [b"\xef\xbb\xbfdata: YHOO", b"data:+2", b"data:  10", b"", b": a comment", b"", b"event: add"]
                lines += [b"data", b"id: 7", b"", b"", b"retry:10", b"", b"event", b"data:x", b"", b""]
                self.assertEqual(
                    events(end.join(lines)),
                    [("message", b"YHOO\n+2\n 10"), ("add", b""), ("message", b""), ("message", b"x")],
                )

    def test_later_byte_order_mark(self) -> None:
        """Only at the start of the stream, a byte order mark is not part of a line."""
        self.assertEqual(events(b"\r\xef\xbb\xbfdata: a\n\n"), [("message", b"")])
        self.assertEqual(events(b"\n\xef\xbb\xbf", end=True), [("message", b"")])

    def test_mixed_line_ends(self) -> None:
        self.assertEqual(
            events(b"data: a\r\ndata: b\rdata: c\n\r\ndata: d\n\n"), [("message", b"a\nb\nc"), ("message", b"d")]
        )
        self.assertEqual(events(b"data: a\r\rdata: b\n\r"), [("message", b"a"), ("message", b"b")])

    def test_comments_pass_immediately(self) -> None:
        splitter = EventSplitter(1000)
        self.assertEqual(pieces(splitter, b": hello\n\n: ag"), [Piece(b": hello\n\n")])
        self.assertEqual(splitter.held, 8)
        self.assertEqual(pieces(splitter, b"ain\n\n"), [Piece(b": again\n\n")])
        self.assertEqual(pieces(splitter, b"\r"), [Piece(b"\r")])
        self.assertEqual(pieces(splitter, b"\n"), [Piece(b"\n")])
        self.assertEqual(splitter.held, 0)

    def test_events_are_complete_at_a_carriage_return(self) -> None:
        splitter = EventSplitter(1000)
        self.assertEqual(pieces(splitter, b"data: a\r\n\r"), [Piece(b"data: a\r\n\r", "message", b"a")])
        self.assertEqual(pieces(splitter, b"\ndata: b\r\n\r\n"), [Piece(b"\ndata: b\r\n\r\n", "message", b"b")])

    def test_the_end(self) -> None:
        """An incomplete event is authorized, because some clients process it."""
        self.assertEqual(events(b"data: a\n\nda", end=True), [("message", b"a"), ("message", b"")])
        self.assertEqual(events(b"data: a", end=True), [("message", b"a")])
        self.assertEqual(events(b"event: x\r", end=True), [("x", b"")])
        self.assertEqual(events(b": a\n\n: b", end=True), [])
        self.assertEqual(pieces(EventSplitter(1), end=True), [])

    def test_names_that_are_not_text(self) -> None:
        self.assertEqual(events(b"event: \xff\ndata: \xff\n\n"), [("\\xff", b"\xff")])

    def test_sizes(self) -> None:
        event = b"data: " + b"x" * 93 + b"\n\n"
        self.assertEqual(len(pieces(EventSplitter(101), event)), 1)
        self.assertRaises(MessageTooLarge, pieces, EventSplitter(100), event)
        self.assertRaises(MessageTooLarge, pieces, EventSplitter(100), b": " + b"x" * 99)
        self.assertEqual(len(pieces(EventSplitter(101), b": x\n\n" * 50 + event)), 1)

    def test_sizes_do_not_depend_on_reads(self) -> None:
        """A block of comments has the limit of events, and the second half of a line end does not count."""
        for block in (b": " + b"x" * 90 + b"\r\n\r\n", b": a\r\ndata: " + b"x" * 80 + b"\r\n\r\n"):
            for limit in (len(block) - 2, len(block) - 1):
                with self.subTest(block=block, limit=limit):
                    for reads in ([block], [block[:-1], block[-1:]], [bytes((byte,)) for byte in block]):
                        splitter = EventSplitter(limit)
                        found = []
                        try:
                            for read in reads:
                                found += pieces(splitter, read)
                        except MessageTooLarge:
                            self.assertEqual((found, limit), ([], len(block) - 2))
                        else:
                            self.assertEqual((b"".join(piece.data for piece in found), limit), (block, len(block) - 1))

    def test_a_line_feed_does_not_end_a_comment(self) -> None:
        """A comment passes with its block, also where a read ends within the end of its line."""
        splitter = EventSplitter(1000)
        self.assertEqual(pieces(splitter, b": a\r"), [])
        self.assertEqual(pieces(splitter, b"\n"), [])
        self.assertEqual(pieces(splitter, b"data: b\r\n\r"), [Piece(b": a\r\ndata: b\r\n\r", "message", b"b")])


class InspectionTests(SynchronousTestCase):
    """The inspection of a response."""

    def test_which_responses(self) -> None:
        for fields, expected in (
            ("Content-Type: text/event-stream", True),
            ("content-type: Text/Event-Stream; charset=utf-8", True),
            ("Content-Type: text/event-streams", False),
            ("Content-Type: text/plain", False),
            ("X: text/event-stream", False),
        ):
            head = parse_response_head(f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n".encode(), LIMITS, "GET")
            self.assertIs(is_event_stream(head), expected, fields)

    def test_codings(self) -> None:
        self.assertIsNone(coding_of(((b"Content-Type", b"x"), (b"Content-Encoding", b"identity, Identity"))))
        self.assertEqual(coding_of(((b"content-encoding", b"identity"), (b"Content-Encoding", b"br, gzip"))), b"br")

    def test_directions(self) -> None:
        inspection = EventStreamInspection(MessageObligation())
        self.assertEqual((inspection.kind, inspection.client), (MessageKind.SSE, None))
        self.assertIsInstance(inspection.origin, EventSplitter)
        self.assertIsNone(EventStreamInspection(MessageObligation(frozenset({Direction.CLIENT}))).origin)

    def test_the_reason_is_one_comment(self) -> None:
        denied = MessageDenied(Decision(Verdict.DENY, "no\r\ndata: x\u2028y", "script"))
        ending = EventStreamInspection(MessageObligation()).ending(denied)
        self.assertEqual((ending.client, ending.origin, ending.trailers), (b": no data: x y\n\n", b"", ()))
