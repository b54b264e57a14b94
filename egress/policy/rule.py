"""One rule of the embedded policy."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import attrs

from egress.model.authority import Authority, Origin
from egress.model.decision import NO_OBLIGATIONS, Obligations, Stage, Verdict
from egress.policy.match.conditions import Condition
from egress.policy.match.hosts import HostTest, matches_addresses
from egress.policy.match.paths import PathPattern
from egress.policy.match.request_view import RequestView
from egress.policy.match.tristate import Match
from egress.policy.match.work_budget import WorkBudget
from egress.policy.reason_template import Reason

DEFAULT_RULE: Final = "default"
"""The rule id of a decision that no rule made."""


def _reason(given: str | Reason) -> Reason:
    return Reason((given,)) if isinstance(given, str) else given


_NONE: Final[frozenset[Any]] = frozenset()


def _shared(found: frozenset[Any]) -> frozenset[Any]:
    """One set for all that are equal: thousands of rules have few different ones, and each costs."""
    return _cached(found) if found else _NONE


@lru_cache(maxsize=256)
def _cached(found: frozenset[Any]) -> frozenset[Any]:
    return found


@attrs.frozen
class Rule:
    """One rule; a condition that is empty does not restrict.

    @ivar rule_id: names the rule in answers and in the audit log.
    @ivar verdict: what it says about requests that match.
    @ivar reason: why, for the client.
    @ivar hosts: compiled by L{egress.policy.match.hosts.compile_host}.
    @ivar port_ranges: beside C{ports}.
    @ivar methods: in capitals.
    @ivar paths: compiled by L{egress.policy.match.paths.compile_path}, broadly for a denial.
    @ivar conditions: all others, those on content last.
    @ivar terms: for the requests that it allows.
    @ivar where: its file and line.
    @ivar broad: whether it holds already when it may be about a request.
    @ivar firm: whether it is about addresses.
    @ivar parts: the parts of a question on which it depends (L{Decision.cache_key}), its origin and its reason apart.
    """

    rule_id: str
    verdict: Verdict
    reason: Reason = attrs.field(converter=_reason)
    hosts: tuple[HostTest, ...] = ()
    ports: frozenset[int] = attrs.field(default=_NONE, converter=_shared)
    schemes: frozenset[str] = attrs.field(default=_NONE, converter=_shared)
    methods: frozenset[str] = attrs.field(default=_NONE, converter=_shared)
    paths: tuple[PathPattern, ...] = ()
    port_ranges: tuple[range, ...] = ()
    conditions: tuple[Condition, ...] = ()
    obligations: Obligations = NO_OBLIGATIONS
    where: str = ""
    deny_semantics: bool = attrs.field(init=False)
    enforce_in_observe: bool = attrs.field(init=False)
    depends_on: frozenset[str] = attrs.field(init=False, repr=False)

    @deny_semantics.default
    def _is_broad(self) -> bool:
        return self.verdict is not Verdict.ALLOW

    @enforce_in_observe.default
    def _is_firm(self) -> bool:
        return any(map(matches_addresses, self.hosts)) or any(one.key == "addresses" for one in self.conditions)

    @depends_on.default
    def _all_parts(self) -> frozenset[str]:
        own = [part for part, used in (("method", self.methods), ("path", self.paths)) if used]
        parts = frozenset(own).union(*(condition.parts for condition in self.conditions))
        return _shared(parts)

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

        Methods are case-sensitive (RFC 9110 section 9.1), but not to every server.
        """
        return not self.methods or (method.upper() if self.deny_semantics else method) in self.methods

    def matches_path(self, paths: tuple[str, ...]) -> bool:
        """Whether the path matches: for a denial in any reading, for a permission in all.

        @param paths: the readings (L{egress.policy.match.paths.readings}).
        """
        for path in paths:
            if self.has_path(path) is self.deny_semantics:
                return self.deny_semantics
        return not self.deny_semantics

    def has_path(self, path: str) -> bool:
        """Whether one reading of the path matches."""
        for pattern in self.paths:  # noqa: SIM110 (any() takes twice the time, and there may be thousands)
            if pattern.fullmatch(path) is not None:
                return True
        return False

    def _estimate(self, paths: tuple[str, ...], work: WorkBudget) -> None:
        """Take note of the work that it is to compare long paths."""
        for path in paths:
            lowered = path.lower()
            steps = sum(pattern.steps(path, lowered) for pattern in self.paths)
            work.spend(steps, f"its path of {len(path):,} characters is compared with many patterns")

    def unseen_in_tunnel(self) -> str | None:
        """The key of what keeps the rule from being about a tunnel: what is inside cannot be seen.

        It may hold whatever a denial is about.  It is what a permission is about only where that restricts nothing of
        what is inside, or is given to C{CONNECT} by name.
        """
        if self.deny_semantics:
            return None
        if self.paths:
            return "paths"
        unseen = next((condition.key for condition in self.conditions if not condition.is_seen), None)
        if unseen is not None or "CONNECT" in self.methods:
            return unseen
        return "methods" if self.methods else "schemes" if self.schemes else None

    def first_unmet_at_origin(self, stage: Stage, origin: Origin) -> str | None:
        """The key of what does not hold for an origin, if anything."""
        if not self._has_port(origin.authority.port):
            return "ports"
        if not self._has_host(origin.authority):
            return "hosts"
        if stage is Stage.TUNNEL:
            return self.unseen_in_tunnel()
        return None if self.matches_scheme(origin.scheme) else "schemes"

    def first_unmet_condition(self, facts: RequestView) -> str | None:
        """The key of what else does not hold for a request, if anything.

        @return: L{WANTS_CONTENT} where the content would tell, and otherwise L{WANTS_ADDRESSES} where these would.
        """
        is_tunnel = facts.request.stage is Stage.TUNNEL
        if not is_tunnel:
            if self.methods and not self.matches_method(facts.request.method):
                return "methods"
            if self.paths:
                paths = facts.paths
                if facts.has_long_paths:
                    self._estimate(paths, facts.work)
                if not self.matches_path(paths):
                    return "paths"
        unknown = None
        for condition in self.conditions:
            if is_tunnel and not condition.is_seen:
                # A denial, which may be about what is inside.
                continue
            found = condition.match(facts)
            if found is Match.UNREAD:
                unknown = WANTS_CONTENT
            elif found is Match.UNRESOLVED:
                unknown = unknown or WANTS_ADDRESSES
            elif found is Match.NO or (found is Match.MAYBE and not self.deny_semantics):
                return condition.key
        return unknown

    def stable_for(self, now: float) -> float:
        """The seconds for which the rule says the same of the same request, at least."""
        return min((condition.stable_for(now) for condition in self.conditions), default=float("inf"))


AT_ORIGIN: Final = frozenset({"ports", "hosts", "schemes"})

WANTS_CONTENT: Final = "content"
"""What L{Rule.first_unmet_condition} says where the content would tell."""

WANTS_ADDRESSES: Final = "addresses, which were not looked up"
"""What L{Rule.first_unmet_condition} says where the addresses would tell."""
