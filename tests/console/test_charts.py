"""Tests for L{egress.console.charts}."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from egress.console.charts import HEIGHT, WIDTH, Axes, Chart, Series, Subject, bar_chart, line_chart, scale_top
from egress.console.formats import number

START = 1_800_000_000
AXES = Axes(starts=[START + 60 * index for index in range(4)], seconds=60, words="the last four minutes")
COUNTS = Subject(name="x", title="Requests per min", format=number, is_whole=True)

Values = Sequence["float | None"]


def bars(*series: Values) -> Chart:
    kinds = ("one", "two")
    return bar_chart(AXES, COUNTS, [Series(kind, kind, values) for kind, values in zip(kinds, series, strict=False)])


def lines(*series: Values, top: float | None = None) -> Chart:
    subject = Subject(name="x", title="X", format=lambda value: f"{value:g} s", top=top)
    return line_chart(AXES, subject, [Series("a", "one", values) for values in series])


class ScaleTests(SynchronousTestCase):
    """The highest value of an axis."""

    def test_values(self) -> None:
        for value, expected in ((0, 1), (1, 1), (3, 4), (7, 8), (9, 10), (11, 20), (0.03, 0.04), (0.3, 0.4), (45, 50)):
            self.assertAlmostEqual(scale_top(value), expected, msg=str(value))

    @given(some.floats(1e-9, 1e15))
    def test_above(self, value: float) -> None:
        self.assertLessEqual(value * (1 - 1e-6), scale_top(value))
        self.assertLessEqual(scale_top(value), 2.000001 * value)


class BarTests(SynchronousTestCase):
    """Bars with parts."""

    def test_parts(self) -> None:
        chart = bars([1.0, 2.0, 0.0, 4.0], [3.0, None, 0.0, 0.0])
        self.assertEqual([bar.kind for bar in chart.bars], ["one", "two", "one", "one"])
        first, second = chart.bars[:2]
        # The second part is on the first one; four is at 92 percent of the height.
        self.assertEqual((first.y, first.height, second.y, second.height), ("77", "23", "8", "69"))
        self.assertEqual((first.x, first.width), ("25", "200"))
        self.assertEqual([(key.name, key.value) for key in chart.legend], [("one", "4"), ("two", "0")])

    def test_small_numbers(self) -> None:
        """One of a million is visible."""
        chart = bars([1_000_000.0, 1.0, None, None])
        self.assertEqual(chart.bars[1].height, "0.6")

    def test_words(self) -> None:
        chart = bars([1.0, 2.0, None, 4.0], [0.0, 1.0, None, 0.0])
        time = "08:03"
        self.assertEqual(chart.text, f"Requests per min, the last four minutes. Highest: 4 at {time} UTC. Last: 4.")
        self.assertEqual(chart.areas[1].text, "08:01 UTC: one 2, two 1")
        self.assertEqual(chart.head, ("Time", "one", "two"))
        self.assertEqual(chart.table, [("08:03", ["4", "0"]), ("08:01", ["2", "1"]), ("08:00", ["1", "0"])])

    def test_totals(self) -> None:
        subject = Subject(name="x", title="X", format=number, has_totals=True)
        chart = bar_chart(AXES, subject, [Series("one", "one", [1.0, 2.0, None, 4.0]), Series("b", "two", [None] * 4)])
        self.assertEqual([key.value for key in chart.legend], ["7", "\u2013"])

    def test_empty(self) -> None:
        chart = bars([None] * 4)
        self.assertEqual((chart.empty, chart.bars, chart.text), ("The proxy has no numbers yet.", (), ""))
        self.assertEqual(bars([0.0] * 4).bars, [])

    @given(some.lists(some.one_of(some.none(), some.floats(0, 1e9)), min_size=4, max_size=4))
    def test_inside(self, values: list[float | None]) -> None:
        """Bars do not leave the plot."""
        for bar in bars(values, values).bars:
            self.assertGreaterEqual(float(bar.y), 0.0)
            self.assertLessEqual(float(bar.x) + float(bar.width), WIDTH)


class LineTests(SynchronousTestCase):
    """Lines with gaps."""

    def test_gap(self) -> None:
        chart = lines([0.0, 4.0, None, 2.0])
        self.assertEqual([line.points for line in chart.lines], ["125,100 375,8", "750,54 1000,54"])

    def test_top(self) -> None:
        self.assertEqual(lines([0.5, None, None, None], top=1.0).lines[0].points, "0,54 250,54")

    @given(some.lists(some.one_of(some.none(), some.floats(0, 1e9)), min_size=4, max_size=4))
    def test_inside(self, values: list[float | None]) -> None:
        for line in lines(values).lines:
            for point in line.points.split(" "):
                x, y = map(float, point.split(","))
                self.assertTrue(0 <= x <= WIDTH and 0 <= y <= HEIGHT, point)


class AxisTests(SynchronousTestCase):
    """Axes with units."""

    def test_rows(self) -> None:
        for highest, expected in (
            (1.0, ["0", "1"]),
            (2.0, ["0", "1", "2"]),
            (3.0, ["0", "1", "2", "3", "4"]),
            (5.0, ["0", "1", "2", "3", "4", "5"]),
            (15.0, ["0", "5", "10", "15", "20"]),
        ):
            self.assertEqual([tick.text for tick in bars([highest] * 4).rows], expected)
        self.assertEqual([tick.text for tick in lines([1.0] * 4).rows], ["0 s", "0.25 s", "0.5 s", "0.75 s", "1 s"])
        self.assertEqual((bars([1.0] * 4).rows[0].position, bars([1.0] * 4).rows[-1].position), ("100%", "8%"))

    def test_columns(self) -> None:
        columns = lines([1.0] * 4).columns
        self.assertEqual([tick.text for tick in columns], ["08:00", "08:01", "08:02", "08:03", "now"])
        self.assertEqual([tick.position for tick in columns], ["0%", "25%", "50%", "75%", "100%"])
        self.assertEqual([tick.anchor for tick in columns], ["start", "middle", "middle", "middle", "end"])
