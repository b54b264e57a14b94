"""Tests for L{egress.policy.parse.toml_reader}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.parse.toml_reader import Document, PolicyError, Table, is_a, nearest


class TableTests(SynchronousTestCase):
    """Strict reading of tables."""

    def table(self, text: str = "[rules]\n\nkey = 1", **values: object) -> Table:
        return Table(Document("p.toml", text, {}), ("rules",), "rule x", values, ("key", "keys"))

    def test_place(self) -> None:
        table = self.table(key=1)
        self.assertEqual(table.error("no", "key").reason, "p.toml:3: rule x: no")
        self.assertEqual(table.error("no", "other").reason, "p.toml:1: rule x: no")

    def test_unknown(self) -> None:
        for key, expected in (("Key", "did you mean 'key'?"), ("zzz", "use key, keys")):
            error = self.assertRaises(PolicyError, self.table, **{key: 1})
            self.assertEqual(error.reason, f"p.toml:1: rule x: {key!r} is not known here; {expected}")

    def test_booleans_are_not_numbers(self) -> None:
        self.assertFalse(is_a(True, int))
        self.assertTrue(is_a(True, bool))
        self.assertTrue(is_a(1, int))

    def test_nearest(self) -> None:
        self.assertEqual(nearest("METHOD", ["methods", "paths"]), "did you mean 'methods'?")
        self.assertEqual(nearest("x", ["b", "a"]), "use a, b")
