"""A rule of the embedded policy."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import attr

from egress.model.authority import Authority, Origin
from egress.model.decision import NO_OBLIGATIONS, Obligations, Stage, Verdict
from egress.policy.match.conditions import Condition
from egress.policy.match.hosts import HostTest, matches_addresses
from egress.policy.match.paths import PathPattern
from egress.policy.match.request_view import RequestView
from egress.policy.match.tristate import Match
from egress.policy.match.work_budget import WorkBudget
from egress.policy.message_rules import DEFAULT_NAME, MessageRules
from egress.policy.reason_template import Reason

DEFAULT_RULE: Final = "default"
"""The rule id of a decision that no rule determined."""


# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_TUNNEL: Final = Stage.TUNNEL
_NONE: Final[frozenset[Any]] = frozenset()


def _shared(found: frozenset[Any]) -> frozenset[Any]:
    """Return the shared instance of a set: thousands of rules use few distinct sets, and each copy takes memory."""
    return _cached(found) if found else _NONE


@lru_cache(maxsize=256)
def _cached(found: frozenset[Any]) -> frozenset[Any]:
    return found


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class Rule:
    """A rule.  An empty condition matches every request.

    @ivar rule_id: identifies the rule in decisions and in the audit log.
    @ivar verdict: the verdict for requests that match.
    @ivar reason: the reason, for the client.
    @ivar hosts: host patterns, compiled by L{egress.policy.match.hosts.compile_host}.
    @ivar ports: single ports.
    @ivar schemes: C{"http"} and C{"https"}.
    @ivar port_ranges: port ranges in addition to C{ports}.
    @ivar methods: upper-case methods.
    @ivar paths: path patterns, compiled by L{egress.policy.match.paths.compile_path}; with C{broad} for a denial.
    @ivar conditions: all other conditions; conditions on content come last.
    @ivar obligations: the obligations of the requests that the rule allows.
    @ivar messages: the rules for the messages of the exchanges that the rule allows, if they are authorized.
    @ivar where: the file and line of the rule.
    @ivar deny_semantics: whether an uncertain condition counts as a match.
    @ivar enforce_in_observe: whether the rule has conditions on addresses.
    @ivar depends_on: the request attributes on which the rule depends (L{Decision.cache_key}), without the attributes
        of its origin and of its reason.
    """

    rule_id: Final[str]
    verdict: Final[Verdict]
    reason: Final[Reason]
    hosts: Final[tuple[HostTest, ...]]
    ports: Final[frozenset[int]]
    schemes: Final[frozenset[str]]
    methods: Final[frozenset[str]]
    paths: Final[tuple[PathPattern, ...]]
    port_ranges: Final[tuple[range, ...]]
    conditions: Final[tuple[Condition, ...]]
    obligations: Final[Obligations]
    messages: Final[MessageRules | None]
    where: Final[str]
    deny_semantics: bool = attr.ib(init=False)
    enforce_in_observe: bool = attr.ib(init=False)
    depends_on: frozenset[str] = attr.ib(init=False, repr=False)

    def __init__(
        self,
        rule_id: str,
        verdict: Verdict,
        reason: str | Reason,
        hosts: tuple[HostTest, ...] = (),
        ports: frozenset[int] = _NONE,
        schemes: frozenset[str] = _NONE,
        methods: frozenset[str] = _NONE,
        paths: tuple[PathPattern, ...] = (),
        port_ranges: tuple[range, ...] = (),
        conditions: tuple[Condition, ...] = (),
        obligations: Obligations = NO_OBLIGATIONS,
        messages: MessageRules | None = None,
        where: str = "",
    ) -> None:
        self.rule_id = rule_id
        self.verdict = verdict
        self.reason = Reason((reason,)) if isinstance(reason, str) else reason
        self.hosts = hosts
        self.ports = _shared(ports)
        self.schemes = _shared(schemes)
        self.methods = _shared(methods)
        self.paths = paths
        self.port_ranges = port_ranges
        self.conditions = conditions
        self.obligations = obligations
        self.messages = messages
        self.where = where
        self.deny_semantics = verdict is not Verdict.ALLOW
        self.enforce_in_observe = any(map(matches_addresses, hosts)) or any(
            one.key == "addresses" for one in conditions
        )
        own = [part for part, used in (("method", methods), ("path", paths)) if used]
        self.depends_on = _shared(frozenset(own).union(*[condition.depends_on for condition in conditions]))

    def _has_port(self, port: int) -> bool:
        if not (self.ports or self.port_ranges):
            return True
        return port in self.ports or any(port in ports for ports in self.port_ranges)

    def _has_host(self, authority: Authority) -> bool:
        return not self.hosts or any(matches(authority) for matches in self.hosts)

    def matches_scheme(self, scheme: str) -> bool:
        """Whether the scheme matches."""
        return not self.schemes or scheme in self.schemes

    def matches_method(self, method: str) -> bool:
        """Whether the method matches.

        Methods are case-sensitive (RFC 9110 section 9.1), but some servers ignore case.
        """
        return not self.methods or (method.upper() if self.deny_semantics else method) in self.methods

    def matches_path(self, paths: tuple[str, ...]) -> bool:
        """Whether the path matches: in any interpretation for a denial, in every interpretation for a permission.

        @param paths: the interpretations (L{egress.policy.match.paths.readings}).
        """
        for path in paths:
            if self.has_path(path) is self.deny_semantics:
                return self.deny_semantics
        return not self.deny_semantics

    def has_path(self, path: str) -> bool:
        """Whether one interpretation of the path matches."""
        for pattern in self.paths:  # noqa: SIM110 (any() takes twice the time, and there may be thousands)
            if pattern.fullmatch(path) is not None:
                return True
        return False

    def _estimate(self, paths: tuple[str, ...], work: WorkBudget) -> None:
        """Spend the estimated work of comparing long paths."""
        for path in paths:
            lowered = path.lower()
            steps = sum(pattern.steps(path, lowered) for pattern in self.paths)
            work.spend(steps, f"its path of {len(path):,} characters is compared with many patterns")

    def unseen_in_tunnel(self) -> str | None:
        """Return the key of a condition that excludes tunnels, whose content the proxy cannot see, or C{None}.

        A denial applies to a tunnel regardless of conditions on its content.  A permission applies to a tunnel only if
        it has no condition on the requests inside; it may restrict methods and schemes if it names C{CONNECT}.
        """
        if self.deny_semantics:
            return None
        if self.paths:
            return "paths"
        if self.messages is not None:
            return "messages"
        unseen = next((condition.key for condition in self.conditions if not condition.is_seen), None)
        if unseen is not None or "CONNECT" in self.methods:
            return unseen
        return "methods" if self.methods else "schemes" if self.schemes else None

    def first_unmet_at_origin(self, stage: Stage, origin: Origin) -> str | None:
        """Return the key of the first condition that an origin does not meet, or C{None}."""
        if not self._has_port(origin.authority.port):
            # The port takes the least time to compare, but a rule for other hosts did not fail because of its port.
            return "ports" if self._has_host(origin.authority) else "hosts"
        if not self._has_host(origin.authority):
            return "hosts"
        if stage is _TUNNEL:
            return self.unseen_in_tunnel()
        return None if self.matches_scheme(origin.scheme) else "schemes"

    def first_unmet_condition(self, view: RequestView) -> str | None:
        """Return the key of the first of the other conditions that a request does not meet, or C{None}.

        @return: L{WANTS_CONTENT} if the content decides; otherwise L{WANTS_ADDRESSES} if the addresses decide.
        """
        is_tunnel = view.request.stage is _TUNNEL
        if not is_tunnel:
            if self.methods and not self.matches_method(view.request.method):
                return "methods"
            if self.paths:
                paths = view.paths
                if view.has_long_paths:
                    self._estimate(paths, view.work)
                if not self.matches_path(paths):
                    return "paths"
        unknown = None
        for condition in self.conditions:
            if is_tunnel and not condition.is_seen:
                # The rule denies, and its condition is on content that the proxy cannot see.
                continue
            found = condition.match(view)
            if found is Match.UNREAD:
                unknown = WANTS_CONTENT
            elif found is Match.UNRESOLVED:
                unknown = unknown or WANTS_ADDRESSES
            elif found is Match.NO or (found is Match.MAYBE and not self.deny_semantics):
                return condition.key
        return unknown

    def stable_for(self, now: float) -> float:
        """Return the minimum number of seconds for which the rule's result for the same request cannot change."""
        return min((condition.stable_for(now) for condition in self.conditions), default=float("inf"))


def message_rule_ids(rule: Rule) -> tuple[str, ...]:
    """Return the ids of the decisions on messages of exchanges that a rule allows."""
    if rule.messages is None:
        return ()
    return tuple(f"{rule.rule_id}/{name}" for name in (*(each.name for each in rule.messages.rules), DEFAULT_NAME))


AT_ORIGIN: Final = frozenset({"ports", "hosts", "schemes"})

WANTS_CONTENT: Final = "content"
"""The result of L{Rule.first_unmet_condition} if it depends on the content."""

WANTS_ADDRESSES: Final = "addresses, which were not resolved"
"""The result of L{Rule.first_unmet_condition} if it depends on the addresses."""
