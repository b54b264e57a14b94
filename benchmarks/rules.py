"""The cost of a decision of the embedded policy, by the number of rules: C{python -m benchmarks.rules}.

The benchmark uses no sockets and one thread.  A "new" host is one that no earlier request named; decisions about new
hosts show the cost of the index.  C{--hostless} measures rules without hosts, which are tried one by one.  C{--reload}
measures how long a policy reload stalls a running proxy.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.task import LoopingCall, react

from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, DecisionRequest, Stage
from egress.policy.parse.load import load_policy, parse_policy
from egress.policy.rules import RuleSet
from egress.runtime.reload import Reloader
from egress.runtime.threads import Offload, Threads

COUNTS = (10, 1_000, 10_000)
_CLIENT = ClientIdentity("192.0.2.1", 1, "ci")
_NOW = 1772442000.0


def policy_text(count: int) -> str:
    """Return the policy of a large organization: hosts and domains, some with paths, methods and address ranges."""
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


def hostless_text(count: int, kind: str) -> str:
    """Return a policy whose rules match all hosts, or hosts by regular expressions."""
    rules = ["version = 1"]
    for number in range(count):
        condition = {
            "paths": f'paths = ["/v{number}/**"]',
            "methods": f'methods = ["M{number}"]',
            "headers": f'headers = {{ X-Team = "t{number}" }}',
            "one rule": f'"/v{number}/**",',
            "re:": f'hosts = ["re:h{number}-[0-9]+[.]example[.]com"]',
        }[kind]
        rules.append(condition if kind == "one rule" else f'[[rules]]\naction = "allow"\n{condition}')
    if kind == "one rule":
        rules[1:] = ['[[rules]]\naction = "allow"\npaths = [', *rules[1:], "]"]
    return "\n".join(rules)


def asked(host: str) -> DecisionRequest:
    """Return a request to a host."""
    origin = Origin.of("https", Authority(host, 443))
    return DecisionRequest("id", Stage.REQUEST, "GET", origin, "/api/users/7?x=1", (), _CLIENT)


def microseconds(decide: Callable[[DecisionRequest], object], requests: Sequence[DecisionRequest]) -> float:
    """Return the median of single calls in microseconds."""
    found = []
    for request in requests:
        begin = time.perf_counter_ns()
        decide(request)
        found.append(time.perf_counter_ns() - begin)
    return statistics.median(found) / 1000


def row(count: int, calls: int) -> str:
    """Return one line of the table."""
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
    """Return the memory of rules in MiB."""
    tracemalloc.start()
    try:
        policy: RuleSet | None = parse_policy(text, "p.toml", "policy")
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    del policy
    return size / (1 << 20)


def hostless(calls: int) -> None:
    """Print the cost of a thousand rules that are not indexed by host."""
    print("| 1,000 | known host, µs | new host, µs |")
    print("| --- | ---: | ---: |")
    for kind in ("paths", "methods", "headers", "one rule", "re:"):
        decide = partial(parse_policy(hostless_text(1000, kind), "p.toml", "policy").decide, now=_NOW)
        known = [asked("www.example.org")] * calls
        new = [asked(f"x{number}.example.org") for number in range(calls)]
        figures = [microseconds(decide, requests) for requests in (known, new)]
        print(f"| {kind} | {figures[0]:.1f} | {figures[1]:.1f} |")


async def stalls(reactor: Any, count: int) -> None:
    """Print the longest stall of a reactor during a policy reload."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "policy.toml")
        path.write_text(policy_text(count), "utf-8")
        in_place: Offload = lambda call: maybeDeferred(call)  # noqa: E731 (the type of one that is generic)
        for where, run in (("on the reactor", in_place), ("in a thread", Threads(reactor, "files", 1))):
            for turn in range(1, 4):
                longest, took = await _stall(reactor, path, run)
                print(f"{count:,} rules, reloaded {where}, {turn}: stalled for {longest:.0f} ms of {took:.0f} ms")


async def _stall(reactor: Any, path: Path, run: Offload) -> tuple[float, float]:
    kept: list[RuleSet] = []
    ticks: list[float] = []
    ticking = LoopingCall(lambda: ticks.append(time.perf_counter()))
    ticking.clock = reactor
    stopped = ticking.start(0.001)
    begin = time.perf_counter()
    await Reloader(DeferredLock(), run, lambda: load_policy(path), kept.append).begin()
    took = time.perf_counter() - begin
    await _moment(reactor)
    ticking.stop()
    await stopped
    return max(after - before for before, after in pairwise(ticks)) * 1000, took * 1000


def _moment(reactor: Any) -> Deferred[None]:
    done: Deferred[None] = Deferred()
    reactor.callLater(0.02, done.callback, None)
    return done


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rules", description=__doc__)
    parser.add_argument("--calls", type=int, default=4000, help="decisions for each figure")
    parser.add_argument("--hostless", action="store_true", help="measure 1,000 rules without hosts")
    parser.add_argument("--reload", action="store_true", help="measure how long a reload stalls a reactor")
    given = parser.parse_args(arguments)
    if given.hostless:
        hostless(given.calls)
        return
    if given.reload:
        react(lambda reactor: Deferred.fromCoroutine(stalls(reactor, COUNTS[-1])))
    print("| rules | known host, µs | new host, µs | new host without a rule, µs | loading, s | memory, MiB |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for count in COUNTS:
        print(row(count, given.calls))


if __name__ == "__main__":
    main()
