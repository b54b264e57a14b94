"""Tests for L{egress.messages.websocket}."""

from __future__ import annotations

import zlib

from twisted.trial.unittest import SynchronousTestCase

from egress.http.websocket_extensions import Deflate
from egress.messages.splitter import Piece
from egress.messages.websocket import (
    FREE_SIZE,
    MAX_RATIO,
    FrameTracker,
    MessageSplitter,
    WebSocketInspection,
    close_frame,
    unmasked,
)
from egress.model.decision import Decision, Verdict
from egress.model.errors import AuthorizerUnavailable, EgressError, MessageDenied, MessageInvalid, MessageTooLarge
from egress.model.message import Direction, MessageObligation
from tests.messages.frames import Deflater, frame

DENIED = MessageDenied(Decision(Verdict.DENY, "not today", "script"))


def pieces(splitter: MessageSplitter | FrameTracker, data: bytes = b"") -> list[Piece]:
    """All pieces that are complete."""
    splitter.receive(data)
    found = []
    while (piece := splitter.next_piece()) is not None:
        found.append(piece)
    return found


def split(data: bytes, *, masked: bool = False, max_size: int = 1000, takeover: bool | None = None) -> list[Piece]:
    """Split data, all at once and byte by byte."""
    at_once = pieces(MessageSplitter(masked=masked, max_size=max_size, takeover=takeover), data)
    slowly = MessageSplitter(masked=masked, max_size=max_size, takeover=takeover)
    singly = [piece for byte in data for piece in pieces(slowly, bytes((byte,)))]
    assert at_once == singly
    return at_once


class MessageTests(SynchronousTestCase):
    """Messages and control frames."""

    def test_messages(self) -> None:
        for masked in (False, True):
            for size in (0, 1, 5, 125, 126, 127, 300):
                data = frame(b"x" * size, masked=masked) + frame(b"\xff" * size, 2, masked=masked)
                first, second = split(data, masked=masked)
                self.assertEqual((first.type, first.content), ("text", b"x" * size))
                self.assertEqual((second.type, second.content), ("binary", b"\xff" * size))
                self.assertEqual(first.data + second.data, data)

    def test_masks(self) -> None:
        """The mask repeats every four bytes, whatever the length is."""
        for size in (0, 3, 4, 2047, 2048, 2049, 2050, 2051):
            payload = bytes(number * 7 % 256 for number in range(size))
            expected = bytes(byte ^ b"\x01\xfe\x80\x7f"[at % 4] for at, byte in enumerate(payload))
            self.assertEqual(unmasked(payload, b"\x01\xfe\x80\x7f"), expected)

    def test_a_long_message(self) -> None:
        content = bytes(range(256)) * 300
        data = frame(content, 2, masked=True)
        found = pieces(MessageSplitter(masked=True, max_size=1 << 20), data)
        self.assertEqual(found, [Piece(data, "binary", content)])

    def test_fragments_wait_for_each_other_and_control_frames_do_not(self) -> None:
        start, ping, middle, end = (
            frame(b"a", final=False),
            frame(b"hi", 9),
            frame("ä".encode()[:1], 0, final=False),
            frame("ä".encode()[1:], 0),
        )
        splitter = MessageSplitter(masked=False, max_size=100)
        self.assertEqual(pieces(splitter, start), [])
        self.assertEqual(splitter.held, 4)
        self.assertEqual(pieces(splitter, ping), [Piece(ping, overtakes=True)])
        self.assertEqual(pieces(splitter, middle), [])
        self.assertEqual(pieces(splitter, end), [Piece(start + middle + end, "text", "aä".encode())])
        self.assertEqual(splitter.held, 0)

    def test_a_close_frame_is_the_end(self) -> None:
        close = frame(b"\x03\xe8bye", 8)
        splitter = MessageSplitter(masked=False, max_size=100)
        self.assertEqual(pieces(splitter, close + frame(b"more")), [Piece(close)])
        self.assertEqual(pieces(splitter, frame(b"more")), [])
        self.assertEqual(splitter.held, 0)

    def test_close_frames(self) -> None:
        def close(code: int, reason: bytes = b"") -> bytes:
            return frame(code.to_bytes(2, "big") + reason, 8, masked=True)

        codes = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1016, 2999, 3000, 3999, 4999)
        for valid in (frame(b"", 8, masked=True), close(1000, "größer".encode()), *map(close, codes)):
            self.assertEqual(split(valid, masked=True), [Piece(valid)])
        for code in (0, 999, 1004, 1005, 1006, 1015, 5000, 65535):
            error = self.assertRaises(MessageInvalid, split, close(code), masked=True)
            self.assertFalse(error.not_text)
        error = self.assertRaises(MessageInvalid, split, frame(b"\x03", 8, masked=True), masked=True)
        self.assertFalse(error.not_text)
        error = self.assertRaises(MessageInvalid, split, close(1000, b"more \xff"), masked=True)
        self.assertTrue(error.not_text)

    def test_text_in_parts(self) -> None:
        """Characters may be cut by chunks and by fragments."""
        content = "aß\u20ac\U0001d11e\U0010ffff!".encode() * 3
        whole = frame(content, masked=True)
        self.assertEqual(split(whole, masked=True), [Piece(whole, "text", content)])
        for cut in range(len(content) + 1):
            data = frame(content[:cut], final=False, masked=True) + frame(content[cut:], 0, masked=True)
            self.assertEqual(split(data + data, masked=True), [Piece(data, "text", content)] * 2)
            self.assertRaises(MessageInvalid, split, frame(content[:cut] + b"\xf0\x9d", masked=True), masked=True)

    def test_invalid_text_is_found_before_its_end(self) -> None:
        start = "ok \u20ac".encode()
        for invalid in (b"\x80", b"\xc0", b"\xed\xa0\x80", b"\xf4\x90", b"\xf5", b"\xfe", b"\xe2a"):
            for masked in (False, True):
                with self.subTest(invalid, masked=masked):
                    data = frame(start + invalid + bytes(50), masked=masked)
                    parted = frame(start, final=False, masked=masked) + frame(invalid + b" more", 0, masked=masked)
                    for message in (data[:-50], parted[:-5]):
                        splitter = MessageSplitter(masked=masked, max_size=1000)
                        self.assertEqual(pieces(splitter, message[: -len(invalid)]), [])
                        error = self.assertRaises(MessageInvalid, pieces, splitter, message[-len(invalid) :])
                        self.assertTrue(error.not_text)

    def test_bytes_are_not_text(self) -> None:
        data = frame(b"\xff", 2, final=False) + frame(b"\xff", 0)
        self.assertEqual(split(data), [Piece(data, "binary", b"\xff\xff")])

    def test_an_incomplete_frame_at_the_end_is_discarded(self) -> None:
        splitter = MessageSplitter(masked=False, max_size=100)
        self.assertEqual(pieces(splitter, frame(b"more")[:-1]), [])
        splitter.receive_end()
        self.assertEqual((pieces(splitter), splitter.held), ([], 0))

    def test_invalid_frames(self) -> None:
        for name, data in {
            "unknown opcode": frame(b"", 3),
            "unknown control opcode": frame(b"", 11),
            "long control frame": frame(b"x" * 126, 9),
            "fragmented control frame": frame(b"", 9, final=False),
            "control frame with a reserved bit": frame(b"", 9, bits=0x40),
            "reserved bit without compression": frame(b"", bits=0x40),
            "second reserved bit": frame(b"", bits=0x20),
            "third reserved bit": frame(b"", bits=0x10),
            "masked": frame(b"", masked=True),
            "continuation of nothing": frame(b"", 0),
            "message inside a message": frame(b"", final=False) + frame(b""),
            "long form of a short length": b"\x81\x7e\x00\x05hello",
            "longest form of a length": b"\x81\x7f" + (65535).to_bytes(8, "big"),
            "negative length": b"\x81\x7f\xff" + bytes(7),
        }.items():
            with self.subTest(name):
                error = self.assertRaises(MessageInvalid, split, data)
                self.assertFalse(error.not_text)
        self.assertIn("not masked", self.assertRaises(MessageInvalid, split, frame(b""), masked=True).reason)
        error = self.assertRaises(MessageInvalid, split, frame(b"", 0, bits=0x40), takeover=True)
        error = self.assertRaises(MessageInvalid, split, frame(b"\xff"))
        self.assertTrue(error.not_text)

    def test_sizes(self) -> None:
        self.assertEqual(len(split(frame(b"x" * 1000))), 1)
        self.assertRaises(MessageTooLarge, split, frame(b"x" * 1001)[:4])
        self.assertRaises(MessageTooLarge, split, frame(b"x" * 600, final=False) + frame(b"x" * 401, 0)[:4])
        empty = frame(b"", final=False) + frame(b"", 0, final=False) * (1 << 15)
        self.assertRaises(MessageTooLarge, pieces, MessageSplitter(masked=False, max_size=1000), empty)

    def test_short_fragments(self) -> None:
        """Fragments may have the length of their headers; shorter ones are limited."""
        for size, masked, is_valid in ((6, True, True), (2, False, True), (3, True, False)):
            with self.subTest(size, masked=masked):
                parts = [frame(b"x" * size, opcode=0, final=False, masked=masked)] * 25_000
                data = frame(b"", final=False, masked=masked) + b"".join(parts) + frame(b"", 0, masked=masked)
                splitter = MessageSplitter(masked=masked, max_size=1 << 20)
                if is_valid:
                    (piece,) = pieces(splitter, data)
                    self.assertEqual((piece.data, len(piece.content), splitter.held), (data, 25_000 * size, 0))
                else:
                    error = self.assertRaises(MessageTooLarge, pieces, splitter, data)
                    self.assertIn("fragments", error.reason)


class CompressionTests(SynchronousTestCase):
    """permessage-deflate."""

    def test_context_takeover(self) -> None:
        deflater = Deflater()
        content = b"the same words again " * 3
        data = deflater.message(content) + deflater.message(content) + frame(b"plain")
        first, second, third = split(data, takeover=True)
        self.assertEqual((first.content, second.content, third.content), (content, content, b"plain"))
        self.assertLess(len(second.data), len(first.data))
        self.assertRaises(MessageInvalid, split, data, takeover=False)

    def test_without_context_takeover(self) -> None:
        data = Deflater().message(b"one") + Deflater().message(b"two", 2)
        self.assertEqual([piece.content for piece in split(data, takeover=False)], [b"one", b"two"])

    def test_the_last_block(self) -> None:
        """RFC 7692 section 7.2.3.4: some senders end their stream with each message."""
        for takeover in (False, True):
            stream = zlib.compressobj(9, zlib.DEFLATED, -15)
            payload = stream.compress(b"hello") + stream.flush()
            for last in (payload, payload + b"\x00"):
                data = frame(last, bits=0x40) * 2
                self.assertEqual([piece.content for piece in split(data, takeover=takeover)], [b"hello"] * 2)
            self.assertRaises(MessageInvalid, split, frame(payload + b"more", bits=0x40), takeover=takeover)

    def test_invalid_data(self) -> None:
        error = self.assertRaises(MessageInvalid, split, frame(b"\xff\xff\xff", bits=0x40), takeover=True)
        self.assertTrue(error.not_text)

    def test_decompressed_sizes(self) -> None:
        def size(content: bytes, max_size: int) -> int:
            splitter = MessageSplitter(masked=False, max_size=max_size, takeover=True)
            return len(pieces(splitter, Deflater().message(content))[0].content)

        self.assertEqual(size(b"x" * 5000, 5000), 5000)
        self.assertRaises(MessageTooLarge, size, b"x" * 5001, 5000)
        self.assertEqual(size(bytes(FREE_SIZE), 1 << 30), FREE_SIZE)
        bomb = self.assertRaises(MessageTooLarge, size, bytes(1 << 20), 1 << 30)
        self.assertIn("decompresses", bomb.reason)
        self.assertLess(MAX_RATIO, 1000, "zlib reaches 1030")


class TrackerTests(SynchronousTestCase):
    """Directions whose messages are not authorized."""

    def test_all_bytes_pass_immediately(self) -> None:
        data = b"".join(frame(b"x" * size, masked=masked) for size in (0, 5, 126, 70000) for masked in (False, True))
        for step in (1, 7, len(data)):
            tracker = FrameTracker()
            passed = b""
            for at in range(0, len(data), step):
                part = data[at : at + step]
                self.assertEqual(pieces(tracker, part), [Piece(part)])
                passed += part
            self.assertTrue(tracker.between_frames)
            tracker.receive_end()
            self.assertEqual((passed, tracker.held, pieces(tracker)), (data, 0, []))
        for cut in (1, 3, 7):
            tracker = FrameTracker()
            tracker.receive(frame(b"x" * 300, masked=True)[:cut])
            self.assertFalse(tracker.between_frames)


class EndingTests(SynchronousTestCase):
    """The Close frames for both sides."""

    def ending(self, error: EgressError, *, deflate: Deflate | None = None) -> tuple[bytes, bytes]:
        """The last bytes for the client and for the origin."""
        ending = WebSocketInspection(MessageObligation(), deflate).ending(error)
        return ending.client, ending.origin

    def test_codes(self) -> None:
        for error, code in (
            (DENIED, 1008),
            (MessageInvalid("bad"), 1002),
            (MessageInvalid("bad", not_text=True), 1007),
            (MessageTooLarge("big"), 1009),
            (AuthorizerUnavailable("down"), 1013),
        ):
            with self.subTest(code):
                client, origin = self.ending(error)
                self.assertEqual(client, frame(code.to_bytes(2, "big") + error.reason.encode(), 8))
                (piece,) = pieces(MessageSplitter(masked=True, max_size=1), origin)
                self.assertEqual(piece.data, origin)
                self.assertEqual(origin[6:], client[2:])

    def test_a_long_reason_is_cut_between_characters(self) -> None:
        client = close_frame(1008, "ä" * 100, masked=False)
        self.assertEqual(client, frame(b"\x03\xf0" + "ä".encode() * 61, 8))

    def test_inside_a_frame_that_passed(self) -> None:
        inspection = WebSocketInspection(MessageObligation(frozenset({Direction.CLIENT})), Deflate())
        self.assertIsInstance(inspection.client, MessageSplitter)
        self.assertIsInstance(inspection.origin, FrameTracker)
        self.assertNotEqual(inspection.ending(DENIED).client, b"")
        inspection.origin.receive(b"\x81")
        self.assertEqual(inspection.ending(DENIED).client, b"")

    def test_compression(self) -> None:
        inspection = WebSocketInspection(MessageObligation(), Deflate(client_takeover=False))
        once = Deflater().message(b"once", masked=True)
        for splitter, data in ((inspection.client, once), (inspection.client, once)):
            splitter.receive(data)
            piece = splitter.next_piece()
            assert piece is not None
            self.assertEqual(piece.content, b"once")
