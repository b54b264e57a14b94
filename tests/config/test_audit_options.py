"""Tests for L{egress.config.audit_options}."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.config.audit_options import AUDIT_OPTIONS
from egress.config.load import load_config
from egress.config.model import ConfigError, ProxyConfig
from egress.config.options import OPTIONS
from egress.config.parsers import ParseContext
from tests.files import make_directory

URL = "postgresql://egress@db.test/audit"


class AuditOptionsTests(SynchronousTestCase):
    """The options about audit records."""

    def test_defaults(self) -> None:
        for option in AUDIT_OPTIONS:
            if option.clear:
                continue
            with self.subTest(option.name):
                (field,) = option.fields
                self.assertEqual(option.parse(option.default, ParseContext(Path())), getattr(ProxyConfig(), field))

    def test_part_of_the_table(self) -> None:
        self.assertLessEqual(set(AUDIT_OPTIONS), set(OPTIONS))

    def test_password(self) -> None:
        """The password comes from a file or a variable, and no text of the configuration has it."""
        path = make_directory(self) / "password"
        path.write_text("p: \u00e9\n", "utf-8")
        config = load_config({"audit-store": [URL], "audit-store-password-file": [str(path)]}, {})
        self.assertEqual((config.audit_store, config.audit_store_password), (URL, "p: \u00e9"))
        self.assertNotIn("\u00e9", repr(config))
        config = load_config({"audit-store": [URL]}, {"EGRESS_AUDIT_STORE_PASSWORD": "s3cret"})
        self.assertEqual(config.audit_store_password, "s3cret")
        path.write_text("two\nlines\n")
        error = self.assertRaises(
            ConfigError, load_config, {"audit-store": [URL], "audit-store-password-file": [str(path)]}, {}
        )
        self.assertIn("must contain only the password", str(error))

    def test_password_in_the_url(self) -> None:
        """A URL with a password would be visible to other users: it is refused, and not displayed."""
        for url in (
            "postgresql://u:s3cret@h/d",
            "postgresql://h/d?password=s3cret",
            "postgres://h/d?sslmode=require&sslpassword=s3cret",
        ):
            with self.subTest(url):
                error = self.assertRaises(ConfigError, load_config, {"audit-store": [url]}, {})
                self.assertIn("use --audit-store-password-file", str(error))
                self.assertNotIn("s3cret", str(error))
                self.assertNotIn("s3cret", str(self.assertRaises(ConfigError, ProxyConfig, audit_store=url)))

    def test_only_with_a_server(self) -> None:
        """These options have no effect on a file."""
        for option, value in (("audit-spool-size", "1m"), ("audit-store-password-file", __file__)):
            with self.subTest(option):
                error = self.assertRaises(
                    ConfigError, load_config, {"audit-store": ["sqlite:a.db"], option: [value]}, {}
                )
                self.assertIn(option, str(error))
