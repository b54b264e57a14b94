"""The page: the outcome of every case, for this proxy and for other proxies (C{docs/reference/scorecard.md})."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from tests.scorecard import balanced, contents, http2_connections, http2_listeners, socks
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

This page lists {number} hostile messages and the outcome of each, for this proxy and for other proxies. In no case
does this proxy forward anything that its authorizer has not allowed.

## Summary

{sum}

The same by group. The first number of a cell counts the outcomes that are **not authorized**, the second one all
outcomes:

{by_group}

{notes}

## Method

Each case runs over TCP, with a client that sends exactly these bytes, and an origin that accepts all bytes and sends
the response of the case. An authorizer records the authorization requests. A strict reader then parses the bytes
that the origin received, and compares them with the decisions.

| Outcome | Meaning |
| --- | --- |
| rejected *N* | The client received an error response with this status, and no byte of the request reached an origin. |
| closed | The proxy closed the connection or the HTTP/2 stream without a response, and no byte reached an origin. |
| well framed | The origin received one request (×2: two) with only one reading, the authorized one. |
| well framed, then *N* | The same, and the proxy rejected the next request with this status. |
| rejected SOCKS: *N* | The same as "rejected", with this reply of SOCKS5, for `no method`, or for the `login`. |
| truncated | A response was cut in a way that the client can detect. |
| **not authorized** | A client or an origin received data with more than one reading, or without a decision, or the \
decision was about another client. |
| hang | The client received neither a response nor the end of the connection. |

In a case about a response, "well framed" describes the bytes that the client received: the response has only one
reading, and the next response belonged to the next request. The column "Expected" contains the requirements of this
project. Other proxies have other requirements; for them, the relevant result is whether an outcome is **not
authorized**.

`python -m tests.scorecard --write` generates this page. The tests run every case in memory and over TCP, and compare
the outcomes with this page.

{groups}

## Fuzzing

{fuzzing}
"""

_NOTES = """\
{versions}

Their results are recorded. `python -m tests.scorecard --write --peers` records them again if these proxies are
installed. The programs and settings are in `benchmarks/peers/`:

- Squid's external ACL receives the method and the URL of the request as Squid reads them. For the PROXY protocol, its
  listener requires the header, from the addresses of the load balancers only.
- The mitmproxy addon receives the method, the URL and the fields as mitmproxy reads them. A second addon decides on
  content, which it reads with the decoders and parsers of mitmproxy.
- The mockttp program does the same with what mockttp reads. It was run only for HTTP/2, SOCKS5, and content.

All of them send their authorization requests to the same authorizer, without content and without the address of the
client. Some cases were not run against them:

- No other proxy has an address guard, so there are no results about literal addresses.
- Squid accepts neither HTTP/2 nor SOCKS5, and reads no content.
- mitmproxy and mockttp do not accept HTTP/2 without TLS from clients of the proxy itself.
- mitmproxy and mockttp do not accept the PROXY protocol. mockttp cannot verify a SOCKS5 login.
- microsocks is not in the comparison: it has no access decision for requests."""


_INTRODUCTIONS = {
    http2_connections.GROUP: """\
After a flood, the client sends a request. "Closed" means that the proxy ended the connection because of the flood.
"Well framed" means that it processed all frames, and then the request.""",
    http2_listeners.PROXY: """\
The client connects to a listener with `h2c=yes`. "A tunnel" is the stream of a CONNECT, whose DATA frames carry
HTTP/1.1.""",
    socks.ADDRESSES: """\
The address guard is as in the default configuration. After the reply of SOCKS5, the client sends a request in the
tunnel, and reads the denial there.""",
    balanced.GROUP: """\
In the valid cases, the authorizer must see the address that the header names, or the address of the load balancer.""",
    contents.CODINGS: """\
The authorizer denies a JSON member, which the content hides. "Not authorized" means that the content reached the
origin, although a server can read the denied value, or not the value that the decision was about.""",
    contents.FORMS: "The authorizer denies a field of a form. The outcomes have the same meanings.",
}


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


def _by_group(titles: list[str], columns: list[Column]) -> str:
    lines = [
        _row("Group", "Cases", *(column.name for column in columns)),
        _row("---", "---:", *["---:"] * len(columns)),
    ]
    for title in titles:
        ids = [case.id for case in CASES if case.group == title]
        cells = []
        for column in columns:
            played = [column.outcomes[one] for one in ids if one in column.outcomes]
            bad = sum(_kind(outcome) == UNAUTHORIZED for outcome in played)
            cells.append(f"{bad} of {len(played)}" if played else "–")
        anchor = title.lower().replace("/", "").replace(" ", "-")
        lines.append(_row(f"[{title}](#{anchor})", str(len(ids)), *cells))
    return "\n".join(lines)


def _group(title: str, cases: list[Case], columns: list[Column]) -> str:
    lines = [
        f"## {title}\n",
        *([f"{_INTRODUCTIONS[title]}\n"] if title in _INTRODUCTIONS else []),
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
        "contains the number of branches that were reached. The runs with a date had the lowest priority on a machine",
        "with other programs, so the table does not compare their speeds.",
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
        "- After an empty `cookie` field at the end, the joined field of HTTP/1.1 ended with a space.",
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
    notes = _NOTES.format(versions=f"The other proxies are {versions}.") if versions else ""
    return _TEXT.format(
        number=len(CASES),
        sum=_sum(columns),
        by_group=_by_group(titles, columns),
        notes=notes,
        groups="\n\n".join(groups),
        fuzzing=_fuzzing(kept["fuzzing"]),
    )
