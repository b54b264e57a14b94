"""The page: what became of every case, for this proxy and for others (C{docs/reference/scorecard.md})."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from tests.scorecard.cases import Case
from tests.scorecard.corpus import CASES

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reference" / "scorecard.md"
# What was measured elsewhere and at another time: other proxies, and the fuzzing.
RECORDED = Path(__file__).with_name("recorded.json")

OURS = "egressproxy"
UNAUTHORIZED = "**not authorized**"

_TEXT = """\
# Scorecard

Hostile messages, and what becomes of them. Each case is played over TCP between a client that sends exactly these
bytes, an origin that takes whatever comes and answers as the case says, and an authorizer that notes what it was asked.
Then what the origin got is read, as strictly as can be, and compared with what was decided on.

| Outcome | What it means |
| --- | --- |
| refused *N* | The client got this status, and nothing of the request reached an origin. |
| closed | The connection was closed without an answer, and nothing reached an origin. |
| well framed | What reached the origin is one request (×2: two) with one reading, the one that was decided on. |
| well framed, then *N* | The same, and what came behind it was refused. |
| cut | An answer was broken off, so that the client sees that something is missing. |
| **not authorized** | Somebody got something that has another reading, or that was not decided on. |
| hang | Nothing happened. |

Where a case is about an answer, "well framed" is what the client got: it has one reading, and what came next was the
answer to the next request. "Must" is what this project demands of itself; other proxies have other aims, and what
counts there is whether anything was **not authorized**.

This page is made by `python -m tests.scorecard --write`; the tests play every case in memory and over TCP, and compare.

## In sum

{sum}

{notes}

{groups}

## Fuzzing

{fuzzing}
"""

_NOTES = """\
{versions}

Squid and mitmproxy decide by the plugins of the benchmarks (`benchmarks/peers/`): Squid's external ACL is given method
and URL, mitmproxy's addon method, URL and fields of the request, as each of them sees it, and both put that to the same
authorizer. `python -m tests.scorecard --write --peers` records them anew where they are installed. Neither has an
address guard of its own, so the cases about literal addresses were not put to them."""


def recorded() -> dict[str, Any]:
    """What was measured elsewhere."""
    found: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return found


def record(**parts: Any) -> None:
    """Replace parts of it."""
    RECORDED.write_text(json.dumps({**recorded(), **parts}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@attrs.frozen
class Column:
    """One proxy.

    @ivar outcomes: by the id of the case.
    """

    name: str
    version: str
    outcomes: Mapping[str, str]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _kind(outcome: str) -> str:
    for kind in ("refused", "closed", "well framed", "cut", UNAUTHORIZED, "hang"):
        if outcome.startswith(kind):
            return kind
    return "not played"


def _sum(columns: list[Column]) -> str:
    lines = [_row("Outcome", *(column.name for column in columns)), _row("---", *["---:"] * len(columns))]
    for kind in ("refused", "closed", "well framed", "cut", UNAUTHORIZED, "hang", "not played"):
        counts = [sum(_kind(column.outcomes.get(case.id, "")) == kind for case in CASES) for column in columns]
        if any(counts) or kind == UNAUTHORIZED:
            lines.append(_row(kind, *map(str, counts)))
    return "\n".join(lines)


def _group(title: str, cases: list[Case], columns: list[Column]) -> str:
    lines = [
        f"## {title}\n",
        _row("Case", "What it is", "Must", *(column.name for column in columns)),
        _row("---", "---", "---", *["---"] * len(columns)),
    ]
    for case in cases:
        outcomes = [column.outcomes.get(case.id, "–") for column in columns]
        lines.append(_row(f"`{case.id}`", case.about.replace("*", "\\*"), str(case.must), *outcomes))
    return "\n".join(lines)


def _fuzzing(results: list[dict[str, Any]]) -> str:
    lines = [
        "Each parser of what strangers send has a target in `fuzz/`: no exception but the declared ones, the same",
        "events however the bytes are split, bounded buffers, an end in a bounded number of steps, and what is sent on",
        "has one reading to the strict reader that judges the cases above. With atheris:",
        "",
        "```sh",
        "tox run -e fuzz -- --runs 1000000",
        "```",
        "",
        _row("Target", "Executions", "Seconds", "Findings"),
        _row("---", "---:", "---:", "---"),
    ]
    lines += [_row(f"`{one['target']}`", f"{one['runs']:,}", f"{one['seconds']:,}", one["findings"]) for one in results]
    lines += [
        "",
        "Found on the way, mended, and kept as unit tests: a head with two faults was refused for one or the other,",
        "as its bytes were split; the same for an upstream proxy's answer to a CONNECT that is over its limit; lengths",
        "with leading zeros, and `Content_Length`, were passed on in answers.",
    ]
    return "\n".join(lines)


def text_of(ours: Mapping[str, str]) -> str:
    """The page.

    @param ours: what became of the cases here.
    """
    kept = recorded()
    columns = [Column(OURS, "", ours), *(Column(**peer) for peer in kept["peers"])]
    titles = list(dict.fromkeys(case.group for case in CASES))
    groups = [_group(title, [case for case in CASES if case.group == title], columns) for title in titles]
    versions = ", ".join(f"{column.name} {column.version}" for column in columns[1:])
    notes = _NOTES.format(versions=f"The others: {versions}.") if versions else ""
    return _TEXT.format(sum=_sum(columns), notes=notes, groups="\n\n".join(groups), fuzzing=_fuzzing(kept["fuzzing"]))
