"""The page: the outcome of every case, for this proxy and for other proxies (C{docs/reference/scorecard.md})."""

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
# Recorded results: other proxies, and the fuzzing.
RECORDED = Path(__file__).with_name("recorded.json")

OURS = "egressproxy"
UNAUTHORIZED = "**not authorized**"

_TEXT = """\
# Scorecard

This page lists hostile messages and the outcome of each.  Each case runs over TCP, with a client that sends exactly
these bytes, and an origin that accepts all bytes and sends the response of the case.  An authorizer records the
authorization requests.  A strict reader then parses the bytes that the origin received, and compares them with the
decisions.

| Outcome | Meaning |
| --- | --- |
| rejected *N* | The client received an error response with this status, and no byte of the request reached an origin. |
| closed | The proxy closed the connection or the HTTP/2 stream without a response, and no byte reached an origin. |
| well framed | The origin received one request (×2: two) with only one reading, the authorized one. |
| well framed, then *N* | The same, and the proxy rejected the next request with this status. |
| truncated | A response was cut in a way that the client can detect. |
| **not authorized** | A client or an origin received data with more than one reading, or without a decision. |
| hang | The client received neither a response nor the end of the connection. |

In a case about a response, "well framed" describes the bytes that the client received: the response has only one
reading, and the next response belonged to the next request. The column "Expected" contains the requirements of this
project. Other proxies have other requirements; for them, the relevant result is whether an outcome is **not
authorized**.

`python -m tests.scorecard --write` generates this page. The tests run every case in memory and over TCP, and compare
the outcomes with this page.

## Summary

{sum}

{notes}

{groups}

## Fuzzing

{fuzzing}
"""

_NOTES = """\
{versions}

The other proxies use the plugins of the benchmarks (`benchmarks/peers/`). Squid's external ACL receives the method
and the URL of the request as Squid reads them. The mitmproxy addon receives the method, the URL and the fields as
mitmproxy reads them, and the mockttp program what mockttp reads. All plugins send them to the same authorizer.
`python -m tests.scorecard --write --peers` records the results again if these proxies are installed. None of them has
an address guard, and none sends content to the authorizer, so the cases about literal addresses, compressed content and
forms were not run against them. Squid does not accept HTTP/2, and mockttp was run only for HTTP/2."""


def recorded() -> dict[str, Any]:
    """Return the recorded results."""
    found: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return found


def record(**parts: Any) -> None:
    """Replace parts of the recorded results."""
    RECORDED.write_text(json.dumps({**recorded(), **parts}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@attrs.frozen
class Column:
    """One proxy.

    @ivar outcomes: the outcomes, by the id of the case.
    """

    name: str
    version: str
    outcomes: Mapping[str, str]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _kind(outcome: str) -> str:
    for kind in ("rejected", "closed", "well framed", "truncated", UNAUTHORIZED, "hang"):
        if outcome.startswith(kind):
            return kind
    return "not run"


def _sum(columns: list[Column]) -> str:
    lines = [_row("Outcome", *(column.name for column in columns)), _row("---", *["---:"] * len(columns))]
    for kind in ("rejected", "closed", "well framed", "truncated", UNAUTHORIZED, "hang", "not run"):
        counts = [sum(_kind(column.outcomes.get(case.id, "")) == kind for case in CASES) for column in columns]
        if any(counts) or kind == UNAUTHORIZED:
            lines.append(_row(kind, *map(str, counts)))
    return "\n".join(lines)


def _group(title: str, cases: list[Case], columns: list[Column]) -> str:
    lines = [
        f"## {title}\n",
        _row("Case", "Description", "Expected", *(column.name for column in columns)),
        _row("---", "---", "---", *["---"] * len(columns)),
    ]
    for case in cases:
        outcomes = [column.outcomes.get(case.id, "–") for column in columns]
        lines.append(_row(f"`{case.id}`", case.about.replace("*", "\\*"), str(case.must), *outcomes))
    return "\n".join(lines)


def _fuzzing(results: list[dict[str, Any]]) -> str:
    lines = [
        "Each parser of untrusted bytes has a target in `fuzz/`. The target checks that the parser raises only its",
        "documented exceptions, and that the events do not depend on how the bytes are split. It also checks that",
        "buffers and the number of steps are bounded. Forwarded bytes must have only one reading in the strict reader",
        "of the cases above. A second, independent reader must find the same messages. With atheris:",
        "",
        "```sh",
        "tox run -e fuzz -- --runs 1000000",
        "```",
        "",
        "For protocols with lengths, most mutations change whole frames, and write correct lengths. The target",
        "`proxy_protocol` reads the header of a load balancer. `http2` reads the frames of a client, `http2_session`",
        "processes them up to the origins, and `http2_origin` reads the frames of an origin. The column Branches",
        "contains the number of branches that were reached.",
        "",
        _row("Target", "Executions", "Seconds", "Date", "Branches", "Findings"),
        _row("---", "---:", "---:", "---", "---:", "---"),
    ]
    for one in results:
        reached = f"{one['edges']:,}" if "edges" in one else "–"
        counts = (f"{one['runs']:,}", f"{one['seconds']:,}", one.get("date", "–"), reached)
        lines.append(_row(f"`{one['target']}`", *counts, one["findings"]))
    lines += [
        "",
        "The fuzzing found these errors, which are fixed and have unit tests:",
        "",
        "- A request in HTTP/2 with trailers could contain less content than its `content-length` announced. An origin",
        "  with HTTP/1.1 would have taken the next request for the rest of the content.",
        "- A head with two errors was rejected for one or the other, depending on how its bytes were split. The same",
        "  applied to a response of an upstream proxy to a CONNECT that exceeds its limit.",
        "- Lengths with leading zeros, and `Content_Length`, were forwarded in responses.",
        "- Comments and line ends counted towards the limit of an event only if they arrived in several reads.",
        "- The proxy reset a stream of HTTP/2 again when fields arrived after its first reset.",
        "- A `CONTINUATION` without a header block could be an error of a stream, and not of the connection.",
    ]
    return "\n".join(lines)


def text_of(ours: Mapping[str, str]) -> str:
    """Return the text of the page.

    @param ours: the outcomes of this proxy.
    """
    kept = recorded()
    columns = [Column(OURS, "", ours), *(Column(**peer) for peer in kept["peers"])]
    titles = list(dict.fromkeys(case.group for case in CASES))
    groups = [_group(title, [case for case in CASES if case.group == title], columns) for title in titles]
    versions = ", ".join(f"{column.name} {column.version}" for column in columns[1:])
    notes = _NOTES.format(versions=f"Versions of the other proxies: {versions}.") if versions else ""
    return _TEXT.format(sum=_sum(columns), notes=notes, groups="\n\n".join(groups), fuzzing=_fuzzing(kept["fuzzing"]))
