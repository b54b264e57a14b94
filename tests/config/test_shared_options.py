"""Tests for L{egress.config.shared_options}."""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.load import load_config
from egress.config.model import ConfigError
from egress.config.options import OPTIONS
from egress.config.shared import SharedSettings
from egress.config.shared_options import SHARED_OPTIONS
from egress.model.shared_location import SharedLocation

KEY = "0123456789abcdef" * 4


class SharedOptionsTests(SynchronousTestCase):
    """The options for the state that replicas share."""

    def file(self, text: str) -> str:
        """Write a file, and return its name."""
        path = Path(self.mktemp())
        path.write_text(text, encoding="utf-8")
        return str(path)

    def test_part_of_the_table(self) -> None:
        self.assertLessEqual(set(SHARED_OPTIONS), set(OPTIONS))
        fields = {f"shared.{field.name}" for field in attrs.fields(SharedSettings)}
        self.assertEqual({field for option in SHARED_OPTIONS for field in option.fields}, fields)

    def test_values(self) -> None:
        given = {
            "shared": ["rediss+sentinel://ci@a.test/m"],
            "shared-key-file": [self.file(f"{KEY}\n")],
            "shared-password-file": [self.file("s3cret\n")],
            "shared-sentinel-password-file": [self.file("hidden\n")],
            "shared-timeout": ["2s"],
        }
        found = load_config(given, {}).shared
        expected = SharedSettings(
            location=SharedLocation.parse("rediss+sentinel://ci@a.test/m"),
            key=KEY.encode(),
            password="s3cret",
            sentinel_password="hidden",
            timeout=2.0,
        )
        self.assertEqual(found, expected)
        del given["shared-password-file"]
        del given["shared-sentinel-password-file"]
        environ = {"EGRESS_SHARED_PASSWORD": "other", "EGRESS_SHARED_SENTINEL_PASSWORD": "third"}
        found = load_config(given, environ).shared
        self.assertEqual((found.password, found.sentinel_password), ("other", "third"))
        self.assertEqual(load_config({"shared": ["none"]}, {}).shared, SharedSettings())

    def test_invalid(self) -> None:
        location = "redis://a.test"
        for given, option, remedy in (
            ({"shared": [location]}, "--shared", "set --shared-key-file"),
            ({"shared": [location], "shared-key-file": [self.file("short")]}, "--shared-key-file", "32 random bytes"),
            ({"shared": [location], "shared-key-file": [self.file("x" * 5000)]}, "--shared-key-file", "4096 bytes"),
            ({"shared": [location], "shared-key-file": ["/nonexistent"]}, "--shared-key-file", "No such file"),
            ({"shared": ["redis://:s3cret@a.test"]}, "--shared", "--shared-password-file"),
            ({"shared-timeout": ["1s"]}, "--shared-timeout", "set --shared"),
        ):
            with self.subTest(str(given)[:80]):
                error = self.assertRaises(ConfigError, load_config, given, {})
                self.assertEqual(error.option, option)
                self.assertIn(remedy, error.remedy)
                self.assertNotIn("s3cret", str(error))
