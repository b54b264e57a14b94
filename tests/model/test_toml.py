"""Tests for L{egress.model.toml}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.toml import NotToml, parse_toml


class ParseTests(SynchronousTestCase):
    """All callers get the same documents, and one kind of error."""

    def test_document(self) -> None:
        self.assertEqual(parse_toml('a = 1\n[b]\nc = ["d"]\n'), {"a": 1, "b": {"c": ["d"]}})

    def test_not_toml(self) -> None:
        """The message has one line, and names the position."""
        for text in ("a = 1\nb = ", 'a = 1\nb = "\x01"', "a = 1\nb\t\t= 9" + "9" * 5000):
            with self.subTest(text[:20]):
                error = self.assertRaises(NotToml, parse_toml, text)
                self.assertEqual(len(str(error).splitlines()), 1)
                self.assertIsNone(error.__cause__)
        self.assertIn("at line 2, column ", str(self.assertRaises(NotToml, parse_toml, "a = 1\nb = ?")))

    def test_nesting(self) -> None:
        self.assertRaises(NotToml, parse_toml, "a = " + "[" * 100_000)
