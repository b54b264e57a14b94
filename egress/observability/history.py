"""The history of the metrics: their changes in the last hour by minute, and in the last day by quarter of an hour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

VERDICTS: Final = ("allow", "deny", "unavailable", "rejected", "failed")
"""The verdicts of requests."""

CACHE_RESULTS: Final = ("hit", "shared", "stale", "miss")
"""The results of a lookup in the cache of decisions."""

MINUTE: Final = 60
QUARTER: Final = 900

_BUCKET: Final = "decision_within."
_VERSION: Final = 1

# The samples of counters, with a label that distinguishes counts, or an empty text.
_COUNTERS: Final[Mapping[str, tuple[str, str]]] = {
    "egress_decisions_total": ("verdict", "verdict"),
    "egress_authorizer_cache_lookups_total": ("cache", "result"),
    "egress_authorizer_failures_total": ("authorizer_failures", ""),
    "egress_authorizer_breaker_opened_total": ("breaker_opened", ""),
    "egress_sent_bytes_total": ("sent", ""),
    "egress_received_bytes_total": ("received", ""),
    "egress_audit_lines_lost_total": ("lost", ""),
    "egress_client_connections_rejected_total": ("connections_rejected", ""),
    "egress_worker_restarts_total": ("worker_restarts", ""),
    "process_cpu_seconds_total": ("cpu_seconds", ""),
}
_BUCKETS: Final = "egress_decision_seconds_bucket"
# The samples of gauges.
_GAUGES: Final[Mapping[str, tuple[str, str]]] = {
    "egress_authorizer_breaker": ("breaker", "state"),
    "egress_authorizer_requests_in_progress": ("in_progress", ""),
    "egress_authorizer_requests_queued": ("queued", ""),
    "egress_client_connections": ("connections", ""),
    "egress_approvals_pending": ("approvals", ""),
    "egress_audit_store_queued": ("store_queued", ""),
    "egress_workers": ("workers", "state"),
    "egress_observe_mode": ("observing", ""),
    "process_resident_memory_bytes": ("memory", ""),
}
_EXPIRY: Final = "egress_ca_not_after_timestamp_seconds"
# Gauges of which the lowest value matters.
_LOWEST: Final = frozenset({"workers.running"})


@attrs.frozen
class Reading:
    """The values of the metrics at one time.

    @ivar counters: values that only increase.
    @ivar gauges: values that also decrease.
    @ivar ca_expiry: the expiry of the CA, in seconds since the epoch; C{None} if it is unknown.
    """

    counters: Mapping[str, float]
    gauges: Mapping[str, float]
    ca_expiry: float | None = None

    @classmethod
    def parse(cls, text: str) -> Reading:
        """Parse metrics in the text format."""
        return cls.of(text_string_to_metric_families(text))

    @classmethod
    def of(cls, families: Iterable[Metric]) -> Reading:
        """Take the values of metrics."""
        counters: dict[str, float] = {}
        gauges: dict[str, float] = {}
        expiry = None
        for family in families:
            for name, labels, value, *_ in family.samples:
                if name in _COUNTERS:
                    key = _key(_COUNTERS[name], labels)
                    counters[key] = counters.get(key, 0.0) + value
                elif name == _BUCKETS:
                    key = _BUCKET + labels["le"]
                    counters[key] = counters.get(key, 0.0) + value
                elif name in _GAUGES:
                    key = _key(_GAUGES[name], labels)
                    gauges[key] = gauges.get(key, 0.0) + value
                elif name == _EXPIRY:
                    expiry = value
        return cls(counters, gauges, expiry)


def _key(found: tuple[str, str], labels: Mapping[str, str]) -> str:
    name, label = found
    return f"{name}.{labels.get(label, '')}" if label else name


@attrs.frozen
class Period:
    """The changes in a period of time.

    @ivar start: the beginning, in seconds since the epoch.
    @ivar counts: by how much counters increased.
    @ivar peaks: the highest values of gauges; of some, the lowest values.
    """

    start: int
    counts: Mapping[str, float] = attrs.field(factory=dict)
    peaks: Mapping[str, float] = attrs.field(factory=dict)

    def add(self, other: Period) -> Period:
        """Return the changes in both periods, with the beginning of this one."""
        counts = {**self.counts}
        for name, value in other.counts.items():
            counts[name] = counts.get(name, 0.0) + value
        peaks = {**self.peaks}
        for name, value in other.peaks.items():
            choose = min if name in _LOWEST else max
            peaks[name] = choose(peaks.get(name, value), value)
        return Period(self.start, counts, peaks)

    def count(self, name: str) -> float:
        """Return by how much a counter increased."""
        return self.counts.get(name, 0.0)

    @property
    def requests(self) -> float:
        """The number of requests."""
        return sum(self.count(f"verdict.{verdict}") for verdict in VERDICTS)

    @property
    def decisions(self) -> list[tuple[float, float]]:
        """The durations of decisions: for each bound in seconds, the number of decisions up to it."""
        names = [name for name in self.counts if name.startswith(_BUCKET)]
        found = sorted((float(name.removeprefix(_BUCKET)), self.counts[name]) for name in names)
        return found if found and found[-1][1] > 0 else []

    @property
    def hit_rate(self) -> float | None:
        """The share of lookups for which the authorizer was not queried; C{None} without a lookup."""
        lookups = sum(self.count(f"cache.{result}") for result in CACHE_RESULTS)
        return None if lookups == 0 else 1.0 - self.count("cache.miss") / lookups


def quantile(distribution: Sequence[tuple[float, float]], share: float) -> float | None:
    """Estimate a quantile by interpolation; above the last finite bound, return that bound.

    @param distribution: for each bound, the number of values up to it; the last bound is infinite.
    @return: C{None} if there is no value.
    """
    if not distribution or distribution[-1][1] <= 0:
        return None
    wanted = share * distribution[-1][1]
    low, before = 0.0, 0.0
    for bound, number in distribution:
        if number >= wanted and number > before:
            return low if bound == float("inf") else low + (bound - low) * (wanted - before) / (number - before)
        if bound != float("inf"):
            low, before = bound, number
    return low


class Ring:
    """The last periods of one length.

    @param seconds: the length of a period.
    @param size: the number of periods.
    """

    def __init__(self, seconds: int, size: int) -> None:
        self.seconds = seconds
        self.size = size
        self._periods: dict[int, Period] = {}

    def add(self, period: Period) -> None:
        """Add changes to the period in which they began."""
        start = period.start // self.seconds * self.seconds
        self._periods[start] = self._periods.get(start, Period(start)).add(period)
        for old in [key for key in self._periods if key <= start - self.size * self.seconds]:
            del self._periods[old]

    def last(self, now: float) -> list[Period | None]:
        """Return the periods up to the current one; C{None}: the proxy did not run."""
        current = int(now) // self.seconds * self.seconds
        starts = range(current - (self.size - 1) * self.seconds, current + 1, self.seconds)
        return [self._periods.get(start) for start in starts]

    def starts(self, now: float) -> list[int]:
        """Return the beginnings of the periods of L{last}."""
        current = int(now) // self.seconds * self.seconds
        return list(range(current - (self.size - 1) * self.seconds, current + 1, self.seconds))

    def __iter__(self) -> Iterator[Period]:
        """Iterate over the periods."""
        return iter(self._periods.values())


class History:
    """The last hour and the last day.

    @ivar hour: the last hour.
    @ivar day: the last day.
    @ivar current: the last reading.
    """

    def __init__(self) -> None:
        self.hour = Ring(MINUTE, 60)
        self.day = Ring(QUARTER, 96)
        self.current: Reading | None = None

    def add(self, reading: Reading, now: float) -> None:
        """Add a reading.  Counters begin at zero with the process."""
        before = {} if self.current is None else self.current.counters
        counts = {name: max(0.0, value - before.get(name, 0.0)) for name, value in reading.counters.items()}
        self.current = reading
        period = Period(int(now), counts, reading.gauges)
        for ring in (self.hour, self.day):
            ring.add(period)

    def to_json(self) -> dict[str, Any]:
        """Return the history as a JSON document."""
        rings = {"hour": self.hour, "day": self.day}
        return {"version": _VERSION, **{name: [_to_json(each) for each in ring] for name, ring in rings.items()}}

    def restore(self, document: Any) -> None:
        """Add the periods of an earlier process.

        @param document: the output of L{to_json}.
        @raise ValueError: if it is something else; then nothing is added.
        """
        try:
            if document["version"] != _VERSION:
                raise ValueError(f"version {document['version']}")
            found = [
                (ring, [_from_json(each) for each in document[name]])
                for name, ring in (("hour", self.hour), ("day", self.day))
            ]
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"is not a history of metrics: {error}") from error
        for ring, periods in found:
            for period in sorted(periods, key=lambda each: each.start):
                ring.add(period)


def _to_json(period: Period) -> dict[str, Any]:
    # Values that did not change need no space.
    counts = {name: value for name, value in period.counts.items() if value}
    return {"start": period.start, "counts": counts, "peaks": dict(period.peaks)}


def _from_json(document: Mapping[str, Any]) -> Period:
    return Period(int(document["start"]), _numbers(document["counts"]), _numbers(document["peaks"]))


def _numbers(found: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in found.items()}
