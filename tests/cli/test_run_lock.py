"""Tests for L{egress.cli.run_lock}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.cli.errors import Misused
from egress.cli.run_lock import RunLock
from egress.policy.learn.audit_reader import read_line
from tests.files import make_directory
from tests.policy.audit import audit_line

A, B = audit_line("GET", "https://a.test/x"), audit_line("POST", "https://b.test/y")


class RunLockTests(SynchronousTestCase):
    """A lock file is written once, and compared afterwards."""

    def setUp(self) -> None:
        self.path = make_directory(self) / "egress.lock"

    def finish(self, *lines: bytes) -> tuple[list[str], list[str] | None]:
        lock = RunLock(self.path)
        for text in lines:
            line = read_line(text)
            assert line is not None
            lock.add(line)
        return lock.finish()

    def test_record_and_verify(self) -> None:
        self.assertEqual(self.finish(A), ([f"{self.path}: recorded 1 destination"], []))
        self.assertIn("GET     https://a.test\n", self.path.read_text())
        self.assertEqual(self.finish(A), ([f"{self.path}: no new destinations"], []))
        lines, new = self.finish(A, B)
        self.assertTrue(lines[0].startswith("+ POST    https://b.test  1 request"), lines)
        self.assertTrue(lines[1].startswith(f"{self.path}: 1 new destination. To accept, "))
        self.assertEqual((lines[2:], new), (["", "    POST    https://b.test"], ["POST    https://b.test"]))
        self.assertNotIn("b.test", self.path.read_text())
        with self.path.open("a") as file:
            file.write(f"{lines[3]}\n")
        self.assertEqual(self.finish(A, B)[1], [])

    def test_unusable(self) -> None:
        self.path.write_text("x")
        self.assertRaises(Misused, RunLock, self.path)

    def test_not_writable(self) -> None:
        """Without the file, the next run would record whatever it contacts."""
        self.path = self.path.parent / "absent" / "egress.lock"
        lines, new = self.finish(A)
        self.assertIn("specify a writable file", lines[0])
        self.assertIsNone(new)
