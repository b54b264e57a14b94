"""The changes of metrics between two exports, for backends that do not accept cumulative values."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from egress.tracing.metric_points import Family, HistogramPoint, Kind, NumberPoint

_Key = tuple[str, tuple[tuple[str, str], ...]]


class Deltas:
    """The values of the last export that succeeded.

    @param started: the time from which the first export counts, in nanoseconds since the epoch.
    @ivar since: the time from which the next export counts.
    """

    def __init__(self, started: int) -> None:
        self.since = started
        self._last: dict[_Key, NumberPoint | HistogramPoint] = {}
        self._next: dict[_Key, NumberPoint | HistogramPoint] = {}

    def changes(self, families: Iterable[Family]) -> list[Family]:
        """Return metrics with the changes of counters and histograms; gauges have their values."""
        self._next = {}
        return [each if each.kind is Kind.GAUGE else self._changed(each) for each in families]

    def _changed(self, family: Family) -> Family:
        points = []
        for point in family.points:
            key = family.name, tuple(sorted(point.labels.items()))
            self._next[key] = point
            points.append(_difference(point, self._last.get(key)))
        return attrs.evolve(family, points=tuple(points))

    def exported(self, now: int) -> None:
        """Begin the next period: the last changes were exported.

        @param now: the time of the export, in nanoseconds since the epoch.
        """
        self.since, self._last = now, self._next


def _difference(
    point: NumberPoint | HistogramPoint, before: NumberPoint | HistogramPoint | None
) -> NumberPoint | HistogramPoint:
    """Return the change of a point; its value if it is new, or if it began again."""
    if isinstance(point, NumberPoint):
        if isinstance(before, NumberPoint) and before.value <= point.value:
            return attrs.evolve(point, value=point.value - before.value)
        return point
    if not isinstance(before, HistogramPoint) or before.count > point.count or before.bounds != point.bounds:
        return point
    return attrs.evolve(
        point,
        count=point.count - before.count,
        total=point.total - before.total,
        buckets=tuple(number - earlier for number, earlier in zip(point.buckets, before.buckets, strict=True)),
    )
