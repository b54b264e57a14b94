"""Tests for L{egress.model.file_access}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.file_access import PRIVATE, FileAccess, FileMode


class FileAccessTests(SynchronousTestCase):
    """The permissions of a file."""

    def test_bits(self) -> None:
        """The owner can always read and write; other users never can."""
        self.assertEqual(PRIVATE.bits, 0o600)
        self.assertEqual([FileAccess(mode).bits for mode in FileMode], [0o600, 0o640, 0o660])
