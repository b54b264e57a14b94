"""Tests for L{egress.config.settings_table}."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.config.settings_table import SettingsTable
from egress.model.no_proxy import HostPattern


class SettingsTableTests(SynchronousTestCase):
    """Each error names the table and the fix."""

    def table(self, **table: Any) -> SettingsTable:
        return SettingsTable("f.toml, a", table, ("hosts", "name"), LookupError)

    def error(self, call: Any, *arguments: Any, **options: Any) -> str:
        return str(self.assertRaises(LookupError, call, *arguments, **options))

    def test_unknown_key(self) -> None:
        self.assertEqual(self.error(self.table, nam="x"), "f.toml, a: unknown key 'nam'; use hosts, name")

    def test_text(self) -> None:
        self.assertEqual(self.table(name="x").text("name"), "x")
        self.assertIsNone(self.table().text("name"))
        for value in (1, "", "a\0b", ["x"]):
            with self.subTest(value):
                self.assertEqual(self.error(self.table(name=value).text, "name"), "f.toml, a: 'name' must be a string")

    def test_flag(self) -> None:
        for value in (True, False, None):
            table = self.table() if value is None else self.table(name=value)
            self.assertIs(table.flag("name"), value)
        texts: tuple[Any, ...] = ("true", 1, [])
        for text in texts:
            error = self.error(self.table(name=text).flag, "name")
            self.assertEqual(error, "f.toml, a: 'name' must be true or false")

    def test_path(self) -> None:
        """A relative path starts at the directory of the file."""
        for text, expected in (("b", "/a/b"), ("/c", "/c")):
            self.assertEqual(self.table(name=text).path("name", Path("/a")), Path(expected))
        self.assertIsNone(self.table().path("name", Path("/a")))

    def test_hosts(self) -> None:
        patterns = self.table(hosts=["a.test", "*.b.test:8443"]).hosts("be a list")
        expected = (HostPattern("a.test", False, True), HostPattern("b.test", True, False, 8443))
        self.assertEqual(patterns, expected)
        values: tuple[Any, ...] = (None, [], "a.test", {})
        for value in values:
            with self.subTest(value):
                error = self.error(self.table(hosts=value).hosts, "be a list")
                self.assertIn("f.toml, a: 'hosts' must be a list, as in", error)
        for host in (1, "*", "a b"):
            with self.subTest(host):
                error = self.error(self.table(hosts=[host]).hosts, "be a list")
                self.assertIn(f"f.toml, a: hosts {host!r}: ", error)

    def test_other_values(self) -> None:
        self.assertEqual((self.table(name=1).get("name"), self.table().get("name", 2)), (1, 2))
        self.assertEqual(str(self.table().error("is too old")), "f.toml, a: is too old")
