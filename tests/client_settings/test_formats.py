"""Tests for L{egress.client_settings.formats}."""

from __future__ import annotations

import json
import shlex

from twisted.trial.unittest import SynchronousTestCase

from egress.client_settings.formats import WRITERS, to_dotenv, to_fish, to_github, to_json, to_sh

AWKWARD = 'it\'s $HOME \\ "x" `y`'


class FormatTests(SynchronousTestCase):
    """Each syntax preserves the values."""

    def test_sh(self) -> None:
        text = to_sh({"A": AWKWARD, "B": "2"}, ("C", "D"))
        lines = [shlex.split(line) for line in text.splitlines()]
        self.assertEqual(lines, [["export", f"A={AWKWARD}"], ["export", "B=2"], ["unset", "C", "D"]])

    def test_fish(self) -> None:
        self.assertEqual(to_fish({"A": "it's \\"}, ("C",)), "set -gx A 'it\\'s \\\\'\nset -e C\n")

    def test_dotenv(self) -> None:
        """A value in single quotes has no escapes, and one in double quotes has some."""
        self.assertEqual(to_dotenv({"A": "a $b", "B": "it's $5"}, ("C",)), "A='a $b'\nB=\"it's \\$5\"\nC=''\n")

    def test_github(self) -> None:
        """A value cannot set another variable."""
        self.assertEqual(to_github({"A": "1=2"}, ("C",)), "A=1=2\nC=\n")
        text = to_github({"A": "1\nEND_0\nPATH=/evil"}, ())
        self.assertEqual(text, "A<<END_1\n1\nEND_0\nPATH=/evil\nEND_1\n")

    def test_json(self) -> None:
        self.assertEqual(json.loads(to_json({"A": AWKWARD}, ("C",))), {"A": AWKWARD, "C": None})

    def test_all(self) -> None:
        for name, write in WRITERS.items():
            with self.subTest(name):
                self.assertIn("A", write({"A": "1"}, ("B",)))
                self.assertTrue(write({"A": "1"}, ("B",)).endswith("\n"))
