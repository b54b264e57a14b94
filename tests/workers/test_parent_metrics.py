"""Tests for L{egress.workers.parent_metrics}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.workers.parent_metrics import parent_metrics


class ParentMetricsTests(SynchronousTestCase):
    """The metrics of a supervisor."""

    def test_values(self) -> None:
        running = [2]
        registry, restarts = parent_metrics(3, lambda: running[0], lambda: 7)
        restarts.inc()
        running[0] = 1

        def value(name: str, **labels: str) -> float | None:
            return registry.get_sample_value(name, labels)

        self.assertEqual(value("egress_workers", state="configured"), 3)
        self.assertEqual(value("egress_workers", state="running"), 1)
        self.assertEqual(value("egress_worker_restarts_total"), 1)
        self.assertEqual(value("egress_audit_lines_lost_total"), 7)
