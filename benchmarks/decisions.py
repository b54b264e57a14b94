"""The cost of authorization, by authorizer and decision: C{python -m benchmarks.decisions}.

The figure is the CPU time of the proxy for one request.  All proxies run from the beginning to the end, and alternate
within each round, so that other load of the machine affects all of them.  The results are the medians, and the ratios
to the plain case: plain HTTP over keep-alive connections, with ten rules.  No proxy has an audit log.

Every round checks every case: the responses, and the counters of the proxy and of the authorization service.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.contestants import ALLOW, CONTENT, KIND, TEN, TREE, Bench, Case, alternate, rows, rules, run_command
from benchmarks.in_process import table

TOKEN = "benchmark"  # noqa: S105 - what the origin is to see

_REUSED = '"ttl": 3600'

_HITS = 'egress_authorizer_cache_lookups_total{result="hit"}'
_SAME = 'egress_shadow_decisions_total{result="same"}'
_OBSERVED = 'egress_observed_total{verdict="deny"}'
_ANSWERED = 'egressauthz_requests_total{verdict="allow"}'

_ON_CONTENT = rules(10, f'{ALLOW}\njson = {{ "kind" = "{KIND}" }}')
_WITH_TOKEN = rules(10, f'{ALLOW}\nset_headers = {{ X-Token = "${{secret:token}}" }}')
_BOUNDED = rules(10, f'{ALLOW}\nmax_bytes = {CONTENT}\nexpires_in = "1h"')
_DENIED = rules(10, 'action = "deny"\nreason = "benchmark"')

PLAIN = Case("10 rules (plain case)")
CASES: tuple[Case, ...] = (
    PLAIN,
    Case("10,000 rules", rules(10_000, ALLOW)),
    Case("10 rules; the request has 1 KiB of content", sends=CONTENT),
    Case("the same, with a rule that matches content (`json`)", _ON_CONTENT, sends=CONTENT),
    Case("10 rules, and a shadow policy of 10 rules", shadow=TEN, counted=_SAME),
    Case("10 rules, and a shadow service", service="", counted=_SAME),
    Case("observe mode: 10 rules, denied", _DENIED, counted=_OBSERVED, options=("--mode", "observe")),
    Case("10 rules; a field is set to a secret (`set_headers`)", _WITH_TOKEN, sees=TOKEN),
    Case("10 rules; limits (`max_bytes`, `expires_in`)", _BOUNDED, bounded=True),
    Case("authorization service, one authorization request for each request", None, service=""),
    Case("authorization service, cached decisions (`ttl`)", None, service=_REUSED, asked=False, counted=_HITS),
    Case("`egressauthz` with 10 rules, for one authorization request", counted=_ANSWERED, is_service=True),
)


def lines(found: Sequence[tuple[str, Sequence[float]]]) -> Iterator[str]:
    """Return the table: medians, and the ratios to the first case in the same round.

    @param found: each case with the microseconds of each round.
    """
    yield "| Authorizer | CPU, µs/request | Relative to the plain case | Range over the rounds |"
    yield "| --- | ---: | ---: | ---: |"
    yield from rows(found)


def run(bench: Bench, options: argparse.Namespace) -> None:
    """Measure, and print the table."""
    with ExitStack() as stack:
        entered = [(case, case.title, TREE) for case in CASES]
        if options.against:
            other = options.against.resolve()
            entered[1:] = [(PLAIN, f"the same of {other}", other)] + (entered[1:] if not options.plain else [])
        elif options.plain:
            del entered[1:]
        contestants = [stack.enter_context(bench.contestant(*one)) for one in entered]
        alternate(contestants, range(options.rounds), options.requests)
        print("\n".join(lines([(one.name, one.figures) for one in contestants])))


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decisions", description=__doc__)
    parser.add_argument(
        "--requests", type=int, default=1000, metavar="N", help="requests of each case in a round (1000)"
    )
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="(7)")
    parser.add_argument("--quick", action="store_true", help="see whether everything runs; the figures mean little")
    parser.add_argument("--plain", action="store_true", help="only the plain case")
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="also measure the plain case of another source tree"
    )
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.requests = 1, 64
    status = run_command(partial(run, options=options))
    if status == 0 and not options.plain:
        print()
        print("\n".join(table(400 if options.quick else 4000)))
    return status


if __name__ == "__main__":
    sys.exit(main())
