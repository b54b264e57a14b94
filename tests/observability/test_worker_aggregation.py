"""Tests for L{egress.observability.worker_aggregation}."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import attrs
from prometheus_client import CollectorRegistry, Counter
from twisted.trial.unittest import SynchronousTestCase

from egress.observability.metrics import Metrics, process_registry
from egress.observability.worker_aggregation import WorkerMetrics, from_json, merge_checks, to_json
from tests.observability.records import ALLOWED, REFUSED
from tests.observability.test_collectors import STATS

FORWARDED = 'egress_decisions_total{outcome="forwarded",verdict="allow"}'


def over_a_line(metrics: Metrics) -> list[Any]:
    """The metrics of a worker after the transfer over the channel."""
    return from_json(json.loads(json.dumps(to_json(metrics.registry.collect()))))


class WorkerMetricsTests(SynchronousTestCase):
    """The metrics of several processes."""

    def setUp(self) -> None:
        self.totals = WorkerMetrics(process_registry())

    def worker(self, *records: Any, connections: int = 0, lost: int = 0) -> Metrics:
        metrics = Metrics()
        metrics.set_connections_source(lambda: connections)
        metrics.set_audit_lost_source(lambda: lost)
        for record in records:
            metrics.write(record)
        return metrics

    def update(self, name: str, metrics: Metrics) -> None:
        self.totals.update(name, over_a_line(metrics))

    def numbers(self) -> dict[str, float]:
        """The aggregated samples."""
        body, content_type = self.totals.render()
        self.assertEqual(content_type, "text/plain; version=0.0.4; charset=utf-8")
        lines = [line for line in body.decode("utf-8").splitlines() if not line.startswith("#")]
        found = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
        # No sample occurs twice.
        self.assertEqual(len(found), len(lines))
        return found

    def test_one_process_is_unchanged(self) -> None:
        worker = self.worker(ALLOWED, REFUSED, connections=3)
        self.update("1", worker)
        # The resource usage of a process changes between two scrapes.
        expected = [line for line in worker.render()[0].decode("utf-8").splitlines() if not line.startswith("process_")]
        found = self.totals.render()[0].decode("utf-8").splitlines()
        self.assertEqual([line for line in expected if line not in found and "process_" not in line], [])

    def test_sums(self) -> None:
        self.update("1", self.worker(ALLOWED, connections=3, lost=1))
        self.update("2", self.worker(ALLOWED, ALLOWED, REFUSED, connections=4))
        numbers = self.numbers()
        for name, expected in (
            (FORWARDED, 3),
            ('egress_decisions_total{outcome="bad-request",verdict="rejected"}', 1),
            ("egress_exchange_seconds_count", 4),
            ('egress_exchange_seconds_bucket{le="+Inf"}', 4),
            ('egress_decision_seconds_bucket{le="0.01"}', 0),
            ('egress_decision_seconds_bucket{le="0.025"}', 3),
            ("egress_client_connections", 7),
            ("egress_audit_lines_lost_total", 1),
        ):
            with self.subTest(name):
                self.assertEqual(numbers[name], expected)

    def test_authorizer_metrics(self) -> None:
        well = attrs.evolve(STATS, states={"closed": True, "open": False}, failures={"timeout": 1})
        for name, stats in (("1", STATS), ("2", well), ("3", STATS)):
            worker = self.worker()
            worker.set_authorizer_source(lambda found=stats: found, lambda: 6)  # type: ignore[misc]
            self.update(name, worker)
        self.totals.fold("3")
        numbers = self.numbers()
        for name, expected in (
            ("requests_in_progress", 6),
            ("requests_queued", 4),
            ('breaker{state="closed"}', 1),
            ('breaker{state="open"}', 1),
            ('failures_total{kind="timeout"}', 11),
            ('rejected_total{reason="open"}', 21),
            ("breaker_opened_total", 12),
            ("retries_total", 18),
        ):
            with self.subTest(name):
                self.assertEqual(numbers[f"egress_authorizer_{name}"], expected)

    def test_metrics_that_are_not_summed(self) -> None:
        first, second = self.worker(ALLOWED), self.worker(attrs.evolve(ALLOWED, duration=1.0))
        for name, worker in (("1", first), ("2", second)):
            Counter("made", "Of the library's own, which say when they were made.", registry=worker.registry)
            worker.set_ca_expiry_source(partial(float, f"{name}e9"))
            worker.set_observing(True)
            self.update(name, worker)
        numbers = self.numbers()
        self.assertEqual(numbers["egress_observe_mode"], 1)
        # A replaced CA is in use until the last process has reloaded.
        self.assertEqual(numbers["egress_ca_not_after_timestamp_seconds"], 1e9)
        created = [worker.registry.get_sample_value("made_created") or 0.0 for worker in (first, second)]
        self.assertEqual(numbers["made_created"], min(created))
        (build,) = [value for name, value in numbers.items() if name.startswith("egress_build_info")]
        self.assertEqual(build, 1)

    def test_process_metrics_are_labelled_by_worker(self) -> None:
        for name in ("1", "2"):
            self.update(name, self.worker())
        numbers = self.numbers()
        for worker in ("parent", "1", "2"):
            with self.subTest(worker):
                self.assertIn(f'process_cpu_seconds_total{{worker="{worker}"}}', numbers)

    def test_the_parent_is_included(self) -> None:
        registry = CollectorRegistry()
        Counter("egress_audit_lines_lost", "Lost.", registry=registry).inc(2)
        self.totals = WorkerMetrics(registry)
        self.update("1", self.worker(lost=3))
        self.assertEqual(self.numbers()["egress_audit_lines_lost_total"], 5)

    def test_counters_never_decrease(self) -> None:
        self.update("1", self.worker(ALLOWED, connections=3, lost=2))
        self.update("2", self.worker(ALLOWED, ALLOWED, connections=4))
        for name, connections in (("1", 4), ("2", 0)):
            self.totals.fold(name)
            numbers = self.numbers()
            self.assertEqual((numbers[FORWARDED], numbers["egress_audit_lines_lost_total"]), (3, 2))
            self.assertEqual(numbers.get("egress_client_connections", 0), connections)
            self.assertNotIn(f'process_cpu_seconds_total{{worker="{name}"}}', numbers)
        self.update("1", self.worker(ALLOWED, connections=1))
        numbers = self.numbers()
        self.assertEqual((numbers[FORWARDED], numbers["egress_client_connections"]), (4, 1))
        self.totals.fold("1")
        self.totals.fold("never seen")
        self.assertEqual(self.numbers()[FORWARDED], 4)

    def test_unresponsive_worker(self) -> None:
        self.update("1", self.worker(ALLOWED, connections=3))
        self.update("2", self.worker(ALLOWED, connections=4))
        self.totals.mark_unresponsive("1")
        numbers = self.numbers()
        self.assertEqual((numbers[FORWARDED], numbers["egress_client_connections"]), (2, 4))
        self.assertNotIn('process_cpu_seconds_total{worker="1"}', numbers)
        self.update("1", self.worker(ALLOWED, ALLOWED, connections=3))
        numbers = self.numbers()
        self.assertEqual((numbers[FORWARDED], numbers["egress_client_connections"]), (3, 7))

    def test_no_workers(self) -> None:
        self.assertIn('process_cpu_seconds_total{worker="parent"}', self.numbers())
        self.assertEqual(self.totals.describe(), [])

    def test_invalid_json(self) -> None:
        found: Any
        for found in ([[]], [["x"]], [["x", "y", "no such type", []]]):
            with self.subTest(found):
                self.assertRaises(ValueError, from_json, found)


class MergeChecksTests(SynchronousTestCase):
    """The readiness checks of several processes."""

    def test_merged(self) -> None:
        good = {"authorizer": "ok", "ca": "ok"}
        bad = {"authorizer": "refuses connections", "ca": "ok"}
        worse = {"authorizer": "took too long", "ca": "expired"}
        for found, expected in (
            ({"1": good, "2": good}, {"authorizer": "ok", "ca": "ok", "workers": "ok"}),
            (
                {"1": good, "2": bad},
                {"authorizer": "worker 2: refuses connections", "ca": "ok", "workers": "ok"},
            ),
            (
                {"1": bad, "2": bad, "3": worse},
                {
                    "authorizer": "workers 1, 2: refuses connections; worker 3: took too long",
                    "ca": "worker 3: expired",
                    "workers": "ok",
                },
            ),
            ({"1": good, "2": None}, {"authorizer": "ok", "ca": "ok", "workers": "worker 2: no response"}),
            ({"1": None, "2": None}, {"workers": "workers 1, 2: no response"}),
            ({}, {"workers": "no worker is running"}),
            # Notes.
            ({"1": {"a": "ok: 1 waits"}, "2": {"a": "ok"}}, {"a": "ok: worker 1: 1 waits", "workers": "ok"}),
            (
                {"1": {"a": "ok: 1 waits"}, "2": {"a": "broken"}},
                {"a": "worker 1: ok: 1 waits; worker 2: broken", "workers": "ok"},
            ),
        ):
            with self.subTest(found):
                self.assertEqual(merge_checks(found), expected)
