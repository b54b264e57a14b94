"""The metrics of C{/metrics} in the data model of OpenTelemetry."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs


class Kind(enum.Enum):
    """The kind of a metric.

    @cvar COUNTER: a sum that only grows.
    @cvar GAUGE: a number.
    @cvar HISTOGRAM: a distribution.
    """

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


_KINDS: Final = {"counter": Kind.COUNTER, "histogram": Kind.HISTOGRAM}
_UNITS: Final = {"_seconds": "s", "_bytes": "By"}


@attrs.frozen
class NumberPoint:
    """The value of a counter or a gauge.

    @ivar labels: its labels.
    @ivar value: the value.
    """

    labels: Mapping[str, str]
    value: float


@attrs.frozen
class HistogramPoint:
    """The values of a histogram.

    @ivar labels: its labels.
    @ivar count: the number of values.
    @ivar total: their sum.
    @ivar bounds: the upper bounds of the buckets, except for the last bucket.
    @ivar buckets: the number of values in each bucket.
    """

    labels: Mapping[str, str]
    count: int
    total: float
    bounds: Sequence[float]
    buckets: Sequence[int]


@attrs.frozen
class Family:
    """A metric.

    @ivar name: its name, without the suffix of counters.
    @ivar description: its meaning.
    @ivar unit: its unit; empty if it has none.
    @ivar kind: its kind.
    @ivar points: its values: of a histogram, L{HistogramPoint}; otherwise, L{NumberPoint}.
    """

    name: str
    description: str
    unit: str
    kind: Kind
    points: Sequence[NumberPoint | HistogramPoint]


def families(collected: Iterable[Any]) -> Iterator[Family]:
    """Convert the families that a registry of C{prometheus_client} collects."""
    for metric in collected:
        kind = _KINDS.get(metric.type, Kind.GAUGE)
        unit = next((unit for suffix, unit in _UNITS.items() if metric.name.endswith(suffix)), "")
        if kind is Kind.HISTOGRAM:
            yield Family(metric.name, metric.documentation, unit, kind, tuple(_histograms(metric.samples)))
        else:
            name = f"{metric.name}_info" if metric.type == "info" else metric.name
            yield Family(name, metric.documentation, unit, kind, tuple(_numbers(metric.samples)))


def _numbers(samples: Iterable[Any]) -> Iterator[NumberPoint]:
    for sample in samples:
        # This is the time at which a counter began to count.
        if not sample.name.endswith("_created"):
            yield NumberPoint(sample.labels, float(sample.value))


def _histograms(samples: Iterable[Any]) -> Iterator[HistogramPoint]:
    """Join the samples of histograms: buckets in Prometheus contain the values of all smaller buckets."""
    found: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for sample in samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        point = found.setdefault(tuple(sorted(labels.items())), {"labels": labels, "les": {}, "sum": 0.0})
        if sample.name.endswith("_bucket"):
            point["les"][float(sample.labels["le"])] = int(sample.value)
        elif sample.name.endswith("_sum"):
            point["sum"] = sample.value
    for point in found.values():
        les = sorted(point["les"].items())
        cumulative = [number for _, number in les]
        yield HistogramPoint(
            point["labels"],
            cumulative[-1] if cumulative else 0,
            point["sum"],
            tuple(bound for bound, _ in les if not math.isinf(bound)),
            tuple(number - before for number, before in zip(cumulative, [0, *cumulative], strict=False)),
        )
