"""Tests for L{egress.proxy.request_body}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.body import CHUNKED, NO_BODY, BodyKind, Framing
from egress.proxy.request_body import RequestBody


class RequestBodyTests(SynchronousTestCase):
    """Collected content and its encoding."""

    def test_none(self) -> None:
        content = RequestBody(NO_BODY, 10)
        self.assertTrue(content.over)
        self.assertIsNone(content.for_decision())
        self.assertEqual((content.encode_collected(), content.sent), (b"", 0))

    def test_announced(self) -> None:
        for length, oversize in ((10, False), (11, True)):
            self.assertEqual(RequestBody(Framing(BodyKind.LENGTH, length), 10).announced_oversize, oversize)
        self.assertFalse(RequestBody(CHUNKED, 10).announced_oversize)

    def test_collected(self) -> None:
        content = RequestBody(Framing(BodyKind.LENGTH, 6), 10)
        self.assertFalse(content.over or content.collected)
        content.collect(b"abc")
        content.collect(b"def")
        self.assertEqual(content.for_decision(), b"abcdef")
        self.assertTrue(content.collected)
        self.assertFalse(content.oversize or content.streamed)
        content.finish(())
        for _ in range(2):
            self.assertEqual((content.encode_collected(), content.sent), (b"abcdef", 6))
        content.forget()
        self.assertFalse(content.collected)

    def test_length(self) -> None:
        """The length of unannounced content is known at the end, unless a part was streamed."""
        self.assertEqual(RequestBody(NO_BODY, 10).length, 0)
        self.assertEqual(RequestBody(Framing(BodyKind.LENGTH, 6), 10).length, 6)
        for pieces in ((), (b"abc", b"de")):
            content = RequestBody(CHUNKED, 10)
            for piece in pieces:
                content.collect(piece)
            self.assertIsNone(content.length)
            content.finish(())
            self.assertEqual(content.length, len(b"".join(pieces)))
        content = RequestBody(CHUNKED, 10)
        content.encode(b"abc")
        content.finish(())
        self.assertIsNone(content.length)

    def test_oversize(self) -> None:
        content = RequestBody(CHUNKED, 10)
        content.collect(b"0123456789")
        self.assertFalse(content.oversize)
        content.collect(b"A")
        self.assertTrue(content.oversize)
        self.assertEqual(content.for_decision(), b"0123456789")
        self.assertEqual(content.encode_collected(), b"b\r\n0123456789A\r\n")
        self.assertEqual(content.encode(b"BC"), b"2\r\nBC\r\n")
        self.assertTrue(content.streamed)
        content.finish(((b"X", b"y"),))
        self.assertEqual((content.encode_end(), content.sent), (b"0\r\nX: y\r\n\r\n", 13))

    def test_content_with_a_length_has_no_end_marker(self) -> None:
        content = RequestBody(Framing(BodyKind.LENGTH, 3), 10)
        self.assertEqual(content.encode(b"abc"), b"abc")
        content.finish(())
        self.assertEqual(content.encode_end(), b"")
