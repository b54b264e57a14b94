"""Tests for L{egress.policy.source_text}."""

from __future__ import annotations

from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.source_text import SourceText, digest_of


class SourceTextTests(SynchronousTestCase):
    """The stored texts, and their digests."""

    def test_text(self) -> None:
        """A text is stored as it is, and takes less memory."""
        text = "version = 1\r\n# \u00e9 \U0001f600\n" * 1000
        stored = SourceText.of("p.toml", text)
        self.assertEqual((stored.where, stored.text), ("p.toml", text))
        self.assertLess(len(stored.packed), len(text) // 10)
        self.assertNotIn("version", repr(stored))

    def test_digest(self) -> None:
        """The digest of one file is that of sha256sum; with more files, each name and content counts."""
        one, other = SourceText.of("a", "x"), SourceText.of("b", "y")
        self.assertEqual(digest_of([one]), sha256(b"x").hexdigest())
        digests = {
            digest_of(each)
            for each in ([one], [one, other], [other, one], [one, SourceText.of("c", "y")], [SourceText.of("a", "y")])
        }
        self.assertEqual(len(digests), 5)
