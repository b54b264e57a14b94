"""Tests for L{egress.config.reduced}."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ProxyConfig
from egress.config.reduced import without_shadow
from egress.model.policy_url import PolicyUrl

URL = PolicyUrl.parse("https://policies.test/policy.toml")
POLICY, KEY = Path("p.toml"), Path("k")


class WithoutShadowTests(SynchronousTestCase):
    """A configuration without a shadow is valid."""

    def test_policies_of_urls(self) -> None:
        settings: dict[str, Any] = {
            "policy_interval": 5.0,
            "policy_max_age": 60.0,
            "policy_key": "k",
            "policy_dir": "d",
        }
        config = ProxyConfig(shadow_policy=URL, shadow_log="s.jsonl", **settings)
        self.assertEqual(without_shadow(config), ProxyConfig())
        config = ProxyConfig(policy=POLICY, shadow_policy=URL, **settings)
        self.assertEqual(without_shadow(config), ProxyConfig(policy=POLICY, policy_key=KEY))
        config = ProxyConfig(policy=URL, shadow_policy=URL, **settings)
        self.assertEqual(without_shadow(config), ProxyConfig(policy=URL, **settings))

    def test_services(self) -> None:
        config = ProxyConfig(shadow_authz_url="http://a.test", shadow_authz_token="hunter2")
        self.assertEqual(without_shadow(config), ProxyConfig())
