"""Tests for L{egress.observability.exchange_counters}."""

from __future__ import annotations

import attrs
from prometheus_client import CollectorRegistry
from twisted.trial.unittest import SynchronousTestCase

from egress.observability.exchange_counters import Distribution, ExchangeCounters
from tests.observability.records import ALLOWED, REFUSED


class DistributionTests(SynchronousTestCase):
    """Values are counted at or below their bounds."""

    def test_table(self) -> None:
        distribution = Distribution((0.5, 1.0))
        for value in (0.1, 0.5, 0.7, 1.0, 1.1, 99):
            distribution.observe(value)
        self.assertEqual(distribution.buckets(), [("0.5", 2), ("1.0", 4), ("+Inf", 6)])
        self.assertAlmostEqual(distribution.sum, 102.4)


class ExchangeCountersTests(SynchronousTestCase):
    """Records are counted in metrics."""

    def setUp(self) -> None:
        self.tally = ExchangeCounters()
        self.registry = CollectorRegistry()
        self.registry.register(self.tally)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def test_no_records(self) -> None:
        self.assertEqual(self.value("egress_exchange_seconds_count"), 0)
        self.assertEqual(self.value("egress_sent_bytes_total"), 0)

    def test_counted_from_zero(self) -> None:
        """A rate of Prometheus does not see the first step of a counter that did not exist before."""
        for verdict, outcome in (
            ("allow", "forwarded"),
            ("deny", "denied"),
            ("unavailable", "authorizer-unavailable"),
            ("rejected", "bad-request"),
            ("failed", "origin-unreachable"),
        ):
            with self.subTest(verdict):
                self.assertEqual(self.value("egress_decisions_total", verdict=verdict, outcome=outcome), 0)
        for status in ("none", "1xx", "2xx", "3xx", "4xx", "5xx"):
            with self.subTest(status):
                self.assertEqual(self.value("egress_responses_total", status=status), 0)

    def test_records_are_counted(self) -> None:
        for record in (ALLOWED, ALLOWED, REFUSED):
            self.tally.count(record)
        for name, labels, expected in (
            ("egress_decisions_total", {"verdict": "allow", "outcome": "forwarded"}, 2),
            ("egress_decisions_total", {"verdict": "rejected", "outcome": "bad-request"}, 1),
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

    def test_versions(self) -> None:
        """Each side is counted by its version, from zero; a side without one is not counted."""
        versions = [("client", "1.0"), ("client", "1.1"), ("client", "2"), ("origin", "1.1"), ("origin", "2")]

        def counts() -> list[float | None]:
            return [self.value("egress_http_exchanges_total", side=side, version=version) for side, version in versions]

        self.assertEqual(counts(), [0, 0, 0, 0, 0])
        denied = attrs.evolve(ALLOWED, client_http="1.0", origin_http=None)
        unknown = attrs.evolve(ALLOWED, client_http="9", origin_http="9")
        for record in (ALLOWED, ALLOWED, denied, REFUSED, unknown):
            self.tally.count(record)
        self.assertEqual(counts(), [1, 0, 2, 2, 0])
        self.assertIsNone(self.value("egress_http_exchanges_total", side="client", version="9"))

    def test_observed(self) -> None:
        """Exchanges that observe mode allowed, by the verdict otherwise; unknown verdicts never become labels."""
        for observed in ("deny", "deny", "unavailable", None, "novel"):
            self.tally.count(attrs.evolve(ALLOWED, observed=observed))
        self.assertEqual(self.value("egress_observed_total", verdict="deny"), 2)
        self.assertEqual(self.value("egress_observed_total", verdict="unavailable"), 1)
        self.assertIsNone(self.value("egress_observed_total", verdict="novel"))

    def test_labels_are_bounded(self) -> None:
        before = len(next(iter(self.registry.collect())).samples)
        for number in range(20):
            self.tally.count(attrs.evolve(ALLOWED, verdict=f"v{number}", status=1000 + 100 * number))
            self.tally.count(attrs.evolve(ALLOWED, outcome=f"o{number}", status=-100))
        self.assertEqual(self.value("egress_decisions_total", verdict="other", outcome="other"), 40)
        self.assertEqual(self.value("egress_responses_total", status="other"), 40)
        self.assertEqual(len(next(iter(self.registry.collect())).samples), before + 1)
