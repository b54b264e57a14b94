"""C{egress logs summary}: a report about the records of a filter, as text or Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from egress.cli.output import plain
from egress.store.filter_language import Condition, Equals, Filter
from egress.store.interfaces import IAuditStore

_TOP: Final = 20
_DENIED: Final = Condition("verdict", (Equals("deny"),))
_PARTS: Final = (("hosts", "Host"), ("rules", "Rule"))


def summarize(store: IAuditStore, wanted: Filter) -> dict[str, Any]:
    """Count all records of a filter, and the denied ones.

    @return: C{all} and C{denied}, each with the result of L{IAuditStore.statistics}.
    """
    denied = attrs.evolve(wanted, conditions=(*wanted.conditions, _DENIED))
    return {"all": store.statistics(wanted, _TOP), "denied": store.statistics(denied, _TOP)}


def to_text(summary: Mapping[str, Any]) -> str:
    """Write a summary for a terminal."""
    lines = [_heading(summary)]
    for title, _, rows in _tables(summary):
        lines += ["", title, *(f"{number:>10,}  {plain(name)}" for name, number in rows)]
    return "\n".join(lines) + "\n"


def to_markdown(summary: Mapping[str, Any]) -> str:
    """Write a summary as Markdown (GitHub Flavored Markdown, section 4.10, tables)."""
    lines = ["## Requests", "", _heading(summary)]
    for title, head, rows in _tables(summary):
        lines += ["", f"### {title}", "", f"| {head} | Records |", "| --- | ---: |"]
        lines += [f"| {_code(name)} | {number:,} |" for name, number in rows]
    return "\n".join(lines) + "\n"


def _heading(summary: Mapping[str, Any]) -> str:
    found = summary["all"]
    if not found["records"]:
        return "No records match."
    denied = summary["denied"]["records"]
    return f"{found['records']:,} records from {found['first']} to {found['last']}, {denied:,} denied"


def _tables(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, Sequence[tuple[str, int]]]]:
    """Yield the title, the head and the rows of each table that has rows."""
    parts = [("Verdicts", "Verdict", summary["all"]["verdicts"])]
    for name, head in _PARTS:
        parts.append((f"{head}s of denied requests", head, summary["denied"][name]))
    for name, head in _PARTS:
        parts.append((f"{head}s", head, summary["all"][name]))
    for title, head, rows in parts:
        if rows:
            yield title, head, [(row["name"], row["records"]) for row in rows]


def _code(text: str) -> str:
    """Write a text as code in a cell; clients choose hosts, so it must not end the cell or the code."""
    return f"`{plain(text).replace('`', chr(39)).replace('|', '%7C') or ' '}`"
