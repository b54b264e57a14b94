"""Tests for L{egress.cli.audit_input}."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import attrs

from egress.cli.audit_input import read_audit
from egress.cli.errors import Misused
from egress.policy.learn.audit_reader import MAX_LINE
from egress.store.sqlite import open_store
from tests.cli.running import CommandTestCase
from tests.observability.records import ALLOWED
from tests.policy.audit import audit_line

A, B = audit_line("GET", "http://a.test/"), audit_line("GET", "http://b.test/")


class AuditInputTests(CommandTestCase):
    """Files are read one after the other."""

    def read(self, *names: str) -> tuple[list[str], str]:
        err = io.StringIO()
        self.patch(sys, "stderr", err)
        return [line.url for line in read_audit(names)], err.getvalue()

    def test_files(self) -> None:
        found, said = self.read(self.write("a", A + b"\n" + B), self.write("b", A))
        self.assertEqual((found, said), (["http://a.test/", "http://b.test/", "http://a.test/"], ""))

    def test_empty(self) -> None:
        """A job that bypassed the proxy must not look like one that contacted no new destination."""
        name = self.write("empty", b"")
        self.assertEqual(self.read(name), ([], f"egress: {name}: is empty; does the job use the proxy?\n"))

    def test_standard_input(self) -> None:
        self.patch(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(A)))
        self.assertEqual(self.read("-"), (["http://a.test/"], ""))

    def test_store(self) -> None:
        """The records of an audit store are read from the oldest one on."""
        path = self.directory / "audit.db"
        store = open_store(path)
        self.addCleanup(store.close)
        store.append([attrs.evolve(ALLOWED, request_id="b", time=ALLOWED.time + 1, url="http://b.test/"), ALLOWED])
        found, said = self.read(f"sqlite:{path}", self.write("a", A))
        self.assertEqual((found[1:], said), (["http://b.test/", "http://a.test/"], ""))
        self.assertTrue(found[0].startswith("https://api.example.com/"))

    def test_bad_lines(self) -> None:
        """Invalid lines are reported with their numbers; a line that is too long counts as one and is not stored."""
        name = self.write("a", A + b"x\n" + b"y" * (3 * MAX_LINE) + b"\n" + B)
        found, said = self.read(name)
        self.assertEqual(found, ["http://a.test/", "http://b.test/"])
        self.assertEqual(said, f"egress: {name}: 2 of 4 lines could not be read: 2 (not JSON), 3 (too long)\n")

    def test_a_long_line_at_the_end(self) -> None:
        found, said = self.read(self.write("a", A + b"y" * (2 * MAX_LINE + 2)))
        self.assertEqual(found, ["http://a.test/"])
        self.assertIn("2 (too long)", said)

    def test_no_audit_log(self) -> None:
        for name, words in (
            (str(self.directory / "absent"), "cannot be read: No such file"),
            (str(self.directory), "cannot be read: Is a directory"),
            (self.write("pem", b"-----BEGIN\nabc\n"), "is not an audit log: 2 of 2 lines"),
            (f"sqlite:{self.directory}/absent", "does not exist: specify the file of --audit-store"),
        ):
            error = self.assertRaises(Misused, self.read, name)
            self.assertIn(words, str(error))
            self.assertEqual(error.exit_status, 2)
