"""Tests for L{egress.grpc.framing}."""

from __future__ import annotations

import base64

from twisted.trial.unittest import SynchronousTestCase

from egress.grpc.framing import MAX_TRAILERS, Frame, FrameReader, MalformedFrame, MessageTooLarge, TextDecoder


def read(reader: FrameReader, *pieces: bytes) -> list[Frame]:
    """Return the frames in pieces of content."""
    found = []
    for piece in pieces:
        reader.feed(piece)
        while (frame := reader.next_frame()) is not None:
            found.append(frame)
    return found


class FrameTests(SynchronousTestCase):
    """The frames of gRPC."""

    FRAMES = (Frame(b"one"), Frame(b""), Frame(b"zipped", compressed=True))
    CONTENT = b"\0\0\0\0\3one" + b"\0\0\0\0\0" + b"\1\0\0\0\6zipped"

    def test_encoding(self) -> None:
        self.assertEqual(b"".join(frame.encode() for frame in self.FRAMES), self.CONTENT)
        self.assertEqual(Frame(b"a:b\r\n", is_trailers=True).encode(), b"\x80\0\0\0\5a:b\r\n")

    def test_any_pieces(self) -> None:
        for size in range(1, len(self.CONTENT) + 1):
            reader = FrameReader(10)
            pieces = [self.CONTENT[at : at + size] for at in range(0, len(self.CONTENT), size)]
            self.assertEqual(tuple(read(reader, *pieces)), self.FRAMES)
            self.assertTrue(reader.is_at_boundary)
            reader.finish()

    def test_end_within_a_message(self) -> None:
        reader = FrameReader(10)
        self.assertEqual(read(reader, b"\0\0\0\0\2a"), [])
        self.assertFalse(reader.is_at_boundary)
        self.assertRaises(MalformedFrame, reader.finish)

    def test_unknown_flags(self) -> None:
        for flag in (2, 0x80, 0xFF):
            self.assertRaises(MalformedFrame, read, FrameReader(10), bytes((flag,)))
        for flag in (2, 0x40, 0x82):
            self.assertRaises(MalformedFrame, read, FrameReader(10, web=True), bytes((flag,)))

    def test_size_limit(self) -> None:
        self.assertEqual(read(FrameReader(3), b"\0\0\0\0\3abc"), [Frame(b"abc")])
        # The limit holds before the message is here.
        error = self.assertRaises(MessageTooLarge, read, FrameReader(3), b"\0\xff\xff\xff\xff")
        self.assertEqual(str(error), "a message has 4,294,967,295 bytes; the limit is 3")

    def test_trailers_of_web(self) -> None:
        content = Frame(b"one").encode() + Frame(b"grpc-status:0\r\n", is_trailers=True).encode()
        frames = read(FrameReader(10, web=True), content)
        self.assertEqual(frames, [Frame(b"one"), Frame(b"grpc-status:0\r\n", is_trailers=True)])

    def test_nothing_follows_the_trailers(self) -> None:
        trailers = Frame(b"", is_trailers=True).encode()
        self.assertRaises(MalformedFrame, read, FrameReader(10, web=True), trailers + b"\0")

    def test_size_limit_of_trailers(self) -> None:
        prefix = b"\x80" + (MAX_TRAILERS + 1).to_bytes(4, "big")
        self.assertRaises(MessageTooLarge, read, FrameReader(1 << 20, web=True), prefix)


class TextTests(SynchronousTestCase):
    """The base64 of gRPC-Web."""

    def test_parts_with_padding(self) -> None:
        # Each frame can be encoded on its own.
        text = base64.b64encode(b"a") + base64.b64encode(b"bc") + base64.b64encode(b"def") + base64.b64encode(b"ghij")
        for size in range(1, len(text) + 1):
            decoder = TextDecoder()
            pieces = [decoder.decode(text[at : at + size]) for at in range(0, len(text), size)]
            self.assertEqual(b"".join(pieces), b"abcdefghij")
            decoder.finish()

    def test_not_base64(self) -> None:
        for text in (b"YWI!", b"Y=Jj", b"====", b"Y===", b"\xff\xff\xff\xff"):
            self.assertRaises(MalformedFrame, TextDecoder().decode, text)

    def test_incomplete_group(self) -> None:
        decoder = TextDecoder()
        self.assertEqual(decoder.decode(b"YWJjZ"), b"abc")
        self.assertRaises(MalformedFrame, decoder.finish)
