"""Tests for L{egress.notify.metrics}."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from twisted.trial.unittest import SynchronousTestCase

from egress.config.notify import NotifyEvent
from egress.notify.backoff import Result
from egress.notify.metrics import NotificationMetrics


class MetricsTests(SynchronousTestCase):
    """Messages are counted by event and result."""

    def test_counts(self) -> None:
        registry = CollectorRegistry()
        metrics = NotificationMetrics((NotifyEvent.CA, NotifyEvent.DENIAL), lambda: 3)
        registry.register(metrics)
        metrics.count(NotifyEvent.CA, Result.DELIVERED)
        metrics.count(NotifyEvent.CA, Result.DELIVERED)
        for event, result, expected in (("ca", "delivered", 2), ("ca", "dropped", 0), ("denial", "rejected", 0)):
            labels = {"event": event, "result": result}
            self.assertEqual(registry.get_sample_value("egress_notifications_total", labels), expected)
        self.assertIsNone(
            registry.get_sample_value("egress_notifications_total", {"event": "audit", "result": "dropped"})
        )
        self.assertEqual(registry.get_sample_value("egress_notifications_queued"), 3)
