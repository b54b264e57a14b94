"""Aggregation over several processes: the sum of their metrics and one list of their checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from egress.observability.health import OK, is_ok

# Types that only increase while a process lives; after its end, its part of the sum remains.
_COUNTED: Final = frozenset({"counter", "histogram"})
# Gauges of which the minimum matters: the earliest expiry, and the process that lags behind.
_LEAST: Final = frozenset(
    {
        *("egress_ca_not_after_timestamp_seconds", "egress_policy_loaded_timestamp_seconds"),
        *("egress_policy_last_reload_successful", "egress_policy_rules"),
        *("egress_audit_spool_oldest_timestamp_seconds", "egress_audit_store_reachable"),
    }
)
# Values that are the same in every process, whatever the number of processes, or soon will be: the maximum counts.
_COMMON: Final = frozenset({"egress_observe_mode", "egress_shared_ca_mismatches"})
# Metrics of one process, whose sum over processes has no meaning.
_OF_A_PROCESS: Final = "process_"

_Key = tuple[str, tuple[tuple[str, str], ...]]


def to_json(metrics: Iterable[Metric]) -> list[Any]:
    """Convert metrics to JSON for the channel between two processes."""
    return [
        [metric.name, metric.documentation, metric.type, [[*sample[:3]] for sample in metric.samples]]
        for metric in metrics
    ]


def from_json(found: Iterable[Any]) -> list[Metric]:
    """Parse the output of L{to_json}.

    @raise ValueError: for anything else.
    """
    metrics = []
    for name, documentation, kind, samples in found:
        metric = Metric(name, documentation, kind)
        for sample in samples:
            metric.add_sample(*sample)
        metrics.append(metric)
    return metrics


class _Family:
    """One metric, summed over processes."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._values: dict[_Key, float] = {}
        self.counts = metric.type in _COUNTED

    def add(self, metric: Metric, process: str) -> None:
        own = metric.name.startswith(_OF_A_PROCESS)
        for name, labels, value, *_ in metric.samples:
            key = name, tuple({**labels, "worker": process}.items() if own else labels.items())
            before = self._values.get(key)
            if before is None:
                self._values[key] = value
            elif name.endswith("_created") or name in _LEAST:
                # The time of creation, or the time of expiry.
                self._values[key] = min(before, value)
            elif metric.type == "info" or name in _COMMON:
                self._values[key] = max(before, value)
            else:
                self._values[key] = before + value

    def total(self) -> Metric:
        total = Metric(self._metric.name, self._metric.documentation, self._metric.type)
        for (name, labels), value in self._values.items():
            total.add_sample(name, dict(labels), value)
        return total


def _add_up(parts: Iterable[tuple[str, Iterable[Metric]]]) -> dict[str, _Family]:
    families: dict[str, _Family] = {}
    for process, metrics in parts:
        for metric in metrics:
            families.setdefault(metric.name, _Family(metric)).add(metric, process)
    return families


class WorkerMetrics(Collector):
    """The metrics of a supervisor and its workers.

    Counters never decrease: the last known counters of a worker that ended remain in the sum.

    @param parent: the registry of the supervisor itself.
    """

    def __init__(self, parent: CollectorRegistry) -> None:
        self._parent = parent
        self._latest: dict[str, list[Metric]] = {}
        self._silent: set[str] = set()
        self._gone: list[Metric] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def update(self, worker: str, metrics: list[Metric]) -> None:
        """Set the metrics of a worker, replacing earlier ones."""
        self._latest[worker] = metrics
        self._silent.discard(worker)

    def mark_unresponsive(self, worker: str) -> None:
        """Record that a worker did not respond: of its earlier metrics, only the counters remain in the sum."""
        self._silent.add(worker)

    def fold(self, worker: str) -> None:
        """Fold the counters of a worker that ended into the sum."""
        self._silent.discard(worker)
        latest = self._latest.pop(worker, [])
        families = _add_up([("", self._gone), ("", _counting(latest))])
        self._gone = [family.total() for family in families.values()]

    def collect(self) -> Iterator[Metric]:
        """Sum the metrics (C{prometheus_client.registry.Collector})."""
        parts: list[tuple[str, Iterable[Metric]]] = [("parent", self._parent.collect()), ("", self._gone)]
        for worker, metrics in sorted(self._latest.items()):
            parts.append((worker, _counting(metrics) if worker in self._silent else metrics))
        for family in _add_up(parts).values():
            yield family.total()

    def describe(self) -> list[Metric]:
        """Return nothing: metrics are known only after a scrape (C{prometheus_client.registry.Collector})."""
        return []

    def render(self) -> tuple[bytes, str]:
        """Render all metrics in the Prometheus text format.

        @return: the text and its content type.
        """
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4


def _counting(metrics: Iterable[Metric]) -> list[Metric]:
    """Return the counters, which remain after a process ends; its own resource usage does not."""
    return [metric for metric in metrics if _Family(metric).counts and not metric.name.startswith(_OF_A_PROCESS)]


def merge_checks(found: Mapping[str, Mapping[str, str] | None]) -> dict[str, str]:
    """Merge the checks of several workers into one list.

    @param found: by worker, the results of its checks; C{None} for a worker that did not respond.
    @return: by check C{"ok"}, or the notes or reasons with the workers that reported them.
    """
    workers = OK if found else "no worker is running"
    silent = [worker for worker, checks in found.items() if checks is None]
    if silent:
        workers = f"{_name(silent)}: no response"
    merged: dict[str, str] = {}
    names = dict.fromkeys(name for checks in found.values() if checks is not None for name in checks)
    for name in names:
        saying: dict[str, list[str]] = {}
        for worker, checks in found.items():
            reason = OK if checks is None else checks.get(name, OK)
            if reason != OK:
                saying.setdefault(reason, []).append(worker)
        noted = bool(saying) and all(map(is_ok, saying))
        texts = [
            f"{_name(who)}: {reason.removeprefix(f'{OK}: ') if noted else reason}" for reason, who in saying.items()
        ]
        merged[name] = f"{OK}: {'; '.join(texts)}" if noted else "; ".join(texts) or OK
    return {**merged, "workers": workers}


def _name(workers: list[str]) -> str:
    return f"worker{'s' if len(workers) > 1 else ''} {', '.join(workers)}"
