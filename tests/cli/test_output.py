"""Tests for L{egress.cli.output}."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.cli.errors import Misused
from egress.cli.output import plain, write_file
from tests.cli.running import CommandTestCase
from tests.files import disk_full


class OutputFileTests(CommandTestCase):
    """Files are written completely or not at all."""

    def test_new(self) -> None:
        path = self.directory / "new"
        write_file(path, "é\n")
        self.assertEqual((path.read_text("utf-8"), path.stat().st_mode & 0o777), ("é\n", 0o644))

    def test_in_place(self) -> None:
        path = Path(self.write("old", b"old"))
        path.chmod(0o600)
        write_file(path, "new")
        self.assertEqual((path.read_text("utf-8"), path.stat().st_mode & 0o777), ("new", 0o600))

    def test_device(self) -> None:
        write_file(Path("/dev/null"), "gone")
        self.assertFalse(Path("/dev/null").is_file())

    def test_refused(self) -> None:
        error = self.assertRaises(Misused, write_file, self.directory / "absent" / "file", "x")
        self.assertIn("specify a writable file", str(error))

    def test_no_temporary_file_remains(self) -> None:
        self.patch(os, "replace", disk_full)
        self.assertRaises(Misused, write_file, self.directory / "file", "x")
        self.assertEqual(list(self.directory.iterdir()), [])


class PlainTests(SynchronousTestCase):
    """Printed text shows every character."""

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
