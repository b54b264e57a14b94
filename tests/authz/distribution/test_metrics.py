"""Tests for L{egress.authz.distribution.metrics}."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.distribution.metrics import CheckStats, PolicyCheckMetrics


class PolicyCheckMetricsTests(SynchronousTestCase):
    """Each policy has its own samples."""

    def test_samples(self) -> None:
        stats = {"policy": CheckStats({"updated": 2, "failed": 1}, 1.5e9), "shadow": CheckStats({"failed": 3}, None)}
        registry = CollectorRegistry()
        registry.register(PolicyCheckMetrics(lambda: stats))

        def value(name: str, policy: str, **labels: str) -> float | None:
            return registry.get_sample_value(name, {"policy": policy, **labels})

        self.assertEqual(value("egress_policy_checks_total", "policy", result="updated"), 2)
        self.assertEqual(value("egress_policy_checks_total", "shadow", result="failed"), 3)
        self.assertEqual(value("egress_policy_last_check_timestamp_seconds", "policy"), 1.5e9)
        self.assertEqual(value("egress_policy_last_check_timestamp_seconds", "shadow"), 0)
