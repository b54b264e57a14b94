"""The cost of the steps of a decision, without a proxy: for L{benchmarks.decisions}."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from benchmarks.rules import asked, microseconds, policy_text
from egress.authz.cache import CachingAuthorizer
from egress.authz.decision_store import DecisionStore
from egress.authz.fail_closed import FailClosedAuthorizer
from egress.authz.observe import ObservingAuthorizer
from egress.authz.policy_authorizer import PolicyAuthorizer
from egress.authz.shadow import ShadowedAuthorizer
from egress.interfaces import IAuthorizer
from egress.model.decision import Decision, DecisionRequest, Verdict
from egress.observability.shadow_log import ShadowLog
from egress.policy.parse.load import parse_policy
from egress.policy.rules import RuleSet

_NOW = 1772442000.0
_HOST = "h6.example.com"


@implementer(IAuthorizer)
class _Reused:
    """An authorizer whose decisions are cacheable.

    @ivar times: the number of authorization requests.
    """

    name = "reused"
    needs_body = False

    def __init__(self) -> None:
        self.times = 0

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """See L{IAuthorizer.decide}."""
        self.times += 1
        return succeed(Decision(Verdict.ALLOW, "ok", self.name, ttl=3600.0))

    def check_ready(self) -> Deferred[None]:
        """See L{IAuthorizer.check_ready}."""
        return succeed(None)

    def close(self) -> Deferred[None]:
        """See L{IAuthorizer.close}."""
        return succeed(None)


def _chain(clock: Clock, text: str) -> FailClosedAuthorizer:
    rules = parse_policy(text, "p.toml", "policy")
    return FailClosedAuthorizer(clock, PolicyAuthorizer(rules, lambda: _NOW), None)


def _decided(rules: RuleSet, request: DecisionRequest) -> Decision:
    return rules.decide(request, _NOW)


def figures(calls: int) -> Iterator[tuple[str, float]]:
    """Return each step with its microseconds."""
    clock = Clock()
    requests = [asked(_HOST)] * calls
    for count in (10, 10_000):
        rules = parse_policy(policy_text(count), "p.toml", "policy")
        yield f"{count:,} rules (`RuleSet.decide`)", microseconds(partial(_decided, rules), requests)
    ten = policy_text(10)
    yield "10 rules through the authorizer of the proxy", microseconds(_chain(clock, ten).decide, requests)
    service = _Reused()
    cache = CachingAuthorizer(clock, service, DecisionStore(4096, 3600.0, 3600.0), 1024)
    cache.decide(requests[0])
    yield "a cached decision of a service", microseconds(cache.decide, requests)
    if service.times != 1:
        raise AssertionError(f"{service.times} authorization requests instead of one")
    told = ShadowLog(clock.seconds, clock.seconds)
    shadowed = ShadowedAuthorizer(clock, _chain(clock, ten), _chain(clock, ten), told)

    def both(request: DecisionRequest) -> None:
        shadowed.decide(request)
        clock.advance(0)

    yield "10 rules, and 10 rules as a shadow policy", microseconds(both, requests)
    observing = ObservingAuthorizer(_chain(clock, "version = 1"))
    yield "a denial in observe mode", microseconds(observing.decide, requests)


def table(calls: int) -> Iterator[str]:
    """Return the table."""
    yield "| Step | µs |"
    yield "| --- | ---: |"
    for name, found in figures(calls):
        yield f"| {name} | {found:.1f} |"
