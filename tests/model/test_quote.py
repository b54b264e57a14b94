"""Tests for L{egress.model.quote}."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import egress
from egress.model.quote import LONGEST, printable, quoted


class PrintableTests(SynchronousTestCase):
    """Text becomes one line that no terminal interprets."""

    def test_printable(self) -> None:
        self.assertEqual(printable("a b \xe4\u20ac"), "a b \xe4\u20ac")
        self.assertEqual(printable("a\r\nb\x1b[0m\u202e\udc80"), "a??b?[0m??")
        self.assertEqual(printable("a\nb", " "), "a b")


class QuotedTests(SynchronousTestCase):
    """A quotation is on one line, bounded, and without possible passwords."""

    def test_quoted(self) -> None:
        for text, expected in (
            ("", "''"),
            ("origin.test", "'origin.test'"),
            (b"caf\xe9", "'café'"),
            ("a\r\nb\x1b[0m", "'a??b?[0m'"),
            ("x" * LONGEST, f"'{'x' * LONGEST}'"),
            ("x" * (LONGEST + 1), f"'{'x' * (LONGEST - 3)}...'"),
            ("http://user:secret@a.test/", "'REDACTED@a.test/'"),
            ("user:sec@ret@a.test", "'REDACTED@a.test'"),
            ("/a?token=secret", "'/a?REDACTED'"),
            ("u@a.test?q=x@y", "'REDACTED@y'"),
            ("@", "'REDACTED@'"),
        ):
            with self.subTest(text):
                self.assertEqual(quoted(text), expected)

    @given(st.text(), st.text())
    def test_text_before_an_at_sign_is_redacted(self, before: str, behind: str) -> None:
        found = quoted(f"{before}hunter2@{behind}")
        self.assertTrue("hunter2" not in found or "hunter2" in behind, found)
        self.assertTrue(found.isprintable() and len(found) <= LONGEST + 2, found)


# The packages that read the input of clients, origins and callers; other modules quote values of the operator.
PACKAGES = (
    *("model", "http", "proxy", "relay", "upstream", "transport", "client_auth", "admin", "observability"),
    "authz_service",
)


class UseTests(SynchronousTestCase):
    """Only L{quoted} quotes the input of clients, origins and callers."""

    def test_no_other_quotations(self) -> None:
        root = Path(egress.__file__).parent
        self.assertEqual([package for package in PACKAGES if not (root / package / "__init__.py").exists()], [])
        found = [
            f"{path.relative_to(root)}: {line.strip()}"
            for package in PACKAGES
            for path in sorted((root / package).glob("*.py"))
            for line in path.read_text("utf-8").splitlines()
            if "!r}" in line
        ]
        self.assertEqual(found, [])
