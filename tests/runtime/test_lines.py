"""Tests for L{egress.runtime.lines}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.runtime.lines import Lines


class LinesTests(SynchronousTestCase):
    """A stream is split into lines."""

    def setUp(self) -> None:
        self.taken: list[bytes] = []
        self.lost: list[None] = []
        self.lines = Lines(self.taken.append, lambda: self.lost.append(None))

    def test_pieces(self) -> None:
        for piece in (b"on", b"e\ntwo\n\nth", b"ree", b"\n"):
            self.lines.feed(piece)
        self.lines.end()
        self.assertEqual((self.taken, self.lost), ([b"one", b"two", b"", b"three"], []))

    def test_an_incomplete_line(self) -> None:
        self.lines.feed(b"one\ntw")
        self.lines.end()
        self.assertEqual((self.taken, self.lost), ([b"one"], [None]))

    def test_a_line_that_is_too_long(self) -> None:
        for _ in range(40):
            self.lines.feed(b"x" * 65536)
        self.assertEqual(self.lost, [None])
        self.lines.feed(b"x\ntwo\n" + b"x" * 2_000_000)
        self.assertEqual((self.taken, self.lost), ([b"two"], [None, None]))
        self.lines.end()
        self.assertEqual(self.lost, [None, None])
