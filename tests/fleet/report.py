"""The report of a run.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.fleet.joined import Verdict
from tests.fleet.schedule import Step

_SHOWN = 50


def render(command: str, seconds: float, steps: Sequence[Step], verdict: Verdict) -> str:
    """Return the report as Markdown.

    @param seconds: the duration of the load.
    """
    lines = [
        "# A fleet under faults",
        "",
        f"`{command}`: {seconds / 60:.1f} minutes, {'passed' if verdict.passed else 'FAILED'}",
        "",
        *(f"- {topic}: {_table(counts)}" for topic, counts in verdict.counts.items() if counts),
        *(f"- {name}: {value:g}" for name, value in verdict.figures.items()),
    ]
    if verdict.failures:
        lines += ["", f"{len(verdict.failures)} violations:", "", *(f"- {one}" for one in verdict.failures[:_SHOWN])]
    return "\n".join([*lines, "", "Steps:", "", *(f"    {step}" for step in steps)]) + "\n"


def _table(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items(), key=lambda one: -one[1]))
