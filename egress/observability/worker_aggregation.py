"""What several processes find out, as if they were one: their numbers added up, their checks in one list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from egress.observability.health import OK

# What a process counts up as long as it lives: with it gone, its part remains.
_COUNTED: Final = frozenset({"counter", "histogram"})
# Of several processes the first that ends is what matters, and the one that is behind.
_LEAST: Final = frozenset({"egress_ca_not_after_seconds", "egress_policy_current", "egress_policy_rules"})
# One process is like the other, whatever their number.
_COMMON: Final = frozenset({"egress_observe_mode"})
# The sum of these would be nobody's number.
_OF_A_PROCESS: Final = "process_"

_Key = tuple[str, tuple[tuple[str, str], ...]]


def to_json(metrics: Iterable[Metric]) -> list[Any]:
    """Make numbers fit for a line between two processes."""
    return [
        [metric.name, metric.documentation, metric.type, [[*sample[:3]] for sample in metric.samples]]
        for metric in metrics
    ]


def from_json(found: Iterable[Any]) -> list[Metric]:
    """Read what L{to_json} has written.

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
    """One metric, added up."""

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
                # Since when it is counted; or until when it lasts.
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
    """The numbers of a parent and its workers.

    Counters never go back, whatever becomes of a worker: the last that was known of it is kept.

    @param parent: the parent's own registry.
    """

    def __init__(self, parent: CollectorRegistry) -> None:
        self._parent = parent
        self._latest: dict[str, list[Metric]] = {}
        self._silent: set[str] = set()
        self._gone: list[Metric] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def update(self, worker: str, metrics: list[Metric]) -> None:
        """Take the numbers of a worker, in place of earlier ones."""
        self._latest[worker] = metrics
        self._silent.discard(worker)

    def mark_unresponsive(self, worker: str) -> None:
        """A worker did not answer: of its earlier numbers, those that count up remain."""
        self._silent.add(worker)

    def fold(self, worker: str) -> None:
        """A worker is gone."""
        self._silent.discard(worker)
        latest = self._latest.pop(worker, [])
        families = _add_up([("", self._gone), ("", _counting(latest))])
        self._gone = [family.total() for family in families.values()]

    def collect(self) -> Iterator[Metric]:
        """Add up (L{prometheus_client.registry.Collector})."""
        parts: list[tuple[str, Iterable[Metric]]] = [("parent", self._parent.collect()), ("", self._gone)]
        for worker, metrics in sorted(self._latest.items()):
            parts.append((worker, _counting(metrics) if worker in self._silent else metrics))
        for family in _add_up(parts).values():
            yield family.total()

    def describe(self) -> list[Metric]:
        """Nothing is known before it is asked for (L{prometheus_client.registry.Collector})."""
        return []

    def render(self) -> tuple[bytes, str]:
        """Write all numbers in the Prometheus text format.

        @return: the text and its content type.
        """
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4


def _counting(metrics: Iterable[Metric]) -> list[Metric]:
    """Those whose part remains; what a process uses itself goes with it."""
    return [metric for metric in metrics if _Family(metric).counts and not metric.name.startswith(_OF_A_PROCESS)]


def merge_checks(found: Mapping[str, Mapping[str, str] | None]) -> dict[str, str]:
    """Make one list of checks.

    @param found: by worker, what its checks found; C{None} for one that did not answer.
    @return: by check C{"ok"}, or who says what else.
    """
    workers = OK if found else "none runs"
    silent = [worker for worker, checks in found.items() if checks is None]
    if silent:
        workers = f"{_name(silent)}: no answer"
    merged: dict[str, str] = {}
    names = dict.fromkeys(name for checks in found.values() if checks is not None for name in checks)
    for name in names:
        saying: dict[str, list[str]] = {}
        for worker, checks in found.items():
            reason = OK if checks is None else checks.get(name, OK)
            if reason != OK:
                saying.setdefault(reason, []).append(worker)
        merged[name] = "; ".join(f"{_name(who)}: {reason}" for reason, who in saying.items()) or OK
    return {**merged, "workers": workers}


def _name(workers: list[str]) -> str:
    return f"worker{'s' if len(workers) > 1 else ''} {', '.join(workers)}"
