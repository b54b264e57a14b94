"""Tests for L{egress.messages.grpc}."""

from __future__ import annotations

import base64
import gzip

from twisted.trial.unittest import SynchronousTestCase

from egress.grpc.call import Kind
from egress.grpc.error_status import error_trailers, web_trailers
from egress.grpc.framing import Frame
from egress.http.heads import HeadLimits, parse_request_head, parse_response_head
from egress.messages.grpc import GrpcInspection, GrpcSplitter
from egress.messages.splitter import Ending, Piece
from egress.model.decision import Decision, Headers, Verdict
from egress.model.errors import EgressError, MessageDenied, MessageInvalid, MessageTooLarge
from egress.model.message import BOTH, Direction, MessageKind, MessageObligation

LIMITS = HeadLimits(10_000, 100, 1000)
GZIP = ((b"grpc-encoding", b"gzip"),)
TRAILERS = Frame(b"grpc-status:0\r\n", is_trailers=True)
DENIED = MessageDenied(Decision(Verdict.DENY, "not today", "x", "rule-1"))


def split(kind: Kind, data: bytes, headers: Headers = (), *, step: int = 0, end: bool = False) -> list[Piece]:
    """Return all pieces of a direction."""
    splitter = GrpcSplitter(40, kind, headers)
    found = []
    step = step or len(data) or 1
    for at in range(0, len(data), step):
        splitter.receive(data[at : at + step])
        while (piece := splitter.next_piece()) is not None:
            found.append(piece)
    if end:
        splitter.receive_end()
        assert splitter.next_piece() is None
    assert splitter.held == 0
    return found


class SplitterTests(SynchronousTestCase):
    """The messages of one direction."""

    def test_messages(self) -> None:
        data = Frame(b"one").encode() + Frame(b"").encode() + Frame(b"three").encode()
        for step in range(1, len(data) + 1):
            found = split(Kind.GRPC, data, step=step, end=True)
            self.assertEqual(
                [(piece.type, piece.content) for piece in found],
                [("message", each) for each in (b"one", b"", b"three")],
            )
            self.assertEqual(b"".join(piece.data for piece in found), data)

    def test_compressed(self) -> None:
        frame = Frame(gzip.compress(b"one"), compressed=True).encode()
        self.assertEqual(split(Kind.GRPC, frame, GZIP), [Piece(frame, "message", b"one")])

    def test_web(self) -> None:
        data = Frame(b"one").encode() + TRAILERS.encode()
        self.assertEqual(
            split(Kind.WEB, data, end=True),
            [Piece(Frame(b"one").encode(), "message", b"one"), Piece(TRAILERS.encode())],
        )

    def test_compressed_trailers(self) -> None:
        frame = Frame(b"not read", compressed=True, is_trailers=True).encode()
        self.assertEqual(split(Kind.WEB, frame, end=True), [Piece(frame)])

    def test_web_text(self) -> None:
        text = base64.b64encode(Frame(b"one").encode()) + base64.b64encode(TRAILERS.encode())
        for step in range(1, len(text) + 1):
            first, second = split(Kind.WEB_TEXT, text, step=step, end=True)
            self.assertEqual((first.type, first.content, second.type), ("message", b"one", None))
            self.assertEqual(base64.b64decode(first.data), Frame(b"one").encode())
            self.assertEqual(base64.b64decode(second.data), TRAILERS.encode())

    def fault(self, kind: Kind, data: bytes, headers: Headers = ()) -> EgressError:
        """Return the error of a direction."""
        try:
            split(kind, data, headers, end=True)
        except EgressError as error:
            return error
        raise AssertionError("no error")

    def test_invalid(self) -> None:
        for kind, data, headers, reason in (
            (Kind.GRPC, b"<html>", (), "a frame has an unknown flag"),
            (Kind.GRPC, TRAILERS.encode(), (), "a frame has an unknown flag"),
            (Kind.GRPC, Frame(b"one").encode()[:-1], (), "the content ends within a message"),
            (Kind.WEB, TRAILERS.encode() + b"\0", (), "content follows the trailers"),
            (Kind.WEB_TEXT, b"!!!!", (), "the content is not base64"),
            (Kind.WEB_TEXT, b"AAAAAAA", (), "the content is not base64"),
            (Kind.GRPC, Frame(b"x", compressed=True).encode(), GZIP, "the message cannot be decompressed"),
            (Kind.GRPC, Frame(b"x", compressed=True).encode(), (), "the message is compressed in an unknown way"),
        ):
            error = self.fault(kind, data, headers)
            self.assertIsInstance(error, MessageInvalid)
            self.assertEqual(error.reason, f"the gRPC message cannot be authorized: {reason}")

    def test_too_large(self) -> None:
        for frame, headers in (
            (Frame(b"x" * 41).encode()[:5], ()),
            (Frame(gzip.compress(b"\0" * 1000), compressed=True).encode(), GZIP),
        ):
            splitter = GrpcSplitter(40, Kind.GRPC, headers)
            splitter.receive(frame)
            error = self.assertRaises(MessageTooLarge, splitter.next_piece)
            self.assertIn("the gRPC message is too large: a message has", error.reason)

    def test_held(self) -> None:
        splitter = GrpcSplitter(20, Kind.GRPC, ())
        splitter.receive(Frame(b"message").encode()[:-1])
        self.assertIsNone(splitter.next_piece())
        self.assertEqual(splitter.held, 11)


class InspectionTests(SynchronousTestCase):
    """The protocol of a call."""

    def inspection(self, kind: Kind = Kind.GRPC, directions: frozenset[Direction] = BOTH) -> GrpcInspection:
        head = parse_request_head(
            b"POST /a.B/C HTTP/1.1\r\nHost: a\r\ngrpc-encoding: gzip\r\nContent-Length: 1\r\n\r\n", LIMITS
        )
        return GrpcInspection(head, kind, MessageObligation(directions), "id-1")

    def test_directions(self) -> None:
        """The head of each direction names its compression."""
        found = self.inspection()
        self.assertEqual((found.kind, found.origin), (MessageKind.GRPC, None))
        found.begin_response(parse_response_head(b"HTTP/1.1 200 OK\r\n\r\n", LIMITS, "POST"))
        frame = Frame(gzip.compress(b"one"), compressed=True).encode()
        assert found.client is not None
        assert found.origin is not None
        found.client.receive(frame)
        self.assertEqual(found.client.next_piece(), Piece(frame, "message", b"one"))
        found.origin.receive(frame)
        self.assertRaises(MessageInvalid, found.origin.next_piece)

    def test_one_direction(self) -> None:
        found = self.inspection(directions=frozenset({Direction.ORIGIN}))
        self.assertIsNone(found.client)
        found = self.inspection(directions=frozenset({Direction.CLIENT}))
        found.begin_response(parse_response_head(b"HTTP/1.1 200 OK\r\n\r\n", LIMITS, "POST"))
        self.assertIsNone(found.origin)

    def test_ending(self) -> None:
        trailers = error_trailers(DENIED, "id-1")
        self.assertEqual(self.inspection().ending(DENIED), Ending(trailers=tuple(trailers)))
        self.assertEqual(self.inspection(Kind.WEB).ending(DENIED), Ending(client=web_trailers(trailers, Kind.WEB)))
