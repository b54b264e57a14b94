"""Tests for L{benchmarks.page} and L{benchmarks.chart}: the results in the documentation."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import page
from benchmarks.chart import PANELS, Panel, chart, panels, render_chart
from benchmarks.page import main, read, replaced, section
from benchmarks.report import Entrant, Table
from benchmarks.scenarios import COMPILED, RELAY, SCENARIOS, SQUID
from tests.benchmarks.test_report import entrant

MACHINE = {
    "CPU": "Some & Co", "cores": "2", "kernel": "Linux 6", "Python": "CPython 3", "date": "today", "command": "run it"
}  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"


def tables() -> list[Table]:
    by_name = {one.name: one for one in SCENARIOS}
    entrants = [entrant(COMPILED, 1.0), entrant(SQUID, 4.0), Entrant("bad", "0", void=["why"])]
    return [Table(by_name["intercept-authz"], entrants, 2), Table(by_name["tunnel-setup"], [entrant(RELAY, 1.0)], 2)]


def results() -> dict[str, Any]:
    whole = {"machine": MACHINE, "missing": [], "scenarios": [one.as_json() for one in tables()]}
    read_back: dict[str, Any] = json.loads(json.dumps(whole))
    return read_back


class ChartTests(SynchronousTestCase):
    """The picture."""

    def test_panels(self) -> None:
        """The reference relay and proxies that fail have no bar, and a panel without bars is left out."""
        self.assertEqual(panels(tables()), [Panel(PANELS["intercept-authz"], {COMPILED: 1.0, SQUID: 4.0})])

    def test_scenarios(self) -> None:
        self.assertLessEqual(PANELS.keys(), {one.name for one in SCENARIOS})

    def test_svg(self) -> None:
        root = ElementTree.fromstring(chart(tables(), MACHINE))
        bars = [one for one in root.iter(f"{SVG}rect") if one.get("class") != "page"]
        self.assertEqual([(one.get("class"), one.get("width")) for one in bars], [("best", "50.0"), ("peer", "200.0")])
        texts = [one.text for one in root.iter(f"{SVG}text")]
        self.assertIn("Some & Co, CPython 3, today", texts)
        self.assertEqual(texts[-4:], [COMPILED, "1.00", SQUID, "4.00"])

    def test_text_alternative(self) -> None:
        root = ElementTree.fromstring(chart(tables(), MACHINE))
        self.assertEqual((root.get("role"), root.get("aria-labelledby")), ("img", "title description"))
        ids = {one.get("id"): one.text or "" for one in root if one.get("id")}
        self.assertEqual(ids.keys(), {"title", "description"})
        self.assertIn(f"{COMPILED} 1.00, {SQUID} 4.00", ids["description"])

    def test_within_the_page(self) -> None:
        """Panels do not overlap, and the longest bar has room for its figure."""
        many = [Panel(f"panel {at}", {f"proxy {name}": 1.0 + name for name in range(8 + at)}) for at in range(5)]
        root = ElementTree.fromstring(render_chart(many, "here"))
        width, height = float(root.get("width") or 0), float(root.get("height") or 0)
        places = [(float(one.get("x") or 0), float(one.get("y") or 0)) for one in root.iter(f"{SVG}text")]
        self.assertEqual(len(set(places)), len(places))
        self.assertTrue(all(0 < x < width - 40 and 0 < y < height for x, y in places))


class PageTests(SynchronousTestCase):
    """The tables."""

    def test_read(self) -> None:
        """The results have everything that the tables show."""
        for before, after in zip(tables(), read(results()), strict=True):
            self.assertEqual((after.scenario, after.entrants, after.cores), (before.scenario, before.entrants, 2))

    def test_section(self) -> None:
        text = section(results())
        self.assertTrue(text.startswith("`run it`: 2 cores of Some & Co, Linux 6, CPython 3, today."))
        self.assertIn(f"- {COMPILED}: 1.0\n- {SQUID}: 1.0\n- bad: 0\n", text)
        self.assertIn("\n### Overview\n", text)
        self.assertIn("\n### Targets\n", text)

    def test_replaced(self) -> None:
        begin, end = page._BEGIN, page._END  # noqa: SLF001
        self.assertEqual(replaced(f"a\n{begin}old\n{end}b\n", "new\n"), f"a\n{begin}\nnew\n{end}b\n")
        self.assertRaises(ValueError, replaced, "a\nb\n", "new\n")

    def test_command(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        path, shown = directory / "results.json", io.StringIO()
        path.write_text(json.dumps(results()))
        self.patch(sys, "stdout", shown)
        self.assertEqual(main([str(path)]), 0)
        self.assertEqual(shown.getvalue(), section(results()) + "\n")
        written, picture = directory / "page.md", directory / "chart.svg"
        written.write_text(page.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
        self.patch(page, "PAGE", written)
        self.patch(page, "CHART", picture)
        self.assertEqual(main([str(path), "--write"]), 0)
        self.assertIn(section(results()), written.read_text(encoding="utf-8"))
        self.assertEqual(picture.read_text(encoding="utf-8"), chart(tables(), MACHINE))
