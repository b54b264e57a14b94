"""Tests for L{egress.observability.collectors}."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.model.message import Direction, MessageKind
from egress.model.message_counts import MessageCounts
from egress.model.statistics import (
    AuthorizerStats,
    BudgetStats,
    CacheStats,
    PolicyInUse,
    PolicyReloadStats,
    SharedCacheStats,
    SpoolStats,
)
from egress.observability.metrics import Metrics

STATS = AuthorizerStats(
    in_flight=3,
    queued=2,
    failures={"timeout": 5, "connection": 0},
    rejected={"overload": 1, "open": 7},
    states={"closed": False, "open": True},
    opened=4,
)


class AuthorizerCollectorTests(SynchronousTestCase):
    """The current statistics at each scrape."""

    def test_metrics(self) -> None:
        metrics = Metrics()
        metrics.set_authorizer_source(lambda: STATS, lambda: 6)
        lines = metrics.render()[0].decode("utf-8").splitlines()
        self.assertEqual(
            [line for line in lines if line.startswith("egress_authorizer_")],
            [
                "egress_authorizer_requests_in_progress 3.0",
                "egress_authorizer_requests_queued 2.0",
                'egress_authorizer_breaker{state="closed"} 0.0',
                'egress_authorizer_breaker{state="open"} 1.0',
                'egress_authorizer_failures_total{kind="timeout"} 5.0',
                'egress_authorizer_failures_total{kind="connection"} 0.0',
                'egress_authorizer_rejected_total{reason="overload"} 1.0',
                'egress_authorizer_rejected_total{reason="open"} 7.0',
                "egress_authorizer_breaker_opened_total 4.0",
                "egress_authorizer_retries_total 6.0",
            ],
        )

    def test_without_retries(self) -> None:
        metrics = Metrics()
        metrics.set_authorizer_source(lambda: STATS, None)
        self.assertNotIn(b"retries", metrics.render()[0])

    def test_no_metrics_without_an_authorizer(self) -> None:
        self.assertNotIn(b"egress_authorizer", Metrics().render()[0])


class CacheCollectorTests(SynchronousTestCase):
    """Metrics of cached decisions."""

    def test_metrics(self) -> None:
        metrics = Metrics()
        metrics.set_cache_source(lambda: CacheStats(hits=1, misses=2, stale=3, shared=4, entries=5))
        text = metrics.render()[0].decode()
        for line in (
            'egress_authorizer_cache_lookups_total{result="hit"} 1.0',
            'egress_authorizer_cache_lookups_total{result="miss"} 2.0',
            'egress_authorizer_cache_lookups_total{result="stale"} 3.0',
            'egress_authorizer_cache_lookups_total{result="shared"} 4.0',
            "egress_authorizer_cache_entries 5.0",
        ):
            with self.subTest(line):
                self.assertIn(f"\n{line}\n", text)


class SharedCollectorTests(SynchronousTestCase):
    """Metrics of the shared state."""

    def text(self, *, source: Any = None, master: tuple[str | None, int] | None = None) -> str:
        metrics = Metrics()
        metrics.set_shared_source(source, lambda: True, lambda: master)
        return metrics.render()[0].decode()

    def test_metrics(self) -> None:
        stats = SharedCacheStats(hits=1, misses=2, stale=3, waited=4, failed=5, rejected=6)
        text = self.text(source=lambda: stats)
        for line in (
            "egress_shared_reachable 1.0",
            'egress_shared_cache_lookups_total{result="hit"} 1.0',
            "egress_shared_waits_total 4.0",
            "egress_shared_failures_total 5.0",
            "egress_shared_rejected_total 6.0",
        ):
            with self.subTest(line):
                self.assertIn(f"\n{line}\n", text)
        self.assertNotIn("egress_shared_master", text)

    def test_sentinels(self) -> None:
        text = self.text(master=("192.0.2.1:6379", 3))
        self.assertIn('\negress_shared_master{address="192.0.2.1:6379"} 1.0\n', text)
        self.assertIn("\negress_shared_master_changes_total 3.0\n", text)
        self.assertNotIn("egress_shared_master{", self.text(master=(None, 3)))


class BudgetCollectorTests(SynchronousTestCase):
    """Metrics of budgets."""

    def test_metrics(self) -> None:
        metrics = Metrics()
        metrics.set_budget_source(lambda: BudgetStats(buckets=1, exhausted=2, unavailable=3, alone=4, failed=5))
        text = metrics.render()[0].decode()
        for line in (
            "egress_budget_buckets 1.0",
            'egress_budget_refusals_total{reason="exhausted"} 2.0',
            'egress_budget_refusals_total{reason="unavailable"} 3.0',
            "egress_budget_alone_total 4.0",
            "egress_budget_failures_total 5.0",
        ):
            with self.subTest(line):
                self.assertIn(f"\n{line}\n", text)


class PolicyReloadCollectorTests(SynchronousTestCase):
    """The current state at each scrape."""

    def test_metrics(self) -> None:
        metrics = Metrics()
        policy = PolicyInUse("1f5e", 1.5e9, (("gets", "allow"),))
        metrics.set_policy_source(lambda: PolicyReloadStats(3, 5, 2, current=False), lambda: policy)
        lines = metrics.render()[0].decode("utf-8").splitlines()
        self.assertEqual(
            [line for line in lines if line.startswith("egress_policy_")],
            [
                'egress_policy_info{hash="1f5e"} 1.0',
                "egress_policy_loaded_timestamp_seconds 1.5e+09",
                "egress_policy_rules 3.0",
                "egress_policy_last_reload_successful 0.0",
                "egress_policy_reloads_total 5.0",
                "egress_policy_reload_failures_total 2.0",
            ],
        )

        self.assertIn('egress_rule_matches_total{rule="gets",verdict="allow"} 0.0', lines)

    def test_no_metrics_without_a_policy(self) -> None:
        self.assertNotIn(b"egress_policy", Metrics().render()[0])


class TelemetryCollectorTests(SynchronousTestCase):
    """The current count at each scrape, if something is exported."""

    def test_metric(self) -> None:
        metrics = Metrics()
        self.assertNotIn(b"egress_telemetry", metrics.render()[0])
        metrics.set_telemetry_source(lambda: {"traces": 2, "logs": 0})
        lines = metrics.render()[0].decode("utf-8").splitlines()
        self.assertEqual(
            [line for line in lines if line.startswith("egress_telemetry")],
            [
                'egress_telemetry_dropped_total{signal="traces"} 2.0',
                'egress_telemetry_dropped_total{signal="logs"} 0.0',
            ],
        )


class ApprovalCollectorTests(SynchronousTestCase):
    """The current counts at each scrape."""

    def test_metrics(self) -> None:
        metrics = Metrics()
        metrics.set_approvals_source(lambda: 3, lambda: {"allowed": 2, "denied": 1})
        lines = metrics.render()[0].decode("utf-8").splitlines()
        self.assertEqual(
            [line for line in lines if line.startswith("egress_approvals")],
            [
                "egress_approvals_pending 3.0",
                'egress_approvals_total{outcome="allowed"} 2.0',
                'egress_approvals_total{outcome="denied"} 1.0',
            ],
        )


class MessageCollectorTests(SynchronousTestCase):
    """The counts of messages at each scrape."""

    def test_metrics(self) -> None:
        metrics, counts = Metrics(), MessageCounts()
        metrics.set_messages_source(counts)
        counts.add("deny", MessageKind.SSE, Direction.ORIGIN)
        lines = metrics.render()[0].decode("utf-8").splitlines()
        found = [line for line in lines if line.startswith("egress_messages")]
        self.assertIn('egress_messages_total{direction="origin",kind="sse",verdict="deny"} 1.0', found)
        self.assertIn('egress_messages_total{direction="client",kind="grpc",verdict="allow"} 0.0', found)
        self.assertEqual(len(found), 24)


class SpoolCollectorTests(SynchronousTestCase):
    """The state of the spool at each scrape."""

    def lines(self, **changes: Any) -> list[str]:
        metrics = Metrics()
        stats = SpoolStats(reached=False, records=3, size=1500, oldest=1.5e9)
        metrics.set_spool_source(lambda: attrs.evolve(stats, **changes))
        lines = metrics.render()[0].decode("utf-8").splitlines()
        return [line for line in lines if line.startswith(("egress_audit_s", "egress_audit_spool"))]

    def test_metrics(self) -> None:
        self.assertEqual(
            self.lines(),
            [
                "egress_audit_store_reachable 0.0",
                "egress_audit_spool_records 3.0",
                "egress_audit_spool_bytes 1500.0",
                "egress_audit_spool_oldest_timestamp_seconds 1.5e+09",
            ],
        )

    def test_nothing_waits(self) -> None:
        """A minimum over several processes is not that of one without records."""
        lines = self.lines(reached=True, records=0, size=0, oldest=None)
        self.assertEqual(len(lines), 3)
        self.assertIn("egress_audit_store_reachable 1.0", lines)

    def test_no_metrics_without_a_server(self) -> None:
        metrics = Metrics()
        metrics.set_spool_source(lambda: None)
        self.assertNotIn(b"egress_audit_spool", metrics.render()[0])
        self.assertNotIn(b"egress_audit_spool", Metrics().render()[0])


class RevocationCollectorTests(SynchronousTestCase):
    """The number of revocations."""

    def test_metric(self) -> None:
        metrics = Metrics()
        metrics.set_revocations_source(lambda: {"client": 2, "all": 0})
        lines = metrics.render()[0].decode("utf-8").splitlines()
        found = [line for line in lines if line.startswith("egress_revocations")]
        self.assertEqual(
            found, ['egress_revocations_total{kind="client"} 2.0', 'egress_revocations_total{kind="all"} 0.0']
        )
