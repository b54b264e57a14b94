"""Tests for L{benchmarks.report}: figures, targets and tables from measurements."""

from __future__ import annotations

import json
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.measure import Measurement
from benchmarks.report import Entrant, Figures, Table, best_of, judge, number, render, render_overview
from benchmarks.scenarios import BEFORE, COMPILED, OURS, PURE, RELAY, SQUID, Scenario, Target, Traffic

TRAFFIC = Traffic("tunnel", 1000)
ONE = Measurement(
    units=1000,
    seconds=2.0,
    bytes=1 << 31,
    denied=0,
    errors=0,
    wrong=0,
    p50_us=1500.0,
    p99_us=9000.0,
    cpu_seconds=1.0,
    load_cpu_seconds=0.5,
    memory_kib=2048,
    origin_connections=20,
)


def scenario(*targets: Target, traffic: Traffic = TRAFFIC, idle: bool = False) -> Scenario:
    return Scenario("some", "Something", "tunnel", traffic, targets, idle=idle)


def entrant(name: str, *cpu_seconds: float) -> Entrant:
    return Entrant(name, "1.0", [replace(ONE, cpu_seconds=cpu) for cpu in cpu_seconds])


class FiguresTests(SynchronousTestCase):
    """The median of the rounds, and the best CPU of them."""

    def test_units(self) -> None:
        found = Figures.of(scenario(), entrant("a", 3.0, 1.0, 2.0).rounds)
        self.assertEqual((found.rate, found.cpu, found.best_cpu), (500, 2.0, 1.0))
        self.assertEqual((found.p50, found.p99, found.memory), (1.5, 9.0, 2.0))

    def test_bulk(self) -> None:
        """Bytes are counted there, independent of their division into messages."""
        bulk = scenario(traffic=replace(TRAFFIC, direction="download", mib=1024))
        found = Figures.of(bulk, [ONE])
        self.assertEqual((found.rate, found.cpu), (1.0, 0.5))

    def test_idle(self) -> None:
        """The memory per connection is not shown in MiB."""
        found = Figures.of(scenario(idle=True), [replace(ONE, seconds=0.0, memory_kib=7.5)])
        self.assertEqual((found.rate, found.memory), (0.0, 7.5))


class EntrantTests(SynchronousTestCase):
    """When the figures of an entrant count."""

    def test_failure(self) -> None:
        """One bad round of three is reported; a majority of bad rounds is a failure."""
        one = entrant("a", 1.0, 1.0)
        one.void.append("why")
        self.assertEqual((one.failure, one.remarks()), (None, ["1 void: why"]))
        one.void.append("why else")
        self.assertEqual((one.failure, one.remarks()), ("why", []))
        self.assertEqual(Entrant("a", "1").failure, "not measured")


class TargetTests(SynchronousTestCase):
    """The figures of egressproxy compared with those of others."""

    def met(self, target: Target, *entrants: Entrant, cores: int = 1) -> bool | None:
        found, _ = judge(Table(scenario(target), list(entrants), cores))
        return found.met

    def test_cpu(self) -> None:
        """At most a given share of the other's CPU."""
        self.assertIs(self.met(Target("cpu", 0.5, SQUID), entrant(COMPILED, 1.0), entrant(SQUID, 2.0)), True)
        self.assertIs(self.met(Target("cpu", 0.5, SQUID), entrant(COMPILED, 1.1), entrant(SQUID, 2.0)), False)

    def test_rate(self) -> None:
        """At least the other's rate."""
        fast = Entrant(COMPILED, "1", [replace(ONE, seconds=1.0)])
        self.assertIs(self.met(Target("rate", 2.0), fast, entrant("a", 1.0)), True)
        self.assertIs(self.met(Target("rate", 2.1), fast, entrant("a", 1.0)), False)

    def test_absolute(self) -> None:
        """A target without a comparison."""
        self.assertIs(self.met(Target("memory", 2, None), entrant(COMPILED, 1.0)), True)
        self.assertIs(self.met(Target("memory", 1.9, None), entrant(COMPILED, 1.0)), False)

    def test_added_latency(self) -> None:
        """The latency without a proxy is not the proxy's."""
        ours = Entrant(COMPILED, "1", [replace(ONE, direct_p50_us=500.0)])
        other = Entrant(SQUID, "1", [replace(ONE, direct_p50_us=700.0)])
        self.assertIs(self.met(Target("added", 1.25, SQUID), ours, other), True)
        self.assertIs(self.met(Target("added", 1.24, SQUID), ours, other), False)

    def test_pure(self) -> None:
        """In each comparison, the pure build costs at most as much as before, in the figure of the scenario."""
        pure, before = Entrant(PURE, "1", [replace(ONE, memory_kib=2048)]), Entrant(BEFORE, "1", [ONE])
        compared = replace(scenario(Target("cpu", 0.5, SQUID)), figure="memory")
        _, found = judge(Table(compared, [pure, before]))
        self.assertEqual((found.target.who, found.target.figure, found.ratio, found.met), (PURE, "memory", 1.0, True))
        alone = replace(compared, variants={OURS: {}})
        self.assertEqual(len(judge(Table(alone, [entrant(OURS, 1.0)]))), 1)

    def test_nothing_to_compare(self) -> None:
        """An entrant that did not run is neither good nor bad; a failure of egressproxy is bad."""
        target = Target("cpu", 0.5, SQUID)
        self.assertIsNone(self.met(target, entrant(COMPILED, 1.0)))
        self.assertIsNone(self.met(target, entrant(SQUID, 1.0)))
        self.assertIs(self.met(target, Entrant(COMPILED, "1", void=["why"]), entrant(SQUID, 1.0)), False)

    def test_too_few_cores(self) -> None:
        """A machine with too few cores cannot show it."""
        target = Target("cpu", 0.5, SQUID, cores=4)
        both = entrant(COMPILED, 1.0), entrant(SQUID, 1.0)
        self.assertIsNone(self.met(target, *both, cores=2))
        self.assertIs(self.met(target, *both, cores=4), False)

    def test_best(self) -> None:
        """Neither egressproxy nor the relay nor a failed entrant is the best peer."""
        failing = Entrant("c", "1", [replace(ONE, cpu_seconds=0.1)], ["why"])
        entrants = [entrant(COMPILED, 0.1), entrant(f"{OURS}, 2 workers", 0.1), entrant(RELAY, 0.1), failing]
        figures = Table(scenario(), [*entrants, entrant("a", 2.0), entrant("b", 1.0)]).figures()
        self.assertEqual(best_of(figures, "cpu"), "b")
        self.assertIsNone(best_of(Table(scenario(), entrants).figures(), "cpu"))


class RenderTests(SynchronousTestCase):
    """The final report."""

    def test_number(self) -> None:
        shown = [number(value) for value in (None, 0, 12345.6, 45.67, 4.567, 0.4567, 0.0456, 0.00123)]
        self.assertEqual(shown, ["–", "0", "12346", "45.7", "4.57", "0.457", "0.0456", "0.00123"])

    def test_report(self) -> None:
        failing = Entrant("bad", "0.1", void=["says a | b"])
        table = Table(scenario(Target("cpu", 0.5)), [entrant(SQUID, 4.0), failing, entrant(COMPILED, 1.0)])
        text = render({"cores": "2"}, [table], ["Proxy: apt-get install proxy"])
        lines = [line for line in text.splitlines() if line.startswith("|")]
        self.assertEqual(
            lines[:3],
            [
                f"| scenario | in | {SQUID} | bad | {COMPILED} |",
                "| --- | --- | ---: | ---: | ---: |",
                "| some | CPU ms/unit | 4.00 | fails | 1.00 |",
            ],
        )
        lines = lines[3:]
        self.assertEqual(
            lines[2], f"| {COMPILED} | 1.0 | 500 | 1.00 | 1.00 | 1.50 | 9.00 | 0.0200 | 2.00 | 0 | 0 | 1.00 |  |"
        )
        self.assertEqual(
            lines[3], f"| {SQUID} | 1.0 | 500 | 4.00 | 4.00 | 1.50 | 9.00 | 0.0200 | 2.00 | 0 | 0 | 0.250 |  |"
        )
        self.assertTrue(lines[4].startswith("| bad | 0.1 | – |"), lines[4])
        self.assertTrue(lines[4].endswith("| fails: says a \\| b |"), lines[4])
        self.assertEqual(lines[-2], "| some | CPU | compiled | Squid (best) | 1.00 | 4.00 | 0.250 | ≤ 0.5 | yes |")
        self.assertEqual(lines[-1], "| some | CPU | pure | egressproxy before | – | – | – | ≤ 1 | not compared |")
        self.assertEqual({line.replace("\\|", "").count("|") for line in lines[:5]}, {14})
        self.assertIn("- cores: 2\n", text)
        self.assertIn("- Proxy: apt-get install proxy\n", text)

    def test_overview(self) -> None:
        """An entrant without a scenario has no figure there; variants of egressproxy are not compared with others."""
        tables = [
            Table(scenario(), [entrant(COMPILED, 1.0), entrant("a", 2.0)]),
            Table(replace(scenario(idle=True), figure="memory"), [entrant(COMPILED, 1.0), entrant("b", 1.0)]),
            Table(replace(scenario(), figure="rate"), [entrant("b", 1.0)]),
            Table(scenario(traffic=replace(TRAFFIC, direction="upload", mib=1024)), [entrant("b", 1.0)]),
        ]
        lines = render_overview(tables).splitlines()
        self.assertEqual(
            lines[2:],
            [
                f"| scenario | in | {COMPILED} | a | b |",
                "| --- | --- | ---: | ---: | ---: |",
                "| some | CPU ms/unit | 1.00 | 2.00 | – |",
                "| some | KiB/connection | 2048 | – | 2048 |",
                "| some | unit/s | – | – | 500 |",
                "| some | CPU s/GiB | – | – | 0.500 |",
            ],
        )
        alone = replace(scenario(), variants={COMPILED: {}})
        self.assertEqual(render_overview([Table(alone, [entrant(COMPILED, 1.0)])]), "")

    def test_json(self) -> None:
        """All results can be written as JSON, each round included."""
        table = Table(scenario(Target("cpu", 0.5)), [entrant(SQUID, 4.0, 5.0), Entrant("bad", "0", void=["why"])])
        read = json.loads(json.dumps(table.as_json()))
        self.assertEqual([len(one["rounds"]) for one in read["entrants"]], [2, 0])
        self.assertEqual([one["failure"] for one in read["entrants"]], [None, "why"])
        self.assertEqual(read["entrants"][0]["figures"]["cpu"], 4.5)
