"""Tests for L{egress.tls.key_file}."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.tls.issuer import CaError
from egress.tls.key_file import read_key_file


class KeyFileTests(SynchronousTestCase):
    """L{read_key_file}."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_private(self) -> None:
        """A file that only its owner can read is accepted."""
        self.path.touch(0o600)
        self.path.write_bytes(b"key")
        self.assertEqual(read_key_file(self.path), b"key")

    def test_missing(self) -> None:
        """A missing file has no content."""
        self.assertIsNone(read_key_file(self.path))

    def test_exposed(self) -> None:
        """The error for a file that other users can read names the fix."""
        self.path.touch()
        self.path.chmod(0o644)
        error = self.assertRaises(CaError, read_key_file, self.path)
        self.assertEqual(
            error.reason, f"{self.path}: users other than its owner can access it; run chmod 600 {self.path}"
        )
