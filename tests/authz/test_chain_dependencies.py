"""Tests for L{egress.authz.chain_dependencies}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.authz.chain_dependencies import ChainDependencies
from egress.config.model import ProxyConfig


class ChainDependenciesTests(SynchronousTestCase):
    """The parts that a proxy need not have."""

    def test_defaults(self) -> None:
        parts: dict[str, Any] = dict.fromkeys(
            ("reactor", "sockets", "authz_trust", "behind_upstream", "metrics", "log")
        )
        dependencies = ChainDependencies(config=ProxyConfig(), **parts)
        self.assertEqual((dependencies.policy_fault, dependencies.shadow_fault), (None, None))
        self.assertIsNone(dependencies.breaker_changed("open"))
