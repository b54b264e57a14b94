"""Tests for L{egress.cli.sanitize}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.cli.sanitize import plain


class PlainTests(SynchronousTestCase):
    """What is read is what is there."""

    def test_plain(self) -> None:
        for text, written in (
            ("http://a.test/\u00e9?q=1 x", "http://a.test/\u00e9?q=1 x"),
            ("a\x1b[2Jb", "a\\x1b[2Jb"),
            ("a\x9bb\r\n", "a\\x9bb\\r\\n"),
            ("a\u202eb\u200b", "a\\u202eb\\u200b"),
            ("\ud800", "\\ud800"),
        ):
            with self.subTest(written):
                self.assertEqual(plain(text), written)
