"""Charts, as a template draws them in SVG: coordinates, axes with units, a legend, and a table with the same numbers.

The plot is 1000 units wide and 100 units high.  The browser stretches it, and does not stretch texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from egress.console import formats

WIDTH: Final = 1000.0
HEIGHT: Final = 100.0

# The highest value is at this height, so that the text of the highest line is not on it.
_HEADROOM: Final = 0.92
_TIME_TICKS: Final = 4
# The numbers of lines above the lowest one, the best one first.
_TICKS: Final = (4, 5, 2, 1)
_BAR: Final = 0.8
_SHORTEST: Final = 0.6
# Smaller values have no power of ten.
_LOWEST: Final = 1e-9

Format = Callable[[float], str]


@attrs.frozen
class Series:
    """The values of one line, or of one part of the bars.

    @ivar name: the name, for the legend.
    @ivar kind: the class of its color.
    @ivar values: the value in each period; C{None} if there is none.
    """

    name: str
    kind: str
    values: Sequence[float | None]


@attrs.frozen
class Tick:
    """A line of an axis.

    @ivar position: the position, in percent.
    @ivar text: the text.
    @ivar anchor: the side of the text that is at the position: C{start}, C{middle} or C{end}.
    """

    position: str
    text: str
    anchor: str = "start"


@attrs.frozen
class Bar:
    """A part of a bar.

    @ivar kind: the class of its color.
    """

    kind: str
    x: str
    y: str
    width: str
    height: str


@attrs.frozen
class Line:
    """A line without gaps.

    @ivar kind: the class of its color.
    @ivar points: the coordinates.
    """

    kind: str
    points: str


@attrs.frozen
class Area:
    """The whole height of one period, with its values in words, which a browser shows under the pointer."""

    x: str
    width: str
    text: str


@attrs.frozen
class Key:
    """An entry of the legend.

    @ivar kind: the class of the color.
    @ivar name: the name of the series.
    @ivar value: the last value.
    """

    kind: str
    name: str
    value: str


@attrs.frozen(kw_only=True)
class Chart:
    """A chart.

    @ivar name: the name, for ids.
    @ivar title: the title, with the unit.
    @ivar text: the description: the time, the highest and the last value.
    @ivar empty: why there is nothing to show; otherwise an empty text.
    @ivar rows: the lines of the vertical axis.
    @ivar columns: the texts of the horizontal axis.
    @ivar bars: the bars.
    @ivar lines: the lines.
    @ivar areas: the periods.
    @ivar legend: the legend.
    @ivar head: the headers of the table.
    @ivar table: the rows of the table: a time, and the values.
    """

    name: str
    title: str
    text: str
    empty: str = ""
    rows: Sequence[Tick] = ()
    columns: Sequence[Tick] = ()
    bars: Sequence[Bar] = ()
    lines: Sequence[Line] = ()
    areas: Sequence[Area] = ()
    legend: Sequence[Key] = ()
    head: Sequence[str] = ()
    table: Sequence[tuple[str, Sequence[str]]] = ()


@attrs.frozen(kw_only=True)
class Axes:
    """What the charts of a page have in common.

    @ivar starts: the beginnings of the periods, in seconds since the epoch.
    @ivar seconds: the length of a period.
    @ivar words: the time range, as in "the last hour".
    """

    starts: Sequence[int]
    seconds: int
    words: str

    def time(self, index: int) -> str:
        """Return the time of day of a period."""
        return formats.moment(self.starts[index])[11:16]

    @property
    def columns(self) -> list[Tick]:
        """The texts of the horizontal axis."""
        found = []
        for number in range(_TIME_TICKS + 1):
            anchor = "start" if number == 0 else "end" if number == _TIME_TICKS else "middle"
            # The current period is not over.
            text = "now" if number == _TIME_TICKS else self.time(number * len(self.starts) // _TIME_TICKS)
            found.append(Tick(f"{100 * number / _TIME_TICKS:g}%", text, anchor))
        return found


@attrs.frozen(kw_only=True)
class Subject:
    """What a chart shows.

    @ivar name: the name, for ids.
    @ivar title: the title, with the unit.
    @ivar format: formats a value.
    @ivar empty: the text if there are no values.
    @ivar is_whole: whether the values are whole numbers.
    @ivar has_totals: whether the legend has the sums of the values; otherwise, it has the last values.
    @ivar top: the highest value of the axis; C{None}: it depends on the values.
    """

    name: str
    title: str
    format: Format
    empty: str = "The proxy has no numbers yet."
    is_whole: bool = False
    has_totals: bool = False
    top: float | None = None


def bar_chart(axes: Axes, subject: Subject, series: Sequence[Series]) -> Chart:
    """Make a chart with a bar in each period, which has a part for each series.

    @param axes: the periods.
    @param subject: what the chart shows.
    @param series: the series, the lowest part first.
    """
    totals = [_total([each.values[index] for each in series]) for index in range(len(axes.starts))]
    top = subject.top or scale_top(max((total for total in totals if total is not None), default=0.0))
    bars = []
    step = WIDTH / len(totals)
    for index in range(len(totals)):
        y = HEIGHT
        for each in series:
            value = each.values[index]
            if value:
                # A small number is visible, too.
                height = max(_SHORTEST, value / top * HEIGHT * _HEADROOM)
                y = max(0.0, y - height)
                x = index * step + step * (1 - _BAR) / 2
                bars.append(Bar(each.kind, _text(x), _text(y), _text(step * _BAR), _text(height)))
    return _chart(axes, subject, series, top, totals, bars=bars)


def line_chart(axes: Axes, subject: Subject, series: Sequence[Series]) -> Chart:
    """Make a chart with a line for each series.

    @param axes: the periods.
    @param subject: what the chart shows.
    @param series: the series.
    """
    highest = [_highest([each.values[index] for each in series]) for index in range(len(axes.starts))]
    top = subject.top or scale_top(max((value for value in highest if value is not None), default=0.0))
    lines = [Line(each.kind, points) for each in series for points in _lines(each.values, top)]
    return _chart(axes, subject, series, top, highest, lines=lines)


def _lines(values: Sequence[float | None], top: float) -> list[str]:
    """Return the coordinates of the lines, which end where there is no value."""
    step = WIDTH / len(values)
    found: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            found.append([])
        else:
            found[-1].append(((index + 0.5) * step, HEIGHT - value / top * HEIGHT * _HEADROOM))
    lines = []
    for points in found:
        if len(points) == 1:
            # A point has no length.
            (x, y), half = points[0], step / 2
            points = [(x - half, y), (x + half, y)]
        if points:
            lines.append(" ".join(f"{_text(x)},{_text(y)}" for x, y in points))
    return lines


def _chart(
    axes: Axes,
    subject: Subject,
    series: Sequence[Series],
    top: float,
    highest: Sequence[float | None],
    *,
    bars: Sequence[Bar] = (),
    lines: Sequence[Line] = (),
) -> Chart:
    format_, title = subject.format, subject.title
    known = [(value, index) for index, value in enumerate(highest) if value is not None]
    if not known:
        return Chart(name=subject.name, title=title, text="", empty=subject.empty)
    peak, at = max(known)
    last, _ = known[-1]
    text = f"{title}, {axes.words}. Highest: {format_(peak)} at {axes.time(at)} UTC. Last: {format_(last)}."
    step = WIDTH / len(highest)
    table = [
        (axes.time(index), [_shown(each.values[index], format_) for each in series]) for _, index in reversed(known)
    ]
    areas = [Area(_text(index * step), _text(step), _words(axes, series, index, format_)) for _, index in known]
    return Chart(
        name=subject.name,
        title=title,
        text=text,
        rows=_rows(top, subject),
        columns=axes.columns,
        bars=bars,
        lines=lines,
        areas=areas,
        legend=[Key(each.kind, each.name, _key_value(each, subject)) for each in series],
        head=("Time", *(each.name for each in series)),
        table=table,
    )


def _words(axes: Axes, series: Sequence[Series], index: int, format_: Format) -> str:
    values = (f"{each.name} {_shown(each.values[index], format_)}" for each in series)
    return f"{axes.time(index)} UTC: {', '.join(values)}"


def _key_value(series: Series, subject: Subject) -> str:
    known = [value for value in series.values if value is not None]
    if not known:
        return formats.NONE
    return subject.format(sum(known) if subject.has_totals else known[-1])


def scale_top(value: float) -> float:
    """Return the highest value of an axis: 1, 2, 4, 5 or 8 times a power of ten."""
    if value <= 0:
        return 1.0
    value = max(value, _LOWEST)
    power = 10.0 ** math.floor(math.log10(value))
    return float(next(factor * power for factor in (1, 2, 4, 5, 8, 10) if factor * power >= value * (1 - 1e-9)))


def _rows(top: float, subject: Subject) -> list[Tick]:
    """Return the lines of the vertical axis; the axis of whole numbers has no other numbers."""
    count = next((number for number in _TICKS if not subject.is_whole or top % number == 0), 1)
    return [
        Tick(f"{100 - 100 * _HEADROOM * number / count:g}%", subject.format(top * number / count), "end")
        for number in range(count + 1)
    ]


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _highest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _shown(value: float | None, format_: Format) -> str:
    return formats.NONE if value is None else format_(value)


def _text(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
