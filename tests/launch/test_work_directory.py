"""Tests for L{egress.launch.work_directory}."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.work_directory import PREFIX, remove_abandoned, work_directory
from tests.files import make_directory


class WorkDirectoryTests(SynchronousTestCase):
    """A directory exists as long as its process."""

    def setUp(self) -> None:
        self.parent = make_directory(self).absolute()
        self.patch(tempfile, "tempdir", str(self.parent))
        self.later = time.time() + 100

    def names(self) -> list[str]:
        return sorted(path.name for path in self.parent.iterdir())

    def abandoned(self, name: str = f"{PREFIX}old") -> Path:
        path = self.parent / name
        path.mkdir()
        (path / "ca.pem").write_text("x")
        return path

    def test_life(self) -> None:
        with work_directory() as path:
            self.assertEqual(path.parent, self.parent)
            self.assertEqual(path.stat().st_mode & 0o777, 0o755)
            (path / "ca.pem").write_text("x")
            remove_abandoned(self.parent, self.later)
            self.assertTrue((path / "ca.pem").exists(), "it is in use")
        self.assertEqual(self.names(), [])

    def test_abandoned(self) -> None:
        self.abandoned()
        remove_abandoned(self.parent, time.time())
        self.assertEqual(self.names(), [f"{PREFIX}old"], "it is new, and may not be locked yet")
        remove_abandoned(self.parent, self.later)
        self.assertEqual(self.names(), [])

    def test_the_next_command_removes_it(self) -> None:
        old = self.abandoned()
        os.utime(old, (1, 1))
        with work_directory():
            self.assertFalse(old.exists())

    def test_others(self) -> None:
        """Other files, links, and directories of other users remain."""
        target = self.abandoned("target")
        (self.parent / f"{PREFIX}link").symlink_to(target)
        (self.parent / f"{PREFIX}file").write_text("x")
        remove_abandoned(self.parent, self.later)
        other = self.abandoned()
        self.patch(os, "geteuid", lambda: os.getuid() + 1)
        remove_abandoned(self.parent, self.later)
        self.assertEqual(self.names(), [f"{PREFIX}file", f"{PREFIX}link", other.name, "target"])
        remove_abandoned(self.parent / "absent", self.later)
