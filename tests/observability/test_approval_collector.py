"""Tests for L{egress.observability.approval_collector}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.observability.metrics import Metrics


class ApprovalsCollectorTests(SynchronousTestCase):
    """Numbers as they are when somebody looks."""

    def test_numbers(self) -> None:
        metrics = Metrics()
        metrics.watch_approvals(lambda: 3, lambda: {"allowed": 2, "denied": 1})
        lines = metrics.render()[0].decode("utf-8").splitlines()
        self.assertEqual(
            [line for line in lines if line.startswith("egress_approvals")],
            [
                "egress_approvals_held 3.0",
                'egress_approvals_total{outcome="allowed"} 2.0',
                'egress_approvals_total{outcome="denied"} 1.0',
            ],
        )
