"""Tests for L{egress.observability.metrics}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress import __version__
from egress.interfaces import IAuditSink
from egress.observability.metrics import Metrics
from egress.runtime.build import build_name
from tests.observability.records import ALLOWED


class MetricsTests(SynchronousTestCase):
    """Records are counted in metrics."""

    def setUp(self) -> None:
        self.metrics = Metrics()

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IAuditSink, self.metrics))
        self.metrics.close()

    def test_records_are_counted(self) -> None:
        self.metrics.write(ALLOWED)
        self.assertEqual(self.value("egress_decisions_total", verdict="allow", outcome="forwarded"), 1)

    def test_a_message_is_not_an_exchange(self) -> None:
        self.metrics.write(attrs.evolve(ALLOWED, stage="message", rule_id="chat/words"))
        self.assertEqual(self.value("egress_decisions_total", verdict="allow", outcome="forwarded"), 0)
        self.assertEqual(self.value("egress_rule_matches_total", rule="chat/words", verdict="allow"), 1)

    def test_gauges_are_read_at_each_scrape(self) -> None:
        numbers = {"connections": 3.0, "contexts": 5.0, "lost": 7.0}
        self.metrics.set_connections_source(lambda: numbers["connections"])
        self.metrics.set_host_contexts_source(lambda: numbers["contexts"])
        self.metrics.set_audit_lost_source(lambda: numbers["lost"])
        self.metrics.set_ca_expiry_source(lambda: 1.5e9)
        numbers["connections"] = 4.0
        self.assertEqual(self.value("egress_client_connections"), 4)
        self.assertEqual(self.value("egress_host_contexts"), 5)
        self.assertEqual(self.value("egress_audit_lines_lost_total"), 7)
        self.assertEqual(self.value("egress_ca_not_after_timestamp_seconds"), 1.5e9)

    def test_observing(self) -> None:
        self.assertEqual(self.value("egress_observe_mode"), 0)
        self.metrics.set_observing(True)
        self.assertEqual(self.value("egress_observe_mode"), 1)

    def test_store_queue(self) -> None:
        self.assertIsNone(self.value("egress_audit_store_queued"), "there is no store")
        self.metrics.set_store_queue_source(lambda: 5.0)
        self.assertEqual(self.value("egress_audit_store_queued"), 5)

    def test_rules(self) -> None:
        self.metrics.write(ALLOWED)
        self.assertEqual(self.value("egress_rule_matches_total", rule="items-write", verdict="allow"), 1)

    def test_render(self) -> None:
        self.metrics.write(ALLOWED)
        body, content_type = self.metrics.render()
        self.assertEqual(content_type, "text/plain; version=0.0.4; charset=utf-8")
        lines = body.decode("utf-8").splitlines()
        self.assertIn('egress_decisions_total{outcome="forwarded",verdict="allow"} 1.0', lines)
        (build,) = [line for line in lines if line.startswith("egress_build_info{")]
        self.assertIn(f'version="{__version__}"', build)
        self.assertIn(f'build="{build_name()}"', build)

    def test_two_registries_in_one_process(self) -> None:
        other = Metrics()
        other.write(ALLOWED)
        self.assertEqual(self.value("egress_decisions_total", verdict="allow", outcome="forwarded"), 0)
