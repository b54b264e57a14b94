"""Tests for L{egress.config.policy_options}."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from egress.config.load import load_config
from egress.config.model import ConfigError, ProxyConfig
from egress.config.options import OPTIONS
from egress.config.policy_options import POLICY_OPTIONS
from egress.model.policy_url import PolicyUrl
from tests.files import make_directory

URL = "https://policies.test/policy.toml"


class PolicyOptionsTests(SynchronousTestCase):
    """The options for the embedded policy."""

    def setUp(self) -> None:
        self.directory = make_directory(self).absolute()
        self.file = self.directory / "file"
        self.file.write_text("token")

    def load(self, **options: str) -> ProxyConfig:
        """Load a configuration."""
        arguments = {name.replace("_", "-"): [value] for name, value in options.items()}
        return load_config(arguments, {}, directory=self.directory)

    def test_part_of_the_table(self) -> None:
        self.assertLessEqual(set(POLICY_OPTIONS), set(OPTIONS))

    def test_file_or_url(self) -> None:
        self.assertEqual(self.load(policy="file").policy, self.file)
        self.assertEqual(self.load(policy=URL).policy, PolicyUrl.parse(URL))
        self.assertEqual(self.load(policy="file", shadow_policy=URL).shadow_policy, PolicyUrl.parse(URL))
        self.assertRaises(ConfigError, self.load, policy="ftp://policies.test/x")
        self.assertRaises(ConfigError, self.load, policy="missing")

    def test_settings(self) -> None:
        config = self.load(
            policy=URL,
            policy_interval="5s",
            policy_token_file="file",
            policy_client_certificate="file",
            policy_key="file",
            policy_max_age="1h",
            policy_dir="state",
        )
        self.assertEqual((config.policy_interval, config.policy_max_age), (5.0, 3600.0))
        self.assertEqual((config.policy_token_file, config.policy_client_cert), (self.file, self.file))
        self.assertEqual((config.policy_key, config.policy_cache), (self.file, self.directory / "state"))

    def test_default_directory(self) -> None:
        self.assertEqual(self.load(ca_dir="ca").policy_cache, self.directory / "ca" / "policy")

    def test_not_a_token(self) -> None:
        self.file.write_text("two words")
        error = self.assertRaises(ConfigError, self.load, policy=URL, policy_token_file="file")
        self.assertIn("only the token", str(error))

    def test_without_a_url(self) -> None:
        for option, value in (
            ("policy_interval", "5s"),
            ("policy_token_file", "file"),
            ("policy_client_cert", "file"),
            ("policy_max_age", "1h"),
            ("policy_dir", "state"),
        ):
            with self.subTest(option):
                error = self.assertRaises(ConfigError, self.load, policy="file", **{option: value})
                self.assertIn("has no effect without the URL of a policy", str(error))
        error = self.assertRaises(ConfigError, self.load, policy_key="file")
        self.assertIn("has no effect without a policy", str(error))

    def test_an_application(self) -> None:
        for text, expected in ((URL, PolicyUrl.parse(URL)), ("policy.toml", Path("policy.toml"))):
            self.assertEqual(ProxyConfig(policy=cast(Any, text)).policy, expected)
