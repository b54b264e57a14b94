"""Tests for L{egress.tracing.deltas}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.tracing.deltas import Deltas
from egress.tracing.metric_points import Family, HistogramPoint, Kind, NumberPoint


def counter(**values: float) -> Family:
    points = [NumberPoint({"verdict": name}, value) for name, value in values.items()]
    return Family("decisions", "", "", Kind.COUNTER, points)


def histogram(count: int, total: float, *buckets: int) -> Family:
    return Family("seconds", "", "s", Kind.HISTOGRAM, [HistogramPoint({}, count, total, (0.1,), buckets)])


class DeltasTests(SynchronousTestCase):
    """The changes since the last export that succeeded."""

    def setUp(self) -> None:
        self.deltas = Deltas(5)

    def test_counters(self) -> None:
        self.assertEqual(self.deltas.changes([counter(allow=3)]), [attrs_of(counter(allow=3))])
        self.deltas.exported(9)
        self.assertEqual(self.deltas.since, 9)
        self.assertEqual(self.deltas.changes([counter(allow=5, deny=1)]), [attrs_of(counter(allow=2, deny=1))])

    def test_failed_export(self) -> None:
        """The next export contains the changes of a failed one."""
        self.deltas.changes([counter(allow=3)])
        self.assertEqual(self.deltas.changes([counter(allow=4)]), [attrs_of(counter(allow=4))])
        self.assertEqual(self.deltas.since, 5)

    def test_restart(self) -> None:
        """A counter that is lower than before began again."""
        self.deltas.changes([counter(allow=7), histogram(9, 1.0, 4, 5)])
        self.deltas.exported(9)
        self.assertEqual(
            self.deltas.changes([counter(allow=2), histogram(1, 0.5, 1, 0)]),
            [attrs_of(counter(allow=2)), attrs_of(histogram(1, 0.5, 1, 0))],
        )

    def test_histograms(self) -> None:
        self.deltas.changes([histogram(3, 1.0, 2, 1)])
        self.deltas.exported(9)
        self.assertEqual(self.deltas.changes([histogram(5, 1.5, 4, 1)]), [attrs_of(histogram(2, 0.5, 2, 0))])
        other = Family("seconds", "", "s", Kind.HISTOGRAM, [HistogramPoint({}, 6, 2.0, (0.2,), (6, 0))])
        self.deltas.exported(10)
        self.assertEqual(self.deltas.changes([other]), [attrs_of(other)])

    def test_gauges(self) -> None:
        gauge = Family("connections", "", "", Kind.GAUGE, [NumberPoint({}, 4)])
        for _ in range(2):
            self.assertEqual(self.deltas.changes([gauge]), [gauge])
            self.deltas.exported(9)


def attrs_of(family: Family) -> Family:
    """Return a family whose points are a tuple."""
    return Family(family.name, family.description, family.unit, family.kind, tuple(family.points))
