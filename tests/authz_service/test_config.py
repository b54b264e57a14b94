"""Tests for L{egress.authz_service.config}."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.authz_service.config import AuthzServiceConfig
from egress.config.listener import Listener
from egress.config.model import ConfigError


class AuthzServiceConfigTests(SynchronousTestCase):
    """A configuration is checked when it is made."""

    def test_text(self) -> None:
        self.assertEqual(AuthzServiceConfig(listen=("tcp:1",)).listen, (Listener("tcp:1"),))

    def test_invalid(self) -> None:
        for wrong in (
            {"body_limit": 0},
            {"connections": 0},
            {"idle_timeout": 0.0},
            {"request_timeout": -1.0},
            {"drain_timeout": 0.0},
            {"listen": ("tcp:1:client-auth=x",)},
            {"listen": ("tcp:1\\",)},
        ):
            with self.subTest(wrong):
                self.assertRaises(ConfigError, AuthzServiceConfig, **wrong)

    def test_policy(self) -> None:
        self.assertEqual(AuthzServiceConfig(policy=Path("p.toml")).policy, Path("p.toml"))
        url: Any = "https://policies.test/p"
        error = self.assertRaises(ConfigError, AuthzServiceConfig, policy=url)
        self.assertIn("egressauthz needs a file", str(error))

    def test_repr_contains_no_token(self) -> None:
        self.assertNotIn("s3cret", repr(AuthzServiceConfig(token="s3cret")))

    def test_listeners_with_authentication(self) -> None:
        for config, expected in (
            (AuthzServiceConfig(listen=("tcp:1",)), False),
            (AuthzServiceConfig(listen=("tcp:1",), token="t"), True),
            (AuthzServiceConfig(listen=("ssl:1",)), False),
            (AuthzServiceConfig(listen=("ssl:1:client-ca=ca.pem",)), True),
        ):
            self.assertIs(config.requires_auth_at(config.listen[0]), expected)

    def test_request_limit(self) -> None:
        """A body of the maximum length fits, in base64 and in a text that is escaped four times."""
        self.assertGreater(AuthzServiceConfig(body_limit=1000).request_limit, 4000 + 2 * 64 * 1024)
