"""Tests for L{egress.cli.lock}."""

from __future__ import annotations

import json
from pathlib import Path

from egress.cli import main as cli
from tests.cli.running import CommandTestCase, Terminal
from tests.policy.audit import audit_line

A, B = audit_line("GET", "https://a.test/x"), audit_line("POST", "https://b.test/y/17")
DENIED = audit_line("GET", "https://c.test/", verdict="deny", reason="not there")


class LockCommandTests(CommandTestCase):
    """Recording and verification."""

    def setUp(self) -> None:
        super().setUp()
        self.lock = str(self.directory / "egress.lock")
        self.first = self.write("first", A + DENIED)
        self.second = self.write("second", A + B)

    def text(self) -> str:
        return Path(self.lock).read_text("utf-8")

    def test_record(self) -> None:
        status, out, err = self.run_egress("lock", "record", self.first, "--lock", self.lock)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(
            out, f"! GET     https://c.test  1 request not forwarded: not there\n{self.lock}: 1 destination\n"
        )
        self.assertEqual(self.text(), "egress-lock 1\ndetail method\n\nGET     https://a.test\n")
        self.assertEqual(self.run_egress("lock", "record", self.first, "--lock", "-"), (0, self.text(), ""))
        self.run_egress("lock", "record", self.second, "--lock", self.lock, "--detail", "path")
        self.assertIn("POST    https://b.test/y/*", self.text())

    def test_verify(self) -> None:
        self.run_egress("lock", "record", self.first, "--lock", self.lock)
        status, out, _ = self.run_egress("lock", "verify", "--lock", self.lock, self.first)
        refused = "! GET     https://c.test  1 request not forwarded: not there\n"
        self.assertEqual((status, out), (0, f"{refused}{self.lock}: 1 destination, none of them new\n"))
        status, out, _ = self.run_egress("lock", "verify", "--lock", self.lock, self.second)
        self.assertEqual(status, 1)
        self.assertEqual(
            out,
            "+ POST    https://b.test  1 request, first at 2026-11-25T12:00:00.000Z, e.g. /y/17\n"
            f"{self.lock}: 1 new destination; if intended, add with: egress lock verify --update\n",
        )
        self.assertNotIn("b.test", self.text())

    def test_update(self) -> None:
        self.run_egress("lock", "record", self.first, "--lock", self.lock)
        for words in ("1 new destination added", "2 destinations, none of them new"):
            status, out, _ = self.run_egress("lock", "verify", "--update", "--lock", self.lock, self.second)
            self.assertEqual(status, 0)
            self.assertIn(words, out)
        self.assertIn("POST    https://b.test\n", self.text())

    def test_fail_on_refused(self) -> None:
        """A job that tried something else can fail, although nothing left."""
        self.run_egress("lock", "record", self.first, "--lock", self.lock)
        verify = ("lock", "verify", "--lock", self.lock, "--fail-on-refused")
        status, out, _ = self.run_egress(*verify, self.first)
        self.assertEqual(status, 1)
        self.assertIn("1 destination with refused requests, which --fail-on-refused does not permit\n", out)
        self.assertEqual(self.run_egress(*verify, self.write("allowed", A))[0], 0)

    def test_strict(self) -> None:
        self.run_egress("lock", "record", self.second, "--lock", self.lock)
        status, out, _ = self.run_egress("lock", "verify", "--lock", self.lock, self.first)
        self.assertEqual(status, 0)
        self.assertIn("- POST    https://b.test  in the lock file, without requests", out)
        status, out, _ = self.run_egress("lock", "verify", "--strict", "--lock", self.lock, self.first)
        self.assertEqual(status, 1)
        self.assertIn("1 destination without requests, which --strict does not permit", out)

    def test_json(self) -> None:
        refused = {
            "method": "GET",
            "url": "https://c.test",
            "requests": 1,
            "first": "2026-11-25T12:00:00.000Z",
            "example": "not there",
        }
        status, out, _ = self.run_egress("lock", "record", self.first, "--lock", self.lock, "--json")
        self.assertEqual((status, json.loads(out)), (0, {"lock": self.lock, "destinations": 1, "refused": [refused]}))
        verify = ("lock", "verify", "--lock", self.lock, "--json")
        status, out, _ = self.run_egress(*verify, self.first)
        same = {"lock": self.lock, "destinations": 1, "new": [], "unseen": [], "refused": [refused]}
        self.assertEqual((status, json.loads(out)), (0, {**same, "updated": False, "failed": False}))
        status, out, _ = self.run_egress(*verify, self.second)
        found = json.loads(out)
        self.assertEqual((status, found["failed"], found["updated"]), (1, True, False))
        self.assertEqual([(each["method"], each["url"]) for each in found["new"]], [("POST", "https://b.test")])
        status, out, _ = self.run_egress(*verify, "--update", self.second)
        found = json.loads(out)
        self.assertEqual((status, found["failed"], found["updated"]), (0, False, True))
        status, out, _ = self.run_egress(*verify, "--strict", self.first)
        found = json.loads(out)
        self.assertEqual((status, found["unseen"]), (1, [{"method": "POST", "url": "https://b.test"}]))
        self.assertEqual(self.run_egress("lock", "record", self.first, "--lock", "-", "--json")[0], 2)

    def test_misused(self) -> None:
        for content, words in (
            (None, "does not exist; create it with: egress lock record"),
            (b"garbage", "is not a lock file"),
            (b"\xff", "is not UTF-8"),
            (b"#" * (17 * 1024 * 1024), "not a lock file"),
        ):
            if content is not None:
                self.write("egress.lock", content)
            status, out, err = self.run_egress("lock", "verify", "--lock", self.lock, self.first)
            self.assertEqual((status, out), (2, ""))
            self.assertIn(words, err)
        status, _, err = self.run_egress("lock", "verify", "--lock", str(self.directory), self.first)
        self.assertEqual(status, 2)
        self.assertIn("cannot be read", err)

    def test_unreadable_lines(self) -> None:
        """They may contain new destinations, so nothing is verified."""
        self.run_egress("lock", "record", self.first, "--lock", self.lock)
        log = self.write("damaged", A + audit_line("*", "https://elsewhere.test/"))
        for more in ((), ("--update",)):
            status, out, err = self.run_egress("lock", "verify", "--lock", self.lock, *more, log)
            self.assertEqual((status, out), (2, ""))
            self.assertIn("1 of 2 lines could not be read: 2 (invalid method)", err)
            self.assertIn("nothing can be verified", err)

    def test_colors(self) -> None:
        """Only on a terminal, unless colors are requested."""
        self.run_egress("lock", "record", self.first, "--lock", self.lock)
        arguments = ["lock", "verify", "--lock", self.lock, self.second]
        for environ, colored in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
            out = Terminal()
            self.assertEqual(cli.main(arguments, environ, out), 1)
            self.assertEqual("\x1b[31m+ POST" in out.getvalue(), colored)
            self.assertEqual("\x1b" in out.getvalue(), colored)
