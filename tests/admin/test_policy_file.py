"""Tests for L{egress.admin.policy_file}."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from egress.admin.policy_file import NotSaved, save_policy, why_not_writable
from egress.runtime.safe_files import Folder
from tests.files import make_directory

OLD, NEW = "version = 1\n", "version = 1 # \u00e9\r\n"
DIGEST = sha256(OLD.encode()).hexdigest()


class SaveTests(SynchronousTestCase):
    """A policy file is replaced as a whole, or stays as it is."""

    def setUp(self) -> None:
        self.path = make_directory(self) / "policy.toml"
        self.path.write_text(OLD, "utf-8")
        self.unwritable: Path | None = None

    def refused(self, path: Path | None = None, digest: str = DIGEST) -> str:
        """Return why the file is not saved; it does not change, and no other file remains."""
        error = self.assertRaises(NotSaved, save_policy, path or self.path, digest, NEW)
        self.assertEqual(self.path.read_text("utf-8"), OLD)
        self.assertEqual([each.name for each in self.path.parent.iterdir() if each.suffix == ".tmp"], [])
        return str(error)

    def test_saved(self) -> None:
        """The permissions stay, the line ends are those of the text, and no other file remains."""
        for mode in (0o600, 0o664):
            self.path.write_text(OLD, "utf-8")
            self.path.chmod(mode)
            self.assertIsNone(why_not_writable(self.path))
            save_policy(self.path, DIGEST, NEW)
            self.assertEqual((self.path.read_bytes(), self.path.stat().st_mode & 0o777), (NEW.encode(), mode))
            self.assertEqual(list(self.path.parent.iterdir()), [self.path])

    def test_symbolic_link(self) -> None:
        """The target is replaced, not the link."""
        link = self.path.parent / "link.toml"
        link.symlink_to(self.path.name)
        save_policy(link, DIGEST, NEW)
        self.assertTrue(link.is_symlink())
        self.assertEqual(self.path.read_bytes(), NEW.encode())

    def test_changed_meanwhile(self) -> None:
        self.assertIn("was changed by someone else", self.refused(digest="0" * 64))

    def test_not_writable(self) -> None:
        # Tests may run as root, who can write everywhere.
        self.patch(os, "access", lambda path, _: path != self.unwritable)
        for each in (self.path.resolve(), self.path.parent.resolve()):
            self.unwritable = each
            self.assertEqual(self.refused(), f"the proxy has no permission to write to {each}")

    def test_owner(self) -> None:
        with mock.patch.object(os, "geteuid", return_value=12345):
            self.assertEqual(self.refused(), f"{self.path} belongs to another user than the proxy")

    def test_no_file(self) -> None:
        missing = self.path.parent / "missing.toml"
        self.assertIn("cannot be read: No such file", self.refused(missing))
        self.assertIn("is not a regular file", self.refused(self.path.parent))
        loop = self.path.parent / "loop"
        loop.symlink_to("loop")
        self.assertIn("cannot be read: ", self.refused(loop))

    def test_disk_error(self) -> None:
        with mock.patch.object(Folder, "put", side_effect=OSError(28, "No space left on device")):
            self.assertEqual(self.refused(), f"{self.path} cannot be written: No space left on device")
