"""What a decision of the embedded policy costs, by the number of its rules: C{python -m benchmarks.rules}.

Nothing else is measured: no sockets, one thread.  A host is "new" that no request was for before; a decision about it
is what an index has to be good at.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence

from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, DecisionRequest, Stage
from egress.policy.load import parse_policy
from egress.policy.rules import RuleSet

COUNTS = (10, 1_000, 10_000)
_CLIENT = ClientIdentity("192.0.2.1", 1, "ci")
_NOW = 1772442000.0


def policy_text(count: int) -> str:
    """A policy as a large organization has it: hosts and domains, some with paths, methods and ranges of addresses."""
    rules = ["version = 1"]
    for number in range(count):
        hosts = (
            f'"h{number}.example.com"',
            f'"*.d{number}.example.net"',
            f'"10.{number >> 8 & 255}.{number & 255}.0/24"',
        )
        more = ('methods = ["GET", "POST"]', 'paths = ["/api/**"]', "")[number // 3 % 3]
        rules.append(f'[[rules]]\nname = "r{number}"\naction = "allow"\nhosts = [{hosts[number % 3]}]\n{more}')
    return "\n".join(rules)


def asked(host: str) -> DecisionRequest:
    """A request to a host."""
    origin = Origin.of("https", Authority(host, 443))
    return DecisionRequest("id", Stage.REQUEST, "GET", origin, "/api/users/7?x=1", (), _CLIENT)


def microseconds(decide: Callable[[DecisionRequest], object], requests: Sequence[DecisionRequest]) -> float:
    """The median of single calls."""
    found = []
    for request in requests:
        begin = time.perf_counter_ns()
        decide(request)
        found.append(time.perf_counter_ns() - begin)
    return statistics.median(found) / 1000


def row(count: int, calls: int) -> str:
    """One line of the table."""
    text = policy_text(count)
    begin = time.perf_counter()
    policy = parse_policy(text, "p.toml", "policy")
    loading = time.perf_counter() - begin

    def decide(request: DecisionRequest) -> object:
        return policy.decide(request, _NOW)

    last = (count - 1) // 3 * 3
    known = [asked(f"h{last}.example.com")] * calls
    new = [
        asked(f"a{number}.d{(number * 3 + 1) % max(count - 3, 1) // 3 * 3 + 1}.example.net") for number in range(calls)
    ]
    nowhere = [asked(f"x{number}.example.org") for number in range(calls)]
    figures = [microseconds(decide, requests) for requests in (known, new, nowhere)]
    return (
        f"| {count:,} | {figures[0]:.1f} | {figures[1]:.1f} | {figures[2]:.1f} | {loading:.2f} | {memory(text):.1f} |"
    )


def memory(text: str) -> float:
    """What rules keep, in MiB."""
    tracemalloc.start()
    try:
        policy: RuleSet | None = parse_policy(text, "p.toml", "policy")
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    del policy
    return size / (1 << 20)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rules", description=__doc__)
    parser.add_argument("--calls", type=int, default=4000, help="decisions for each figure")
    given = parser.parse_args(arguments)
    print("| rules | known host, µs | new host, µs | new host without a rule, µs | loading, s | memory, MiB |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for count in COUNTS:
        print(row(count, given.calls))


if __name__ == "__main__":
    main()
