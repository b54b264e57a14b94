"""Tests for L{egress.authz.distribution.setup}."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import attrs
from prometheus_client import CollectorRegistry
from twisted.internet.defer import execute

from egress.authz.distribution.metrics import PolicyCheckMetrics
from egress.authz.distribution.setup import DistributedPolicy, PolicyDistribution, ServerRoute
from egress.authz.distribution.store import CheckStatus, PolicyStore
from egress.config.model import ProxyConfig
from egress.model.errors import AuthorizerUnavailable
from egress.model.policy_url import PolicyUrl
from egress.policy.parse.load import load_content, no_policy
from egress.policy.rules import RuleSet
from egress.testing.origin import OriginResponse
from egress.tls.origin_trust import OriginTrust
from egress.tls.reloadable_trust import ReloadableTrust
from tests.authz.distribution.test_client import POLICY, PolicyServerTestCase
from tests.files import make_directory

URL = PolicyUrl.parse("https://policies.test/policy.toml")


class PolicyDistributionTests(PolicyServerTestCase):
    """The parts work together."""

    def setUp(self) -> None:
        super().setUp()
        state = make_directory(self).absolute()
        self.config = ProxyConfig(policy=URL, policy_dir=state, policy_interval=30.0)
        self.store = PolicyStore(state, URL)
        self.rules: RuleSet | None = no_policy(URL.url, self.store.policy)
        self.parsed = 0

    def parse(self, content: bytes) -> RuleSet:
        """Parse a policy."""
        self.parsed += 1
        return load_content(content, URL.url, self.store.policy)

    def make(self, *, polls: bool = True, policies: int = 1, **settings: Any) -> PolicyDistribution:
        """Make the distribution of one policy."""
        trust = ReloadableTrust(OriginTrust(self.pem))
        route = ServerRoute(trust=trust, resolver=self.resolver(), in_thread=cast(Any, execute))
        policy = DistributedPolicy(
            label="policy", name="the policy", url=URL, parse=self.parse, rules=lambda: self.rules
        )
        distribution = PolicyDistribution(
            cast(Any, self.reactor),
            attrs.evolve(self.config, **settings),
            [policy] * policies,
            route if polls else None,
        )
        self.addCleanup(distribution.stop)
        return distribution

    def test_no_policy(self) -> None:
        distribution = self.make(policies=0)
        checks: dict[str, Any] = {}
        distribution.add_check(checks)
        distribution.start()
        self.assertEqual((checks, distribution.fault("policy")), ({}, None))
        self.assertIsNone(self.successResultOf(distribution.check()))
        self.assertEqual(self.server.requests, [])

    def test_checks(self) -> None:
        distribution = self.make()
        fault = distribution.fault("policy")
        assert fault is not None
        self.assertEqual(fault(), "the policy is not loaded yet")
        self.assertIsNone(distribution.fault("shadow"))
        registry = CollectorRegistry()
        registry.register(PolicyCheckMetrics(distribution.stats))
        distribution.start()
        self.reactor.pass_time(0.5)
        self.assertEqual(self.store.read(), POLICY)
        self.assertEqual(fault(), "the policy is not loaded yet", "the watch of its file loads it")
        self.rules = load_content(POLICY, URL.url, self.store.policy)
        self.assertIsNone(fault())
        checks: dict[str, Any] = {}
        distribution.add_check(checks)
        self.assertIsNone(self.successResultOf(checks["policy"]()))

        def value(name: str, **labels: str) -> float | None:
            return registry.get_sample_value(name, {"policy": "policy", **labels})

        self.assertEqual(value("egress_policy_checks_total", result="updated"), 1)
        self.assertEqual(value("egress_policy_checks_total", result="failed"), 0)
        checked = value("egress_policy_last_check_timestamp_seconds")
        self.assertEqual(checked, self.store.read_status().checked)
        self.response = OriginResponse(status=500)
        self.reactor.pass_time(31)
        self.assertEqual(
            self.successResultOf(distribution.check()), "the last check of the policy failed: the status is 500"
        )
        self.assertEqual(value("egress_policy_last_check_timestamp_seconds"), checked)

    def test_not_ready(self) -> None:
        self.response = OriginResponse(status=404)
        distribution = self.make()
        distribution.start()
        self.reactor.pass_time(0.5)
        error = self.failureResultOf(distribution.check(), AuthorizerUnavailable).value
        self.assertEqual(
            error.reason, "the policy is not loaded yet: the last check of the policy failed: the status is 404"
        )

    def test_no_rules(self) -> None:
        """A supervisor uses no policy."""
        self.rules = None
        fault = self.make().fault("policy")
        assert fault is not None
        self.assertIsNotNone(fault())

    def test_worker(self) -> None:
        """Another process checks the URL; this one reads the results."""
        distribution = self.make(polls=False, policy_max_age=60.0)
        self.rules = load_content(POLICY, URL.url, Path("/none"))
        distribution.start()
        self.reactor.pass_time(1)
        self.assertEqual(self.server.requests, [])
        fault = distribution.fault("policy")
        assert fault is not None
        self.assertIn("--policy-max-age", fault() or "")
        self.store.prepare()
        self.store.save_status(CheckStatus(2.0**40))
        self.reactor.pass_time(1)
        self.assertIn("--policy-max-age", fault() or "")
        distribution.forget()

    def test_forget(self) -> None:
        distribution = self.make()
        distribution.start()
        self.reactor.pass_time(31)
        self.assertEqual(self.parsed, 1)
        distribution.forget()
        self.reactor.pass_time(30)
        self.assertEqual(self.parsed, 2)
