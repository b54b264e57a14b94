"""C{egress policy suggest}: suggests a policy from an audit log."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from egress.cli import audit_input as audit_files
from egress.cli.errors import CommandFailed, Misused
from egress.cli.output import STDOUT, add_json, write_file, write_json
from egress.cli.parser import epilog
from egress.model.counted import counted
from egress.policy.learn.suggest import MAX_RULES, MIN_RULES, Suggestion
from egress.policy.learn.writer import write_policy

# The maximum number of hosts in a message.
_SHOWN: Final = 10


def add_parser(actions: Any) -> None:
    """Add C{suggest} to the actions."""
    parser = actions.add_parser(
        "suggest",
        help="generate a policy from an audit log",
        description="Writes a small policy that allows the forwarded requests of an audit log: allowed requests, and "
        "requests that observe mode forwarded. It does not allow requests that were denied or rejected, and no host "
        "whose name was never resolved.",
        epilog=epilog(
            ("Write a policy", "egress policy suggest audit.jsonl --output policy.toml"),
            ("Write a shorter policy that allows more", "egress policy suggest --max-rules 20 audit.jsonl"),
            statuses={
                0: "the policy is written",
                1: "no request was forwarded",
                2: "a file cannot be read or written",
            },
        ),
    )
    parser.add_argument(
        "--only-allowed",
        action="store_true",
        help="ignore requests that were forwarded only because of observe mode",
    )
    parser.add_argument(
        "--max-rules",
        type=_rules,
        default=MAX_RULES,
        metavar="N",
        help="the maximum number of rules; with fewer rules, each rule allows more [default: %(default)s]",
    )
    parser.add_argument("--output", metavar="FILE", help="the output file; - is standard output, the default")
    parser.add_argument("--force", action="store_true", help="replace an existing output file")
    add_json(parser)
    audit_files.add_argument(parser)
    parser.set_defaults(run=_run)


def _rules(text: str) -> int:
    if text.isdecimal() and len(text) <= 4 and int(text) >= MIN_RULES:
        return int(text)
    raise argparse.ArgumentTypeError(f"write a number of at least {MIN_RULES}, as in {MAX_RULES}")


def _some(hosts: Collection[str]) -> str:
    shown = ", ".join(sorted(hosts)[:_SHOWN])
    return shown if len(hosts) <= _SHOWN else f"{shown} and {counted(len(hosts) - _SHOWN, 'other host')}"


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    suggestion, unresolved = Suggestion(), set()
    for line in audit_files.read_audit(given.audit):
        if line.unresolved:
            unresolved.add(line.origin.authority.host)
        elif line.left and not (given.only_allowed and line.observed is not None):
            suggestion.add(line)
    unresolved -= suggestion.hosts
    if unresolved:
        print(f"egress: not allowed, because never resolved: {_some(unresolved)}", file=sys.stderr)
    if not suggestion.requests:
        raise CommandFailed("the audit log has no forwarded requests; first run the job with a proxy in --mode observe")
    text = write_policy(suggestion, given.max_rules)
    if given.output in (None, STDOUT):
        if given.json:
            write_json(out, {"output": None, "requests": suggestion.requests, "policy": text})
        else:
            out.write(text)
        return
    path = Path(given.output)
    if path.is_file() and not given.force and path.read_text("utf-8", "replace") != text:
        raise Misused(f"{path}: exists, and has other rules: add --force to replace it, or specify another file")
    write_file(path, text)
    if given.json:
        write_json(out, {"output": given.output, "requests": suggestion.requests, "policy": text})
    else:
        print(f"{given.output}: covers {counted(suggestion.requests, 'request')}", file=out)
