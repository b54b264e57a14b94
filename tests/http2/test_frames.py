"""Tests for L{egress.http2.frames}."""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hyperframe.frame import Frame
from twisted.trial.unittest import SynchronousTestCase

from egress.http.sniff import PREFACE
from egress.http2.frames import MAX_CONTINUATIONS, FrameReader
from tests.http2 import frames
from tests.http2.frames import CONTINUATION, DATA, END_HEADERS, HEADERS, PADDED, PING, frame


class FrameReaderTests(SynchronousTestCase):
    """Frames in bytes that arrive in any pieces."""

    def setUp(self) -> None:
        self.reader = FrameReader(server=False, block_limit=100)
        self.reader.max_frame_size = 16384

    def read(self, data: bytes) -> list[Frame]:
        """Add bytes; return the complete frames."""
        self.reader.add_data(data)
        return list(self.reader)

    def assert_refused(self, data: bytes, code: ErrorCodes = ErrorCodes.PROTOCOL_ERROR) -> None:
        """The data is an error of the connection."""
        error = self.assertRaises(ProtocolError, self.read, data)
        self.assertEqual(error.error_code, code)

    def test_frames(self) -> None:
        found = self.read(frame(PING, 0, 0, b"12345678") + frame(DATA, 0, 1, b"abc"))
        self.assertEqual([one.type for one in found], [PING, DATA])

    def test_a_message_without_a_stream(self) -> None:
        """The highest bit of the identifier is ignored (RFC 9113 section 4.1)."""
        for stream in (0, 1 << 31):
            self.assert_refused(frame(DATA, 0, stream, b"abc"))
            self.setUp()

    def test_reserved_bit(self) -> None:
        (one, two) = self.read(frame(DATA, 1, 1 << 31 | 3, b"abc") + frames.headers(1 << 31 | 5))
        self.assertEqual((one.stream_id, set(one.flags), getattr(one, "data", b"")), (3, {"END_STREAM"}, b"abc"))
        self.assertEqual((two.stream_id, set(two.flags)), (5, {"END_STREAM", "END_HEADERS"}))

    def test_any_pieces(self) -> None:
        data = frame(PING, 0, 0, b"12345678") + frame(DATA, 0, 1, b"abc")
        found = [len(self.read(data[at : at + 1])) for at in range(len(data))]
        self.assertEqual((sum(found), found[16], found[-1]), (2, 1, 1))
        self.assertEqual(self.reader.buffered, 0)

    def test_waiting_frames(self) -> None:
        data = frame(PING, 0, 0, b"12345678")
        self.reader.add_data(data[:8])
        self.assertFalse(self.reader.has_frame)
        self.reader.add_data(data[8:12])
        self.assertFalse(self.reader.has_frame)
        self.reader.add_data(data[12:])
        self.assertTrue(self.reader.has_frame)

    def test_the_preface(self) -> None:
        self.reader = FrameReader(server=True, block_limit=100)
        self.reader.max_frame_size = 16384
        self.assertEqual(self.read(PREFACE[:10]), [])
        self.assertTrue(self.reader.preface_missing)
        self.assertEqual(len(self.read(PREFACE[10:] + frame(PING, 0, 0, b"12345678"))), 1)
        self.assertFalse(self.reader.preface_missing)

    def test_another_preface(self) -> None:
        self.reader = FrameReader(server=True, block_limit=100)
        self.assert_refused(b"GET / HTTP/1.1\r\n")

    def test_a_long_frame(self) -> None:
        """It is refused before its content arrives."""
        self.assert_refused(frame(DATA, 0, 1, b"x" * 16385)[:9], ErrorCodes.FRAME_SIZE_ERROR)

    def test_a_header_block(self) -> None:
        first, second, third = frame(HEADERS, 0, 1, b"a"), frame(CONTINUATION, 0, 1, b"b"), b""
        third = frame(CONTINUATION, END_HEADERS, 1, b"c")
        self.assertEqual(self.read(first + second), [])
        self.assertTrue(self.reader.in_block)
        (found,) = self.read(third)
        self.assertEqual(
            (getattr(found, "data", b""), "END_HEADERS" in found.flags, self.reader.in_block), (b"abc", True, False)
        )
        self.assertEqual(len(self.read(frame(HEADERS, END_HEADERS, 3, b"d"))), 1)

    def test_an_interrupted_header_block(self) -> None:
        for other in (frame(PING, 0, 0, b"12345678"), frame(CONTINUATION, 0, 3), frame(HEADERS, 0, 1)):
            with self.subTest(other):
                self.setUp()
                self.assert_refused(frame(HEADERS, 0, 1, b"a") + other)

    def test_a_continuation_of_nothing(self) -> None:
        """It is an error of the connection, whatever the state of its stream is."""
        self.assert_refused(frame(CONTINUATION, END_HEADERS, 1, b"a"))
        self.setUp()
        self.read(frame(HEADERS, END_HEADERS, 1, b"a"))
        self.assert_refused(frame(CONTINUATION, END_HEADERS, 1, b"b"))

    def test_a_long_header_block(self) -> None:
        calm = ErrorCodes.ENHANCE_YOUR_CALM
        self.assert_refused(frame(HEADERS, 0, 1, b"x" * 50) + frame(CONTINUATION, 0, 1, b"x" * 51), calm)

    def test_many_continuations(self) -> None:
        self.read(frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) * (MAX_CONTINUATIONS - 1))
        self.assert_refused(frame(CONTINUATION, 0, 1), ErrorCodes.ENHANCE_YOUR_CALM)

    def test_invalid_frames(self) -> None:
        self.assert_refused(frame(DATA, 0, 0, b"abc"))
        self.setUp()
        self.assert_refused(frame(DATA, PADDED, 1, b"\x09ab"))
        self.setUp()
        self.assert_refused(frame(PING, 0, 0, b"1234567"), ErrorCodes.FRAME_SIZE_ERROR)

    def test_unknown_frames(self) -> None:
        (found,) = self.read(frame(99, 0, 1, b"abc"))
        self.assertEqual(type(found).__name__, "ExtensionFrame")
        self.assertTrue(frames.REQUEST)
