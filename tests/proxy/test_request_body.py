"""Tests for L{egress.proxy.request_body}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.events import DELIMITED, END, NO_BODY, BodyKind, End, Framing
from egress.proxy.request_body import RequestBody


class RequestBodyTests(SynchronousTestCase):
    """Collected content and its counts."""

    def test_none(self) -> None:
        content = RequestBody(NO_BODY, 10)
        self.assertTrue(content.over)
        self.assertIsNone(content.for_decision())
        self.assertEqual((content.send_collected(), content.sent), ((b"", END), 0))

    def test_announced(self) -> None:
        for length, oversize in ((10, False), (11, True)):
            self.assertEqual(RequestBody(Framing(BodyKind.LENGTH, length), 10).announced_oversize, oversize)
        self.assertFalse(RequestBody(DELIMITED, 10).announced_oversize)

    def test_collected(self) -> None:
        content = RequestBody(Framing(BodyKind.LENGTH, 6), 10)
        self.assertFalse(content.over or content.collected)
        content.collect(b"abc")
        content.collect(b"def")
        self.assertEqual(content.for_decision(), b"abcdef")
        self.assertTrue(content.collected)
        self.assertFalse(content.oversize or content.streamed)
        content.finish(END)
        for _ in range(2):
            self.assertEqual((content.send_collected(), content.sent), ((b"abcdef", END), 6))
        content.forget()
        self.assertFalse(content.collected)

    def test_length(self) -> None:
        """The length of unannounced content is known at the end, unless a part was streamed."""
        self.assertEqual(RequestBody(NO_BODY, 10).length, 0)
        self.assertEqual(RequestBody(Framing(BodyKind.LENGTH, 6), 10).length, 6)
        for pieces in ((), (b"abc", b"de")):
            content = RequestBody(DELIMITED, 10)
            for piece in pieces:
                content.collect(piece)
            self.assertIsNone(content.length)
            content.finish(END)
            self.assertEqual(content.length, len(b"".join(pieces)))
        content = RequestBody(DELIMITED, 10)
        content.stream(b"abc")
        content.finish(END)
        self.assertIsNone(content.length)

    def test_oversize(self) -> None:
        content = RequestBody(DELIMITED, 10)
        content.collect(b"0123456789")
        self.assertFalse(content.oversize)
        content.collect(b"A")
        self.assertTrue(content.oversize)
        self.assertEqual(content.for_decision(), b"0123456789")
        self.assertEqual(content.send_collected(), (b"0123456789A", None))
        content.stream(b"BC")
        self.assertTrue(content.streamed)
        end = End(((b"X", b"y"),))
        content.finish(end)
        self.assertEqual((content.end, content.sent), (end, 13))

    def test_trailers(self) -> None:
        """Hidden trailers are not sent, and do not count."""
        content = RequestBody(DELIMITED, 10)
        self.assertEqual(content.trailer_size, 0)
        content.finish(End(((b"X-Sum", b"7"), (b"X-Key", b"secret"))))
        self.assertEqual(content.trailer_size, len(b"X-Sum: 7\r\nX-Key: secret\r\n"))
        content.hidden = frozenset({b"x-key"})
        self.assertEqual(content.end, End(((b"X-Sum", b"7"),)))
        self.assertEqual(content.trailer_size, len(b"X-Sum: 7\r\n"))
        self.assertEqual(content.collected_size, content.trailer_size)
