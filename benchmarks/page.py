"""The results in the documentation: C{python -m benchmarks.page}.

Reads C{results.json} of a run, prints the tables of docs/explanation/performance.md, and with C{--write} replaces them
there, together with the chart.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.chart import chart
from benchmarks.measure import Measurement
from benchmarks.report import Entrant, Table, render_overview, render_summary
from benchmarks.scenarios import SCENARIOS

_TREE: Final = Path(__file__).resolve().parents[1]
PAGE: Final = _TREE / "docs/explanation/performance.md"
CHART: Final = _TREE / "docs/images/performance.svg"
_BEGIN: Final = "<!-- results of python -m benchmarks.page: begin -->\n"
_END: Final = "<!-- results of python -m benchmarks.page: end -->\n"


def read(results: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a run.

    @param results: the content of C{results.json}.
    """
    scenarios = {one.name: one for one in SCENARIOS}
    return [
        Table(
            scenarios[one["name"]],
            [
                Entrant(
                    entrant["name"],
                    entrant["version"],
                    [Measurement(**round_) for round_ in entrant["rounds"]],
                    entrant["void"],
                    entrant["notes"],
                )
                for entrant in one["entrants"]
            ],
            int(results["machine"]["cores"]),
        )
        for one in results["scenarios"]
    ]


def section(results: Mapping[str, Any]) -> str:
    """Return the part of the page between its markers."""
    machine, tables = results["machine"], read(results)
    versions = {
        entrant.name: entrant.version for table in tables for entrant in table.entrants if not table.scenario.variants
    }
    return "\n\n".join(
        [
            f"`{machine['command']}`: {machine['cores']} cores of {machine['CPU']}, {machine['kernel']},"
            f" {machine['Python']}, {machine['date']}. The figures are medians.",
            "Versions:",
            "\n".join(f"- {name}: {version}" for name, version in versions.items()),
            _deeper(render_overview(tables)),
            _deeper(render_summary(tables)),
            "",
        ]
    )


def _deeper(text: str) -> str:
    return text.replace("## ", "### ", 1)


def replaced(page: str, text: str) -> str:
    """Return the page with another part between its markers.

    @raise ValueError: if it has no markers.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError("the page has no markers for the results")
    return f"{before}{begin}\n{text}{end}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument(
        "results", type=Path, nargs="?", default=Path("benchmarks/results/results.json"), help="results.json of a run"
    )
    parser.add_argument("--write", action="store_true", help="replace the results and the chart in the documentation")
    options = parser.parse_args(arguments)
    results = json.loads(options.results.read_text(encoding="utf-8"))
    text = section(results)
    if options.write:
        PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
        CHART.write_text(chart(read(results), results["machine"]), encoding="utf-8")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
