"""Tests for L{egress.authz_service.metrics}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.authz_service.metrics import AuthzServiceMetrics
from egress.interfaces import IAuditSink
from egress.model.statistics import PolicyInUse, PolicyReloadStats
from tests.observability.records import ALLOWED


class AuthzServiceMetricsTests(SynchronousTestCase):
    """Counts of authorization requests."""

    def setUp(self) -> None:
        self.metrics = AuthzServiceMetrics()

    def lines(self) -> list[str]:
        content, content_type = self.metrics.render()
        self.assertIn("text/plain", content_type)
        return content.decode("utf-8").splitlines()

    def test_interface(self) -> None:
        verifyObject(IAuditSink, self.metrics)
        self.metrics.close()

    def test_requests(self) -> None:
        for verdict in ("allow", "deny", "deny", "rejected"):
            seconds = None if verdict == "rejected" else 0.0002
            self.metrics.write(attrs.evolve(ALLOWED, verdict=verdict, decision_seconds=seconds))
        lines = self.lines()
        self.assertIn('egressauthz_requests_total{verdict="allow"} 1.0', lines)
        self.assertIn('egressauthz_requests_total{verdict="deny"} 2.0', lines)
        self.assertIn('egressauthz_decision_seconds_bucket{le="0.0001"} 0.0', lines)
        self.assertIn('egressauthz_decision_seconds_bucket{le="0.00025"} 3.0', lines)
        self.assertFalse([line for line in lines if "rejected" in line and not line.startswith("#")])

    def test_rejected(self) -> None:
        self.metrics.reject("unauthorized")
        self.assertIn('egressauthz_rejected_total{kind="unauthorized"} 1.0', self.lines())

    def test_sources(self) -> None:
        self.metrics.set_connections_source(lambda: 3)
        self.metrics.set_audit_lost_source(lambda: 4)
        self.metrics.set_policy_source(lambda: PolicyReloadStats(7), lambda: PolicyInUse("", 0.0))
        lines = self.lines()
        for line in ("egressauthz_connections 3.0", "egress_audit_lines_lost_total 4.0", "egress_policy_rules 7.0"):
            self.assertIn(line, lines)
