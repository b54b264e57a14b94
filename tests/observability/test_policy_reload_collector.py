"""Tests for L{egress.observability.policy_reload_collector}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.policy_reads import PolicyReads
from egress.observability.metrics import Metrics


class PolicyCollectorTests(SynchronousTestCase):
    """Numbers as they are when somebody looks."""

    def test_numbers(self) -> None:
        metrics = Metrics()
        metrics.watch_policy(lambda: PolicyReads(3, 5, 2, current=False))
        lines = metrics.render()[0].decode("utf-8").splitlines()
        self.assertEqual(
            [line for line in lines if line.startswith("egress_policy_")],
            [
                "egress_policy_rules 3.0",
                "egress_policy_current 0.0",
                "egress_policy_reads_total 5.0",
                "egress_policy_failures_total 2.0",
            ],
        )

    def test_nothing_is_told_without_a_policy(self) -> None:
        self.assertNotIn(b"egress_policy", Metrics().render()[0])
