"""Tests for L{egress.ops.metrics}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress import __version__
from egress.interfaces import IAuditSink
from egress.ops.metrics import Metrics
from tests.ops.records import ALLOWED, REFUSED


class MetricsTests(SynchronousTestCase):
    """Records become numbers."""

    def setUp(self) -> None:
        self.metrics = Metrics()

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IAuditSink, self.metrics))
        self.metrics.close()

    def test_records_are_counted(self) -> None:
        for record in (ALLOWED, ALLOWED, REFUSED):
            self.metrics.write(record)
        for name, labels, expected in (
            ("egress_decisions_total", {"verdict": "allow", "outcome": "forwarded"}, 2),
            ("egress_decisions_total", {"verdict": "refused", "outcome": "bad-request"}, 1),
            ("egress_responses_total", {"status": "2xx"}, 2),
            ("egress_responses_total", {"status": "none"}, 1),
            ("egress_decision_seconds_count", {}, 2),
            ("egress_decision_seconds_bucket", {"le": "0.01"}, 0),
            ("egress_decision_seconds_bucket", {"le": "0.025"}, 2),
            ("egress_exchange_seconds_count", {}, 3),
            ("egress_sent_bytes_total", {}, 36),
            ("egress_received_bytes_total", {}, 1035),
        ):
            with self.subTest(name, **labels):
                self.assertEqual(self.value(name, **labels), expected)

    def test_labels_are_bounded(self) -> None:
        before = len(self.metrics._count_decision), len(self.metrics._count_response)
        for number in range(20):
            self.metrics.write(attrs.evolve(ALLOWED, verdict=f"v{number}", status=1000 + 100 * number))
            self.metrics.write(attrs.evolve(ALLOWED, outcome=f"o{number}", status=-100))
        self.assertEqual(self.value("egress_decisions_total", verdict="other", outcome="other"), 40)
        self.assertEqual(self.value("egress_responses_total", status="other"), 40)
        self.assertEqual((len(self.metrics._count_decision), len(self.metrics._count_response)), before)

    def test_gauges_are_looked_up(self) -> None:
        numbers = {"connections": 3.0, "contexts": 5.0, "lost": 7.0}
        self.metrics.watch_connections(lambda: numbers["connections"])
        self.metrics.watch_leaf_contexts(lambda: numbers["contexts"])
        self.metrics.watch_audit_lost(lambda: numbers["lost"])
        numbers["connections"] = 4.0
        self.assertEqual(self.value("egress_client_connections"), 4)
        self.assertEqual(self.value("egress_leaf_contexts"), 5)
        self.assertEqual(self.value("egress_audit_lines_lost"), 7)

    def test_render(self) -> None:
        self.metrics.write(ALLOWED)
        body, content_type = self.metrics.render()
        self.assertEqual(content_type, "text/plain; version=0.0.4; charset=utf-8")
        lines = body.decode("utf-8").splitlines()
        self.assertIn('egress_decisions_total{outcome="forwarded",verdict="allow"} 1.0', lines)
        (build,) = [line for line in lines if line.startswith("egress_build_info{")]
        self.assertIn(f'version="{__version__}"', build)

    def test_two_in_one_process(self) -> None:
        other = Metrics()
        other.write(ALLOWED)
        self.assertIsNone(self.value("egress_decisions_total", verdict="allow", outcome="forwarded"))
