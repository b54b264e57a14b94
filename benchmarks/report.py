"""From measurements to figures, and from figures to tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from benchmarks.measure import Measurement
from benchmarks.scenarios import BEFORE, BEST, COMPILED, OURS, PURE, RELAY, Figure, Scenario, Target

_GIB = 1 << 30
_NONE = "–"  # noqa: RUF001


@dataclass(frozen=True)
class Figures:
    """The figures of an entrant in the tables: medians over the rounds.

    @ivar rate: units per second, or GiB.
    @ivar cpu: CPU time in milliseconds per unit, or seconds per GiB.
    @ivar best_cpu: the CPU time of the best round.
    @ivar p50: in milliseconds, like C{p99} and C{added}.
    @ivar added: the median latency without the median latency of the same traffic without a proxy.
    @ivar opened: connections to origins per unit.
    @ivar memory: the total memory in MiB, or the memory of an idle connection in KiB.
    """

    rate: float
    cpu: float
    best_cpu: float
    p50: float
    p99: float
    added: float
    opened: float
    memory: float
    errors: int
    wrong: int

    @staticmethod
    def of(scenario: Scenario, rounds: Sequence[Measurement]) -> Figures:
        """Compute the figures."""
        work = [one.bytes / _GIB if scenario.in_gib else one.units for one in rounds]
        scale = 1 if scenario.in_gib else 1000
        cpu = [one.cpu_seconds * scale / count for one, count in zip(rounds, work, strict=True)]
        rates = [count / one.seconds if one.seconds else 0.0 for one, count in zip(rounds, work, strict=True)]
        return Figures(
            rate=median(rates),
            cpu=median(cpu),
            best_cpu=min(cpu),
            p50=median(one.p50_us for one in rounds) / 1000,
            p99=median(one.p99_us for one in rounds) / 1000,
            added=median(one.p50_us - one.direct_p50_us for one in rounds) / 1000,
            opened=median(one.origin_connections / one.units for one in rounds),
            memory=median(one.memory_kib for one in rounds) / (1 if scenario.idle else 1024),
            errors=sum(one.errors for one in rounds),
            wrong=sum(one.wrong for one in rounds),
        )

    def get(self, figure: Figure) -> float:
        """Return one figure by its name in the targets."""
        return float(getattr(self, figure))


@dataclass
class Entrant:
    """A proxy in a scenario: its valid rounds, and the reasons of its void rounds."""

    name: str
    version: str
    rounds: list[Measurement] = field(default_factory=list)
    void: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def failure(self) -> str | None:
        """The reason why it has no figures: at least half of its rounds are void."""
        if self.void and len(self.void) >= len(self.rounds):
            return self.void[0]
        return None if self.rounds else "not measured"

    def remarks(self) -> list[str]:
        """The notes about its figures."""
        some = [f"{len(self.void)} void: {self.void[0]}"] if self.void and not self.failure else []
        return [*self.notes, *some]


@dataclass
class Table:
    """A scenario and its entrants.

    @ivar cores: the number of cores of the machine.
    """

    scenario: Scenario
    entrants: list[Entrant]
    cores: int = 1

    def figures(self) -> dict[str, Figures]:
        """The figures of every entrant that did the work."""
        return {one.name: Figures.of(self.scenario, one.rounds) for one in self.entrants if not one.failure}

    def as_json(self) -> dict[str, object]:
        """Return all data, including each round."""
        figures = self.figures()
        return {
            "name": self.scenario.name,
            "title": self.scenario.title,
            "scenario": asdict(self.scenario),
            "entrants": [
                {
                    **asdict(one),
                    "failure": one.failure,
                    "figures": asdict(figures[one.name]) if not one.failure else None,
                }
                for one in self.entrants
            ],
            "targets": [asdict(one) for one in judge(self)],
        }


# -- targets


@dataclass(frozen=True)
class Judged:
    """A target, and whether it is met.

    @ivar other: the proxy to compare with.
    @ivar ratio: the ratio of our figure to the other figure; for an absolute target, our figure.
    @ivar met: C{None} without a figure to compare.
    """

    scenario: str
    target: Target
    other: str | None
    others: float | None
    ours: float | None
    ratio: float | None
    met: bool | None


def best_of(figures: Mapping[str, Figures], figure: Figure) -> str | None:
    """Return the best of the other proxies.  The relay is a lower bound, not a proxy."""
    names = [name for name in figures if not is_ours(name) and name != RELAY]
    if not names:
        return None
    pick: Callable[..., str] = max if figure == "rate" else min
    return pick(names, key=lambda name: figures[name].get(figure))


def is_ours(name: str) -> bool:
    """Whether an entrant is egressproxy, in any build, with any options."""
    return name in (OURS, COMPILED, PURE, BEFORE) or name.startswith(f"{OURS},")


def judge(table: Table) -> list[Judged]:
    """Compare the figures with the targets of the scenario."""
    figures = table.figures()
    failed = {one.name for one in table.entrants} - set(figures)
    return [
        _judge_one(table.scenario.name, figures, target, target.who in failed, table.cores)
        for target in table.scenario.judged
    ]


def _judge_one(scenario: str, figures: Mapping[str, Figures], target: Target, failed: bool, cores: int) -> Judged:
    ours = figures[target.who].get(target.figure) if target.who in figures else None
    other = best_of(figures, target.figure) if target.of == BEST else target.of
    others = figures[other].get(target.figure) if other is not None and other in figures else None
    base = 1.0 if target.of is None else others
    if ours is None or not base:
        return Judged(scenario, target, other, others, ours, None, False if failed else None)
    ratio = ours / base
    met = ratio >= target.factor if target.figure == "rate" else ratio <= target.factor
    return Judged(scenario, target, other, others, ours, ratio, met if cores >= target.cores else None)


# -- Markdown


def number(value: float | None) -> str:
    """Format a number with three significant digits, without an exponent."""
    if value is None:
        return _NONE
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    for limit, digits in ((10, 1), (1, 2), (0.1, 3), (0.01, 4)):
        if abs(value) >= limit:
            return f"{value:.{digits}f}"
    return f"{value:.5f}"


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    rule = ["---", *("---" if name in _TEXT else "---:" for name in head[1:])]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *escaped)]


_TEXT = frozenset({"in", "version", "remarks", "figure", "egressproxy", "compared with", "target", "met"})
_UNITS = {"cpu": "CPU", "rate": "rate", "p50": "p50", "added": "added latency", "memory": "KiB per connection"}


def render_table(table: Table) -> str:
    """Return the section of one scenario."""
    scenario = table.scenario
    figures = table.figures()
    per = "GiB" if scenario.in_gib else "unit"
    memory = "KiB/connection" if scenario.idle else "PSS MiB"
    ratio = f"egressproxy/peer {_UNITS[scenario.figure]}"
    ours = next((figures[name] for name in (COMPILED, PURE, *figures) if name in figures and is_ours(name)), None)
    if scenario.idle:
        head = ["proxy", "version", memory, ratio, "remarks"]
    else:
        cpu = "CPU s/GiB" if scenario.in_gib else "CPU ms/unit"
        head = [
            "proxy",
            "version",
            f"{per}/s",
            cpu,
            "best",
            "p50 ms",
            "p99 ms",
            "origin connections/unit",
            memory,
            "errors",
            "wrong",
            ratio,
            "remarks",
        ]

    def row(one: Entrant) -> list[str]:
        remarks = "; ".join(one.remarks())
        if one.failure:
            return [one.name, one.version, *[_NONE] * (len(head) - 3), "; ".join([f"fails: {one.failure}", *one.notes])]
        its = figures[one.name]
        base = its.get(scenario.figure)
        compared = number(ours.get(scenario.figure) / base) if ours and base else _NONE
        if scenario.idle:
            return [one.name, one.version, number(its.memory), compared, remarks]
        shown = [number(value) for value in (its.rate, its.cpu, its.best_cpu, its.p50, its.p99, its.opened, its.memory)]
        return [one.name, one.version, *shown, str(its.errors), str(its.wrong), compared, remarks]

    def order(one: Entrant) -> tuple[bool, float]:
        if one.failure:
            return True, 0.0
        value = figures[one.name].get(scenario.figure)
        return False, -value if scenario.figure == "rate" else value

    rows = [row(one) for one in sorted(table.entrants, key=order)]
    return "\n".join([f"## {scenario.name}: {scenario.title}", "", *_rows(head, rows)])


def render_overview(tables: Sequence[Table]) -> str:
    """Return the summary: one line for each scenario with all proxies, with the figure that orders its table."""
    compared = [table for table in tables if not table.scenario.variants]
    names = list(dict.fromkeys(one.name for table in compared for one in table.entrants))

    def row(table: Table) -> list[str]:
        scenario, figures = table.scenario, table.figures()
        cpu = "CPU s/GiB" if scenario.in_gib else "CPU ms/unit"
        what = {"cpu": cpu, "rate": "unit/s", "p50": "p50 ms", "added": "added ms", "memory": "KiB/connection"}
        took_part = {one.name for one in table.entrants}
        shown = {name: number(its.get(scenario.figure)) for name, its in figures.items()}
        cells = [shown.get(name, "fails" if name in took_part else _NONE) for name in names]
        return [scenario.name, what[scenario.figure], *cells]

    head = ["scenario", "in", *names]
    return "\n".join(["## Overview", "", *_rows(head, map(row, compared))]) if compared else ""


def render_summary(tables: Sequence[Table]) -> str:
    """Return the table of the targets of all scenarios."""
    head = ["scenario", "figure", "egressproxy", "compared with", "ours", "other", "ratio", "target", "met"]
    rows = []
    for table in tables:
        for one in judge(table):
            sign = "≥" if one.target.figure == "rate" else "≤"
            name = one.other or (_NONE if one.target.of is None else "no peer")
            if one.target.of == BEST and one.other:
                name = f"{one.other} (best)"
            met = {True: "yes", False: "no", None: "not compared"}[one.met]
            numbers = [number(one.ours), number(one.others), number(one.ratio)]
            who = one.target.who.removeprefix(OURS).strip(" ,()")
            rows.append(
                [one.scenario, _UNITS[one.target.figure], who, name, *numbers, f"{sign} {one.target.factor:g}", met]
            )
    return "\n".join(["## Targets", "", *_rows(head, rows)]) if rows else ""


def render(header: Mapping[str, str], tables: Sequence[Table], missing: Sequence[str]) -> str:
    """Return the report."""
    parts = ["# Benchmark of egressproxy and other proxies"]
    parts.append("\n".join(f"- {name}: {value}" for name, value in header.items()))
    if missing:
        parts.append("Not measured, because not installed:\n\n" + "\n".join(f"- {line}" for line in missing))
    parts += [render_overview(tables), *map(render_table, tables), render_summary(tables)]
    return "\n\n".join(part for part in parts if part) + "\n"
