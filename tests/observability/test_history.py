"""Tests for L{egress.observability.history}."""

from __future__ import annotations

import json
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from egress.model.statistics import AuthorizerStats, CacheStats
from egress.observability.history import MINUTE, QUARTER, History, Period, Reading, Ring, quantile
from egress.observability.metrics import Metrics
from egress.observability.worker_aggregation import WorkerMetrics
from egress.workers.parent_metrics import parent_metrics
from tests.observability.records import ALLOWED, REFUSED

NOW = 1_700_002_800.0


class ReadingTests(SynchronousTestCase):
    """Readings take their values from the metrics of a proxy."""

    def setUp(self) -> None:
        self.metrics = Metrics()

    def read(self) -> Reading:
        return Reading.parse(self.metrics.render()[0].decode())

    def test_values(self) -> None:
        """Every metric of the charts exists with this name."""
        metrics = self.metrics
        metrics.set_connections_source(lambda: 7)
        metrics.set_ca_expiry_source(lambda: 1.8e9)
        metrics.set_cache_source(lambda: CacheStats(hits=5, misses=2, stale=0, shared=1, entries=1))
        stats = AuthorizerStats(2, 3, {"timeout": 4, "connection": 1}, {}, {"closed": False, "open": True}, 6)
        metrics.set_authorizer_source(lambda: stats, None)
        metrics.set_approvals_source(lambda: 9, dict)
        metrics.set_store_queue_source(lambda: 11)
        metrics.set_audit_lost_source(lambda: 12)
        metrics.set_rejected_source(lambda: 13)
        metrics.set_observing(True)
        metrics.write(ALLOWED)
        metrics.write(REFUSED)
        found = self.read()
        for name, value in (
            ("verdict.allow", 1),
            ("verdict.rejected", 1),
            ("verdict.deny", 0),
            ("cache.hit", 5),
            ("cache.miss", 2),
            ("cache.shared", 1),
            ("authorizer_failures", 5),
            ("breaker_opened", 6),
            ("sent", 24),
            ("received", 690),
            ("lost", 12),
            ("connections_rejected", 13),
            ("decision_within.0.01", 0),
            ("decision_within.0.025", 1),
            ("decision_within.+Inf", 1),
        ):
            self.assertEqual(found.counters[name], value, name)
        for name, value in (
            ("connections", 7),
            ("in_progress", 2),
            ("queued", 3),
            ("breaker.open", 1),
            ("breaker.closed", 0),
            ("approvals", 9),
            ("store_queued", 11),
            ("observing", 1),
        ):
            self.assertEqual(found.gauges[name], value, name)
        self.assertGreater(found.gauges["memory"], 1e6)
        self.assertEqual(found.ca_expiry, 1.8e9)

    def test_workers(self) -> None:
        """The values of workers are sums."""
        registry, _ = parent_metrics(3, lambda: 2, lambda: 0)
        totals = WorkerMetrics(registry)
        self.metrics.write(ALLOWED)
        for worker in ("1", "2"):
            totals.update(worker, list(self.metrics.registry.collect()))
        found = Reading.parse(totals.render()[0].decode())
        self.assertEqual(found.counters["verdict.allow"], 2)
        self.assertEqual((found.gauges["workers.configured"], found.gauges["workers.running"]), (3, 2))
        self.assertGreater(found.gauges["memory"], 2e6)

    def test_other(self) -> None:
        self.assertEqual(Reading.parse("other 1\n"), Reading({}, {}))


class PeriodTests(SynchronousTestCase):
    """Periods can be added."""

    def test_add(self) -> None:
        one = Period(5, {"sent": 1.0}, {"queued": 3.0, "workers.running": 2.0})
        other = Period(6, {"sent": 2.0, "lost": 1.0}, {"queued": 1.0, "workers.running": 1.0, "approvals": 1.0})
        expected = {"queued": 3.0, "workers.running": 1.0, "approvals": 1.0}
        self.assertEqual(one.add(other), Period(5, {"sent": 3.0, "lost": 1.0}, expected))

    def test_shares(self) -> None:
        self.assertIsNone(Period(0).hit_rate)
        self.assertEqual(Period(0, {"cache.hit": 2.0, "cache.shared": 1.0, "cache.miss": 1.0}).hit_rate, 0.75)
        self.assertEqual(Period(0, {"verdict.allow": 2.0, "verdict.deny": 1.0, "verdict.other": 9.0}).requests, 3.0)
        self.assertEqual(Period(0, {"decision_within.+Inf": 0.0}).decisions, [])
        counts = {"decision_within.+Inf": 2.0, "decision_within.0.5": 1.0}
        self.assertEqual(Period(0, counts).decisions, [(0.5, 1.0), (float("inf"), 2.0)])


class QuantileTests(SynchronousTestCase):
    """Quantiles are estimates, as those of Prometheus."""

    def test_estimates(self) -> None:
        infinite = float("inf")
        for distribution, share, expected in (
            ([], 0.5, None),
            ([(1.0, 0.0), (infinite, 0.0)], 0.5, None),
            ([(1.0, 10.0), (infinite, 10.0)], 0.5, 0.5),
            ([(1.0, 5.0), (2.0, 10.0), (infinite, 10.0)], 0.75, 1.5),
            ([(1.0, 5.0), (infinite, 10.0)], 0.99, 1.0),
            ([(infinite, 10.0)], 0.99, 0.0),
            ([(1.0, 5.0)], 0.5, 0.5),
        ):
            with self.subTest(distribution=distribution, share=share):
                self.assertEqual(quantile(distribution, share), expected)

    @given(some.lists(some.floats(0.0, 9.9), min_size=1), some.floats(0.01, 1.0))
    def test_range(self, values: list[float], share: float) -> None:
        bounds = [1.0, 3.0, 10.0, float("inf")]
        distribution = [(bound, float(sum(value <= bound for value in values))) for bound in bounds]
        found = quantile(distribution, share)
        assert found is not None
        self.assertLessEqual(found, min(bound for bound in bounds if bound >= max(values)))


class HistoryTests(SynchronousTestCase):
    """The history has the changes between readings."""

    def setUp(self) -> None:
        self.history = History()

    def add(self, seconds: float, allowed: float, **gauges: float) -> None:
        self.history.add(Reading({"verdict.allow": allowed}, gauges), NOW + seconds)

    def counts(self, ring: Ring, now: float) -> list[float | None]:
        return [None if each is None else each.requests for each in ring.last(now)]

    def test_changes(self) -> None:
        self.add(0, 5)
        self.add(50, 8, queued=4.0)
        self.add(61, 10, queued=1.0)
        found = self.counts(self.history.hour, NOW + 61)
        self.assertEqual((len(found), found[-3:]), (60, [None, 8.0, 2.0]))
        self.assertEqual(self.history.hour.starts(NOW + 61)[-2:], [NOW, NOW + MINUTE])
        self.assertEqual(self.counts(self.history.day, NOW + 61)[-2:], [None, 10.0])
        last = self.history.day.last(NOW + 61)[-1]
        assert last is not None
        self.assertEqual(last.peaks, {"queued": 4.0})

    def test_bounds(self) -> None:
        """Old periods are removed."""
        for minute in range(0, 3000, 5):
            self.add(minute * 60, minute)
        self.assertLessEqual(len(list(self.history.hour)), 60)
        self.assertLessEqual(len(list(self.history.day)), 96)

    def test_lower_counter(self) -> None:
        """A counter that decreases, such as the processor time of workers, does not count."""
        self.add(0, 9)
        self.add(1, 2)
        self.assertEqual(self.counts(self.history.hour, NOW + 1)[-1], 9.0)

    def test_restore(self) -> None:
        self.add(0, 5, queued=2.0)
        self.add(QUARTER, 6, queued=1.0)
        document = json.loads(json.dumps(self.history.to_json()))
        other = History()
        other.restore(document)
        now = NOW + QUARTER + 30
        self.assertEqual(self.counts(other.hour, now), self.counts(self.history.hour, now))
        self.assertEqual(self.counts(other.day, now)[-2:], [5.0, 1.0])
        # The counters of the next process begin at zero.
        other.add(Reading({"verdict.allow": 3.0}, {"queued": 7.0}), now)
        last = other.day.last(now)[-1]
        assert last is not None
        self.assertEqual((last.requests, last.peaks), (4.0, {"queued": 7.0}))

    def test_other_documents(self) -> None:
        good = self.history.to_json()
        documents: list[Any] = [
            None,
            [],
            {},
            {**good, "version": 2},
            {**good, "hour": [{}]},
            {**good, "hour": [{"start": 1, "counts": [], "peaks": {}}]},
            {**good, "day": [{"start": 1, "counts": {"x": "y"}, "peaks": {}}]},
            {**good, "day": 1},
        ]
        for document in documents:
            with self.subTest(document=document), self.assertRaises(ValueError):
                self.history.restore(document)
        self.assertEqual(list(self.history.hour), [])

    def test_frozen(self) -> None:
        with self.assertRaises(attrs.exceptions.FrozenInstanceError):
            Period(0).start = 1  # type: ignore[misc]
