"""C{egress policy check}: reads a policy and runs the tests inside it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from egress.cli.errors import CommandFailed, Misused
from egress.cli.grpc_types import add_grpc_descriptors, with_grpc_types
from egress.cli.output import add_json, write_json
from egress.cli.parser import epilog
from egress.policy.check.case_runner import CaseResult, run_case
from egress.policy.check.unreachable import unreachable_rules
from egress.policy.parse.load import PolicyError, load_policy, parse_policy
from egress.policy.reason_template import cleaned
from egress.policy.rule import Rule
from egress.policy.rules import RuleSet
from egress.runtime.colors import Color, Painter

_STDIN: Final = "-"


def add_parser(commands: Any) -> None:
    """Add C{check} to the commands."""
    parser = commands.add_parser(
        "check",
        help="check a policy, and run its tests",
        description="Reads a policy and the files that it includes, runs its tests, and lists rules that can never "
        "decide.",
        epilog=epilog(
            ("Check a policy, and run its tests", "egress policy check policy.toml"),
            ("Print only problems, as in CI", "egress policy check --quiet policy.toml"),
            statuses={0: "all tests pass", 1: "a test fails", 2: "the policy cannot be used"},
        ),
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print only errors and warnings")
    add_grpc_descriptors(parser)
    add_json(parser)
    parser.add_argument("file", metavar="FILE", help="the policy file; - is standard input")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    rules = with_grpc_types(_read(given.file), given)
    unreachable = list(unreachable_rules(rules.rules))
    outcomes = [run_case(rules, case) for case in rules.cases]
    if given.json:
        write_json(out, _as_json(given.file, rules, unreachable, outcomes))
    else:
        _print(given, unreachable, outcomes, out, Painter.of(out, environ))
    failed = sum(not outcome.passed for outcome in outcomes)
    if failed:
        raise CommandFailed(f"{given.file}: {_number(failed, 'test')} of {len(outcomes)} failed")
    if not given.quiet and not given.json:
        tests = f"{_number(len(outcomes), 'test')} passed" if outcomes else "it has no tests"
        print(f"{given.file}: {_number(len(rules.rules), 'rule')}, {tests}", file=out)


def _print(
    given: argparse.Namespace,
    unreachable: Iterable[tuple[Rule, Rule]],
    outcomes: Iterable[CaseResult],
    out: TextIO,
    painter: Painter,
) -> None:
    for rule, other in unreachable:
        warning = painter.paint("warning", Color.YELLOW)
        print(
            f"{rule.where}: {warning}: {rule.rule_id} never decides: {other.rule_id} matches first, at {other.where}",
            file=out,
        )
    for outcome in outcomes:
        if not outcome.passed:
            first, *others = _lines(outcome)
            print("\n".join([first.replace("FAILED", painter.paint("FAILED", Color.RED), 1), *others]), file=out)
        elif not given.quiet:
            ok = painter.paint("ok", Color.GREEN)
            print(f"{outcome.case.where}: {ok}: {cleaned(outcome.case.name)}", file=out)


def _as_json(
    file: str, rules: RuleSet, unreachable: Iterable[tuple[Rule, Rule]], outcomes: Iterable[CaseResult]
) -> dict[str, object]:
    return {
        "file": file,
        "rules": len(rules.rules),
        "unreachable": [
            {"ruleId": rule.rule_id, "where": rule.where, "by": other.rule_id, "byWhere": other.where}
            for rule, other in unreachable
        ],
        "tests": [
            {
                "name": outcome.case.name,
                "where": outcome.case.where,
                "passed": outcome.passed,
                "expected": {"verdict": outcome.case.expect.value, "ruleId": outcome.case.rule},
                "got": {"verdict": outcome.decision.verdict.value, "ruleId": outcome.decision.rule_id},
                "reason": outcome.decision.reason,
                "why": list(outcome.why),
            }
            for outcome in outcomes
        ],
    }


def _read(name: str) -> RuleSet:
    try:
        if name != _STDIN:
            return load_policy(Path(name))
        return parse_policy(sys.stdin.buffer.read().decode("utf-8"), _STDIN, "policy")
    except PolicyError as error:
        raise Misused(error.reason) from None
    except UnicodeDecodeError:
        raise Misused(f"{_STDIN}: is not UTF-8; save it as UTF-8 text") from None


def _lines(outcome: CaseResult) -> list[str]:
    case, decision = outcome.case, outcome.decision
    wanted = case.expect.value + (f" by {case.rule}" if case.rule else "")
    return [
        f"{case.where}: FAILED: {cleaned(case.name)}",
        f"    expected {wanted}",
        f"    got {decision.verdict.value} by {decision.rule_id}: {decision.reason}",
        *(f"    {line}" for line in outcome.why),
    ]


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
