"""The summary of a command as a file, for the page of a CI job or for a program."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from egress.launch.summary import Refusal, Summary
from egress.model.quote import printable

_HEADS: Final = ("| Requests | Allowed | Refused | Failed | Observed |", "| ---: | ---: | ---: | ---: | ---: |")


def to_json(summary: Summary) -> str:
    """Write a summary as JSON."""
    fix = summary.fix()
    document = {
        "requests": summary.requests,
        "allowed": summary.allowed,
        "refused": summary.refused,
        "failed": summary.failed,
        "observed": summary.observed,
        "refusals": [_refusal(summary, refusal, number) for refusal, number in summary.refusals.most_common()],
        "failures": [_failure(failure, number) for failure, number in summary.failures.most_common()],
        "fix": None if fix is None else {"instruction": fix[0], "policy": fix[1]},
        "destinations": dict(sorted(summary.destinations.items())),
        "newDestinations": summary.new_destinations,
        "notStored": summary.not_stored,
    }
    return json.dumps(document, indent=2) + "\n"


def _refusal(summary: Summary, refusal: Refusal, number: int) -> dict[str, str | int | None]:
    return {**_failure(refusal, number), "rule": summary.rule_of(refusal)}


def _failure(failure: Refusal, number: int) -> dict[str, str | int | None]:
    return {
        "code": failure.outcome,
        "method": failure.method,
        "url": failure.url,
        "reason": failure.reason,
        "requests": number,
    }


def to_markdown(summary: Summary) -> str:
    """Write a summary as Markdown (GitHub Flavored Markdown, section 4.10, tables)."""
    lines = ["## Requests of the job", "", *_HEADS]
    numbers = (summary.requests, summary.allowed, summary.refused, summary.failed, summary.observed)
    lines += [f"| {' | '.join(f'{number:,}' for number in numbers)} |", ""]
    if summary.refusals:
        lines += ["| Refused | Requests | Code | Reason | Rule |", "| --- | ---: | --- | --- | --- |"]
        for refusal, number in summary.refusals.most_common():
            request = _code(f"{refusal.method} {refusal.url}")
            code, reason = _code(refusal.outcome), _code(refusal.reason)
            lines.append(f"| {request} | {number:,} | {code} | {reason} | {_code(summary.rule_of(refusal) or '')} |")
        lines.append("")
    if summary.failures:
        lines += ["| Failed | Requests | Code | Reason |", "| --- | ---: | --- | --- |"]
        for failure, number in summary.failures.most_common():
            request, code = _code(f"{failure.method} {failure.url}"), _code(failure.outcome)
            lines.append(f"| {request} | {number:,} | {code} | {_code(failure.reason)} |")
        lines.append("")
    if fix := summary.fix():
        instruction, text = fix
        lines += [instruction, "", "```toml", text, "```", ""]
    if summary.new_destinations:
        lines += ["| New destination, which is not in the lock file |", "| --- |"]
        lines += [*(f"| {_code(line)} |" for line in summary.new_destinations), ""]
    if summary.destinations:
        lines += ["| Destination | Requests |", "| --- | ---: |"]
        lines += [f"| {_code(host)} | {number:,} |" for host, number in sorted(summary.destinations.items())]
        lines.append("")
    return "\n".join(lines)


def _code(text: str) -> str:
    """Return a code span: clients choose the URLs, and a code span has no markup."""
    return f"`{printable(text).replace('`', '?').replace('|', '?') or ' '}`"


WRITERS: Final[dict[str, Callable[[Summary], str]]] = {".json": to_json, ".md": to_markdown}
"""The writer for each ending of a file name."""
