"""The maximum cost of single requests: C{python -m benchmarks.worst_case}.

Each case of the corpus is one request (or several requests on one connection) within the limits of the proxy.  In this
process and without sockets, the benchmark runs the steps of the proxy until the decision: it reads the head, finds the
destination, prepares the fields, and evaluates the embedded policy, with the content if the policy needs it.  Then it
writes the response to a request that is not allowed, and the URL for the audit log.  It prints the CPU time per
request, the minimum of several runs, and fails if a case exceeds the limit.

C{--search SECONDS} searches for worse cases: it varies the cases, and prints more expensive variants.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import random
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import attrs
import brotli

from egress.config.model import Limits
from egress.http.error_response import encode_error_response
from egress.http.events import End, RequestHead
from egress.http.heads import HeadLimits
from egress.http.readers import RequestReader
from egress.http.request_target import parse_request_target
from egress.http.writers import encode_request, forwarded_fields, forwarded_head
from egress.model.authority import Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Stage, Verdict
from egress.model.errors import Denied, EgressError
from egress.model.redact import redact_url
from egress.policy.parse.load import load_policy
from egress.policy.rules import RuleSet

BOUND: Final = 5.0
"""The maximum CPU time of a request, in milliseconds."""

HERE: Final = Path(__file__).parent / "worst"
POLICY: Final = HERE / "policy.toml"
CORPUS: Final = HERE / "corpus.json"

_LIMITS: Final = Limits()
_HEAD_LIMITS: Final = HeadLimits(_LIMITS.head, _LIMITS.fields, _LIMITS.target)
_CLIENT: Final = ClientIdentity("192.0.2.1", 1, "ci")
_NOW: Final = 1772442000.0
# The bytes of one read from a socket.
_READ: Final = 64 * 1024

_ENCODERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd").compress,
}

Part = tuple[str, int]
"""Text in which a character is a byte, and the number of its repetitions."""


@attrs.frozen
class Case:
    """One case.

    @ivar head: request line and fields, without the empty line and C{Content-Length}.
    @ivar body: the content.
    @ivar requests: the number of times that the request is sent.
    @ivar coding: the content coding that is applied to the content; empty if there is none.
    """

    name: str
    head: tuple[Part, ...]
    body: tuple[Part, ...] = ()
    requests: int = 1
    coding: str = ""

    @property
    def data(self) -> bytes:
        """Return the bytes that the client sends."""
        head, body = _bytes(self.head), _bytes(self.body)
        if self.coding:
            head += b"Content-Encoding: %b\r\n" % self.coding.encode("ascii")
            body = _ENCODERS[self.coding](body)
        length = b"Content-Length: %d\r\n" % len(body) if body else b""
        return (head + length + b"\r\n" + body) * self.requests

    def to_json(self) -> dict[str, object]:
        """Return the case in the format of the corpus."""
        found = {"name": self.name, "head": self.head, "body": self.body, "requests": self.requests}
        return {**found, "coding": self.coding} if self.coding else found


def _bytes(parts: Sequence[Part]) -> bytes:
    return "".join(text * times for text, times in parts).encode("latin-1")


def corpus(path: Path = CORPUS) -> list[Case]:
    """Read the corpus."""

    def parts(found: list[list[object]]) -> tuple[Part, ...]:
        return tuple((str(text), int(str(times))) for text, times in found)

    return [
        Case(
            one["name"],
            parts(one["head"]),
            parts(one.get("body", [])),
            one.get("requests", 1),
            one.get("coding", ""),
        )
        for one in json.loads(path.read_text("utf-8"))
    ]


def policy() -> RuleSet:
    """Return the policy, which is typical for a team in size and content."""
    return load_policy(POLICY)


def process(rules: RuleSet, data: bytes) -> list[Decision | EgressError]:
    """Run the steps of the proxy for requests in clear text until the decision.

    @return: the outcome of each request; an error ends the connection.
    """
    reader = RequestReader(_HEAD_LIMITS)
    found: list[Decision | EgressError] = []
    asked: DecisionRequest | None = None
    accept: bytes | None = None
    body = bytearray()
    try:
        for start in range(0, len(data), _READ):
            reader.receive(data[start : start + _READ])
            while (event := reader.next_event()) is not None:
                if isinstance(event, RequestHead):
                    asked = _question(event)
                    body.clear()
                    accept = event.accept
                    if (decision := rules.decide(asked, _NOW)).verdict is not Verdict.NEED_BODY:
                        found.append(decision)
                        _end(asked, decision, accept)
                        asked = None
                elif isinstance(event, End):
                    if asked is not None:
                        content = bytes(body)
                        whole = attrs.evolve(asked, body=content, body_withheld=False, content_length=len(content))
                        found.append(decision := rules.decide(whole, _NOW))
                        _end(whole, decision, accept)
                elif asked is not None:
                    body += event
    except EgressError as error:
        found.append(error)
    return found


def _end(asked: DecisionRequest, decision: Decision, accept: bytes | None) -> None:
    redact_url(asked.url)
    if not decision.allowed:
        encode_error_response(Denied(decision), "id", accept=accept, head_only=False, keep_alive=True, date=b"")


def _question(head: RequestHead) -> DecisionRequest:
    target = parse_request_target(head.method, head.target)
    assert target.authority is not None  # the corpus has absolute URLs
    origin = Origin.of(target.scheme or "http", target.authority)
    lines = forwarded_fields(head, origin)
    encode_request(forwarded_head(head, target.sent, lines))
    has_body = head.framing.has_body
    return DecisionRequest(
        "id",
        Stage.REQUEST,
        head.method,
        origin,
        target.path,
        tuple(lines),
        _CLIENT,
        body_withheld=has_body,
        content_length=head.framing.length if has_body else 0,
    )


def milliseconds(rules: RuleSet, case: Case, runs: int) -> tuple[float, float]:
    """Return the CPU time of one request of a case: the minimum and the median of several runs."""
    data = case.data
    found = []
    for _ in range(runs):
        begin = time.process_time_ns()
        process(rules, data)
        found.append((time.process_time_ns() - begin) / 1e6 / case.requests)
    return min(found), statistics.median(found)


def outcome(rules: RuleSet, case: Case) -> str:
    """Return the outcome of the last request of a case."""
    last = process(rules, case.data)[-1]
    return f"{last.verdict.value} ({last.rule_id})" if isinstance(last, Decision) else type(last).__name__


def table(rules: RuleSet, cases: Sequence[Case], runs: int) -> Iterator[tuple[str, float]]:
    """Return the lines of the table, and the milliseconds of each case."""
    for case in cases:
        least, median = milliseconds(rules, case, runs)
        size = len(case.data) // case.requests
        yield f"| {case.name} | {size:,} | {least:.2f} | {median:.2f} | {outcome(rules, case)} |", least


# -- the search

_ATOMS: Final = (
    *(
        "a",
        "A",
        "/",
        "//",
        "../",
        "./",
        "..;/",
        ";x=1",
        "%2f",
        "%2F",
        "%5c",
        "%25",
        "%2525",
        "%252f",
        "%20",
        "%2e",
        ".",
    ),
    *(
        ".",
        "%00",
        "%3f",
        "%23",
        "%c0%af",
        "%u002f",
        "%ef%bc%8f",
        "%ef%b7%ba",
        "%ff",
        "%c3%a9",
        "\\",
        "%",
        "[",
        "]",
        "+",
    ),
    *(
        "a[b]=",
        "[a]=1&",
        "a=%61&",
        "a=b;",
        "a.b=1&",
        "role=a&",
        "%26",
        "%3d",
        ",",
        ", ",
        "a,",
        "b;c=d,",
        "\xe9",
        "?",
        "&",
    ),
    *("&", "export/", "v1/", '{"a":1},', '"a",', "1,", "[", "1e3,", '"role":"x",', '{"\\u0041":"a"},'),
)


def varied(case: Case, rand: random.Random) -> Case:
    """Return a variant of a case: repeat, replace, add or remove a part, within the limits."""
    place = "body" if case.body and rand.random() < 0.5 else "head"
    parts = list(case.body if place == "body" else case.head)
    # The first part of a head contains its method and host, and the last part ends the head.
    first, last = (0, len(parts)) if place == "body" else (1, len(parts) - 1)
    at = rand.randrange(first, max(last, first + 1))
    choice = rand.random()
    if choice < 0.3 or at >= last:
        parts.insert(at, ("".join(rand.choices(_ATOMS, k=rand.randint(1, 3))), 2 ** rand.randrange(12)))
    elif choice < 0.6:
        text, times = parts[at]
        parts[at] = (text, max(1, int(times * rand.choice((0.5, 0.9, 1.1, 2.0)))))
    elif choice < 0.9:
        parts[at] = ("".join(rand.choices(_ATOMS, k=rand.randint(1, 4))), parts[at][1])
    elif last - first > 1:
        del parts[at]
    changes: dict[str, Any] = {place: tuple(parts)}
    return attrs.evolve(case, **changes)


def search(rules: RuleSet, cases: Sequence[Case], seconds: float, rand: random.Random) -> list[Case]:
    """Search for more expensive cases.

    @return: the worst variant of each case, if it costs more than that case.
    """
    worst = {case.name: (milliseconds(rules, case, 3)[0], case) for case in cases}
    end = time.monotonic() + seconds
    for name in itertools.cycle(list(worst)):
        if time.monotonic() > end:
            break
        cost, case = worst[name]
        other = varied(case, rand)
        if len(_bytes(other.body)) > _LIMITS.body or len(_bytes(other.head)) > _LIMITS.head:
            continue
        if milliseconds(rules, other, 1)[0] > cost and isinstance(process(rules, other.data)[-1], Decision):
            again = milliseconds(rules, other, 3)[0]
            if again > cost:
                worst[name] = (again, other)
    return [case for _, case in worst.values() if case not in cases]


def main(arguments: Sequence[str] | None = None, say: Callable[[str], object] = print) -> int:
    """Run the command line.

    @return: the exit status: 1 if a case exceeds the limit.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worst_case", description=__doc__)
    parser.add_argument("--runs", type=int, default=9, metavar="N", help="runs of each case (9)")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="only these")
    parser.add_argument("--bound", type=float, default=BOUND, metavar="MS", help=f"CPU time of a request ({BOUND:g})")
    parser.add_argument(
        "--search", type=float, metavar="SECONDS", help="search for worse cases, and print them as JSON"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the search (1)")
    options = parser.parse_args(arguments)
    rules = policy()
    cases = [case for case in corpus() if not options.only or case.name in options.only]
    if options.search is not None:
        cases = search(rules, cases, options.search, random.Random(options.seed))  # noqa: S311 (no secret)
        say(json.dumps([case.to_json() for case in cases], indent=1))
    say("| case | bytes | CPU, ms | median, ms | outcome |")
    say("| --- | ---: | ---: | ---: | --- |")
    failed = []
    for case, (line, cost) in zip(cases, table(rules, cases, options.runs), strict=True):
        say(line)
        if cost > options.bound:
            failed.append(case.name)
    for name in failed:
        say(f"FAILED: {name} takes more than {options.bound:g} ms")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
