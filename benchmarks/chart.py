"""The chart of a run: the CPU time of every proxy in the main scenarios, as SVG.

A page shows it as an image, so the colors follow the color scheme of the reader within the image, and the figures are
also in its description.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from benchmarks.report import Table, is_ours, number
from benchmarks.scenarios import COMPILED, RELAY

# The scenarios of the panels, with their titles.
PANELS: Final = {
    "forward-authz": "Plain HTTP, authorization request",
    "intercept": "Intercepted, local rule",
    "intercept-authz": "Intercepted, authorization request",
    "http2-h2-authz": "Intercepted HTTP/2, authorization request",
    "intercept-new": "New intercepted connection",
    "tunnel-setup": "New opaque tunnel",
}
# The reference relay is not a proxy.
_LEFT_OUT: Final = (RELAY, "stock Twisted")

_COLUMNS: Final = 2
_PANEL: Final = 430
_MARGIN: Final = 20
_LABELS: Final = 165
_BARS: Final = 200
_ROW: Final = 20
_BAR: Final = 13
_TITLE: Final = 30
_HEADER: Final = 64

_STYLE: Final = """\
svg { font: 13px system-ui, sans-serif }
.page { fill: #ffffff }
text { fill: #1f2328 }
.title { font-weight: 600 }
.note { fill: #59636e }
.peer { fill: #8c959f }
.ours { fill: #54aeff }
.best { fill: #0969da }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117 }
text { fill: #e6edf3 }
.note { fill: #9198a1 }
.peer { fill: #656c76 }
.ours { fill: #1f6feb }
.best { fill: #79c0ff }
}
"""


@dataclass(frozen=True)
class Panel:
    """A group of bars.

    @ivar figures: the CPU time of each proxy, in milliseconds for each request or connection.
    """

    title: str
    figures: Mapping[str, float]

    @property
    def ordered(self) -> list[tuple[str, float]]:
        """The proxies, from the lowest to the highest cost."""
        return sorted(self.figures.items(), key=lambda one: one[1])

    @property
    def height(self) -> int:
        """The height of the panel."""
        return _TITLE + _ROW * len(self.figures) + _MARGIN


def panels(tables: Iterable[Table]) -> list[Panel]:
    """Return the panels of the scenarios that were measured."""
    by_name = {table.scenario.name: table for table in tables}
    found = []
    for name, title in PANELS.items():
        figures = by_name[name].figures() if name in by_name else {}
        costs = {one: its.cpu for one, its in figures.items() if one not in _LEFT_OUT}
        if costs:
            found.append(Panel(title, costs))
    return found


def chart(tables: Iterable[Table], header: Mapping[str, str]) -> str:
    """Return the chart of a run."""
    where = ", ".join(header[name] for name in ("CPU", "Python", "date") if name in header)
    return render_chart(panels(tables), where)


def describe(found: Sequence[Panel]) -> str:
    """Return the figures as text."""
    lines = (f"{one.title}: {', '.join(f'{name} {number(cost)}' for name, cost in one.ordered)}." for one in found)
    return " ".join(["CPU milliseconds of each proxy.", *lines])


def render_chart(found: Sequence[Panel], where: str) -> str:
    """Return the SVG.

    @param where: the machine and the date.
    """
    rows = [found[at : at + _COLUMNS] for at in range(0, len(found), _COLUMNS)]
    width = 2 * _MARGIN + _COLUMNS * _PANEL
    height = _HEADER + sum(max(one.height for one in row) for row in rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' role="img" aria-labelledby="title description">',
        '<title id="title">CPU time of egressproxy and of other proxies</title>',
        f'<desc id="description">{escape(describe(found))}</desc>',
        f"<style>\n{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        _text(_MARGIN, 28, "CPU time of the proxy, ms for each request or connection (shorter is better)", "title"),
        _text(_MARGIN, 48, where, "note"),
    ]
    top = _HEADER
    for row in rows:
        for at, panel in enumerate(row):
            parts += _panel(panel, _MARGIN + at * _PANEL, top)
        top += max(one.height for one in row)
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: int, top: int) -> Iterator[str]:
    longest = max(panel.figures.values()) or 1.0
    yield _text(left, top + 18, panel.title, "title")
    for at, (name, cost) in enumerate(panel.ordered):
        middle = top + _TITLE + _ROW * at + _BAR - 2
        kind = "best" if name == COMPILED else "ours" if is_ours(name) else "peer"
        length = max(1.0, cost / longest * _BARS)
        yield _text(left, middle, name, "")
        place = f'x="{left + _LABELS}" y="{middle - _BAR + 2}" width="{length:.1f}" height="{_BAR}"'
        yield f'<rect class="{kind}" {place} rx="2"/>'
        yield _text(left + _LABELS + length + 6, middle, number(cost), "note")


def _text(x: float, y: float, text: str, kind: str) -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.0f}"{attribute}>{escape(text)}</text>'
