"""Tests for L{egress.policy.source_text}."""

from __future__ import annotations

from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.source_text import SourceText, common_start, digest_of, version_of


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

    def test_digest_in_another_directory(self) -> None:
        """The same files have the same digest in each directory."""
        names = ("policy.toml", "policy.d/a.toml", "../shared/b.toml")
        digests = {
            digest_of([SourceText.of(f"{directory}{name}", name) for name in names])
            for directory in ("", "/etc/egress/", "https://policies.test/main.bundle/")
        }
        self.assertEqual(len(digests), 1)

    def test_common_start(self) -> None:
        for names, expected in ((["a/b", "a/c"], 2), (["x", "y"], 0), (["a", "ab", "abc"], 1), (["a", "a"], 1)):
            self.assertEqual(common_start(names), expected, names)

    def test_version(self) -> None:
        """The version is the beginning of the digest, after the version of a bundle."""
        texts = [SourceText.of("a", "x")]
        digest = sha256(b"x").hexdigest()[:12]
        self.assertEqual(version_of(texts), digest)
        self.assertEqual(version_of(texts, 7), f"7-{digest}")
        self.assertIsNone(version_of(()))
