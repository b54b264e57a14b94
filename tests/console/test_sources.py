"""Tests for L{egress.console.sources}."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ProxyConfig
from tests.console.browser import ConsoleBrowser


class SourcesTests(SynchronousTestCase):
    """The policy file."""

    def test_policy_file(self) -> None:
        for config, expected in (
            (ProxyConfig(policy=Path("/a.toml")), Path("/a.toml")),
            (ProxyConfig(), None),
            (ProxyConfig(authz_url="http://127.0.0.1:9000"), None),
        ):
            self.assertEqual(ConsoleBrowser(config=config).sources.policy_file, expected)
