"""Rules: which requests may leave.  The first that matches decides; where none does, the answer is no."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network

import attrs

from egress.model.authority import Authority
from egress.model.bypass import HostPattern
from egress.model.decision import Decision, DecisionRequest, Stage, Verdict
from egress.policy.addresses import is_private
from egress.policy.paths import readings


def compile_path(pattern: str) -> re.Pattern[str]:
    """Compile a path pattern: C{*} stands for anything within a segment, C{**} for anything."""
    parts = re.split(r"(\*\*|\*)", pattern)
    wild = {"**": ".*", "*": "[^/]*"}
    return re.compile("".join(wild.get(part, re.escape(part)) for part in parts), re.DOTALL)


def compile_host(pattern: str) -> Callable[[Authority], bool]:
    """Compile a host pattern.

    C{example.com}; C{*.example.com} or C{.example.com} for what is below it; C{*}; a CIDR range or C{private} for
    literal addresses; C{single-label} for names without a dot.

    @raise egress.model.errors.InvalidTarget: when it is none of these.
    @raise ValueError: for a range that is none.
    """
    if pattern == "*":
        return lambda authority: True
    if pattern == "private":
        return _is_private_literal
    if pattern == "single-label":
        return lambda authority: authority.ip is None and "." not in authority.host
    if "/" in pattern:
        return _InNetwork(ip_network(pattern))
    return HostPattern.parse(pattern, suffix=False).matches


def _is_private_literal(authority: Authority) -> bool:
    address = authority.ip
    return address is not None and is_private(address)


@attrs.frozen
class _InNetwork:
    network: IPv4Network | IPv6Network

    def __call__(self, authority: Authority) -> bool:
        address = authority.ip
        return address is not None and address in self.network


@attrs.frozen
class Rule:
    """One rule; a condition that is empty does not restrict.

    @ivar rule_id: names the rule in answers and in the audit log.
    @ivar verdict: what it says about requests that match.
    @ivar reason: why, for the client.
    @ivar hosts: compiled by L{compile_host}.
    @ivar paths: compiled by L{compile_path}.
    """

    rule_id: str
    verdict: Verdict
    reason: str
    hosts: tuple[Callable[[Authority], bool], ...] = ()
    ports: frozenset[int] = frozenset()
    schemes: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    paths: tuple[re.Pattern[str], ...] = ()

    def matches(self, request: DecisionRequest, paths: tuple[str, ...]) -> bool:
        """Whether the rule is about a request.

        @param paths: the readings of its path (L{readings}).
        """
        authority = request.authority
        if self.ports and authority.port not in self.ports:
            return False
        if self.schemes and request.origin.scheme not in self.schemes:
            return False
        if self.hosts and not any(matches(authority) for matches in self.hosts):
            return False
        if request.stage is Stage.TUNNEL:
            return self._matches_tunnel()
        if self.methods and request.method not in self.methods:
            return False
        return not self.paths or self._matches_path(paths)

    def _matches_tunnel(self) -> bool:
        """What is inside a tunnel cannot be seen: it may hold whatever a denial is about, and is not known to be what a
        permission is about."""
        if self.verdict is Verdict.DENY:
            return True
        return not self.paths and (not self.methods or "CONNECT" in self.methods)

    def _matches_path(self, paths: tuple[str, ...]) -> bool:
        """A denial holds if any reading matches, a permission only if all do."""
        matching = (any(pattern.fullmatch(path) for pattern in self.paths) for path in paths)
        return any(matching) if self.verdict is Verdict.DENY else all(matching)


@attrs.frozen
class RuleSet:
    """An ordered list of rules.

    @ivar name: says where the rules come from, for logs.
    @ivar blocks_private: whether names that resolve to internal networks are refused, too.
    """

    name: str
    rules: tuple[Rule, ...]
    blocks_private: bool = False

    def decide(self, request: DecisionRequest) -> Decision:
        """Decide on a request by the first rule that matches."""
        paths = readings(request.path)
        for rule in self.rules:
            if rule.matches(request, paths):
                return Decision(rule.verdict, rule.reason, self.name, rule.rule_id)
        return Decision(
            Verdict.DENY, f"no rule of the policy allows {request.method} {request.origin}", self.name, "default"
        )
