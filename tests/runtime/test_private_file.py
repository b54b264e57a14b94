"""Tests for L{egress.runtime.private_file}."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.runtime.private_file import MAX_BYTES, ExposedFile, read_secret


class ReadSecretTests(SynchronousTestCase):
    """The accepted permissions of a file with a key."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_bytes(b"secret")

    def belongs_to(self, owner: int, reader: int, mode: int) -> None:
        """Make the file appear to belong to another user."""
        state = os.stat_result((0o100000 | mode, 1, 1, 1, owner, 0, 6, 0, 0, 0))
        self.patch(os, "fstat", lambda _: state)
        self.patch(os, "geteuid", lambda: reader)

    def test_own_file(self) -> None:
        for mode in (0o600, 0o400):
            self.path.chmod(mode)
            self.assertEqual(read_secret(self.path), b"secret")

    def test_missing_file(self) -> None:
        self.assertIsNone(read_secret(self.path.with_name("no")))

    def test_readable_by_other_users(self) -> None:
        for owner, reader in ((1000, 1000), (0, 0), (1000, 0)):
            for mode in (0o640, 0o620, 0o610, 0o604, 0o602, 0o601):
                with self.subTest(owner=owner, reader=reader, mode=mode):
                    self.belongs_to(owner, reader, mode)
                    error = self.assertRaises(ExposedFile, read_secret, self.path)
                    self.assertIn(f"chmod 600 {self.path}", error.reason)

    def test_group_readable_file_of_root(self) -> None:
        """Containers get their secrets as files of root that a group can read; further permissions are rejected."""
        self.belongs_to(0, 1000, 0o440)
        self.assertEqual(read_secret(self.path), b"secret")
        for mode in (0o460, 0o444, 0o450):
            self.belongs_to(0, 1000, mode)
            self.assertRaises(ExposedFile, read_secret, self.path)

    def test_size_limit(self) -> None:
        """A larger file is rejected."""
        self.path.write_bytes(b"x" * (MAX_BYTES + 1))
        self.path.chmod(0o600)
        self.assertEqual(len(read_secret(self.path) or b""), MAX_BYTES)
