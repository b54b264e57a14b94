"""Tests for L{egress.tracing.metric_points}."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from twisted.trial.unittest import SynchronousTestCase

from egress.observability.metrics import Metrics
from egress.tracing.metric_points import Family, HistogramPoint, Kind, NumberPoint, families
from tests.observability.records import ALLOWED, REFUSED


class FamiliesTests(SynchronousTestCase):
    """The metrics have the values of C{/metrics}."""

    def setUp(self) -> None:
        self.registry = CollectorRegistry()

    def found(self) -> list[Family]:
        return list(families(self.registry.collect()))

    def test_counter(self) -> None:
        counter = Counter("sent_bytes", "Bytes.", ["to"], registry=self.registry)
        counter.labels("a").inc(3)
        counter.labels("b").inc(4)
        points = (NumberPoint({"to": "a"}, 3.0), NumberPoint({"to": "b"}, 4.0))
        self.assertEqual(self.found(), [Family("sent_bytes", "Bytes.", "By", Kind.COUNTER, points)])

    def test_gauge_and_info(self) -> None:
        Gauge("age_seconds", "Age.", registry=self.registry).set(1.5)
        Info("build", "Versions.", registry=self.registry).info({"version": "1"})
        self.assertEqual(
            self.found(),
            [
                Family("age_seconds", "Age.", "s", Kind.GAUGE, (NumberPoint({}, 1.5),)),
                Family("build_info", "Versions.", "", Kind.GAUGE, (NumberPoint({"version": "1"}, 1.0),)),
            ],
        )

    def test_histogram(self) -> None:
        histogram = Histogram("took_seconds", "Time.", ["of"], buckets=(1, 2, 5), registry=self.registry)
        for value in (0.5, 1.0, 1.5, 4.0, 9.0):
            histogram.labels("a").observe(value)
        histogram.labels("b").observe(3.0)
        (family,) = self.found()
        self.assertEqual((family.name, family.unit, family.kind), ("took_seconds", "s", Kind.HISTOGRAM))
        self.assertEqual(
            family.points,
            (
                HistogramPoint({"of": "a"}, 5, 16.0, (1.0, 2.0, 5.0), (2, 1, 1, 1)),
                HistogramPoint({"of": "b"}, 1, 3.0, (1.0, 2.0, 5.0), (0, 0, 1, 0)),
            ),
        )

    def test_of_a_proxy(self) -> None:
        metrics = Metrics()
        for record in (ALLOWED, ALLOWED, REFUSED):
            metrics.write(record)
        found = {each.name: each for each in families(metrics.registry.collect())}
        decisions = found["egress_decisions"]
        self.assertEqual(decisions.kind, Kind.COUNTER)
        self.assertIn(NumberPoint({"verdict": "allow", "outcome": "forwarded"}, 2.0), decisions.points)
        (exchanges,) = found["egress_exchange_seconds"].points
        assert isinstance(exchanges, HistogramPoint)
        self.assertEqual((exchanges.count, sum(exchanges.buckets)), (3, 3))
        self.assertEqual(len(exchanges.buckets), len(exchanges.bounds) + 1)
