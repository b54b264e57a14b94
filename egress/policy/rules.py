"""Rules: which requests may leave.  The first that matches decides; where none does, the answer is no.

What a rule cannot be sure of is read to the safe side: a denial holds when it may be about the request, a permission
only when it certainly is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final

import attrs

from egress.model.authority import Authority, Origin, parse_ip
from egress.model.bypass import HostPattern
from egress.model.decision import Decision, DecisionRequest, Stage, Verdict
from egress.policy.addresses import embedded, is_private
from egress.policy.paths import readings

HostTest = Callable[[Authority], bool]

DEFAULT_RULE: Final = "default"
"""The rule id of a decision that no rule made."""

_MAPPED: Final = IPv6Network("::ffff:0:0/96")


def compile_host(pattern: str) -> HostTest:
    """Compile a host pattern.

    C{example.com}; C{*.example.com} or C{.example.com} for what is below it; an address; each with an optional port.
    C{*}; a CIDR range or C{private} for literal addresses; C{single-label} for names without a dot.

    @raise egress.model.errors.InvalidTarget: when it is none of these.
    @raise ValueError: likewise, and for what could never match.
    """
    if pattern == "*":
        return _is_any
    if pattern == "private":
        return _is_private_literal
    if pattern == "single-label":
        return _is_single_label
    if "/" in pattern:
        return _Within(_network(pattern))
    if pattern.startswith("*") and not pattern.startswith("*."):
        raise ValueError("* stands for everything, or before a dot for what is below a host, as in *.example.com")
    if pattern.count(":") > 1 and not pattern.startswith("["):
        pattern = f"[{pattern}]"
    parsed = HostPattern.parse(pattern, suffix=False)
    address = parse_ip(parsed.host)
    if address is None:
        return parsed.matches
    if not parsed.exact:
        raise ValueError("there is nothing below an address; write a range, as in 10.0.0.0/8")
    return _Within(ip_network(address), parsed.port)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}; write a host alone, as in example.com, or a range, as in 10.0.0.0/8") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        raise ValueError("addresses of this kind are read as IPv4; write an IPv4 range")
    return network


def _is_any(_: Authority) -> bool:
    return True


def _is_private_literal(authority: Authority) -> bool:
    address = authority.ip
    return address is not None and is_private(address)


def _is_single_label(authority: Authority) -> bool:
    return "." not in authority.host and authority.ip is None


@attrs.frozen
class _Within:
    """Literal addresses in a range, or such that lead into it (L{embedded})."""

    network: IPv4Network | IPv6Network
    port: int | None = None

    def __call__(self, authority: Authority) -> bool:
        address = authority.ip
        if address is None or self.port not in (None, authority.port):
            return False
        return address in self.network or embedded(address) in self.network


@attrs.frozen
class Rule:
    """One rule; a condition that is empty does not restrict.

    @ivar rule_id: names the rule in answers and in the audit log.
    @ivar verdict: what it says about requests that match.
    @ivar reason: why, for the client.
    @ivar hosts: compiled by L{compile_host}.
    @ivar methods: in capitals.
    @ivar paths: compiled by L{egress.policy.paths.compile_path}, broadly for a denial.
    """

    rule_id: str
    verdict: Verdict
    reason: str
    hosts: tuple[HostTest, ...] = ()
    ports: frozenset[int] = frozenset()
    schemes: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    paths: tuple[re.Pattern[str], ...] = ()

    def is_about_authority(self, authority: Authority) -> bool:
        """Whether host and port match."""
        if self.ports and authority.port not in self.ports:
            return False
        return not self.hosts or any(matches(authority) for matches in self.hosts)

    def is_about_scheme(self, scheme: str) -> bool:
        """Whether the scheme matches."""
        return not self.schemes or scheme in self.schemes

    def is_about_method(self, method: str) -> bool:
        """Whether the method matches.

        Methods are case-sensitive (RFC 9110 section 9.1), but not to every server.
        """
        if not self.methods:
            return True
        return (method.upper() if self.verdict is Verdict.DENY else method) in self.methods

    def is_about_path(self, paths: tuple[str, ...] | None) -> bool:
        """Whether the path matches: for a denial in any reading, for a permission in all.

        @param paths: the readings (L{readings}); C{None}: nobody can tell.
        """
        if not self.paths:
            return True
        if paths is None:
            return self.verdict is Verdict.DENY
        matching = (any(pattern.fullmatch(path) for pattern in self.paths) for path in paths)
        return any(matching) if self.verdict is Verdict.DENY else all(matching)

    def is_about_tunnel(self) -> bool:
        """Whether what is inside a tunnel matches, which cannot be seen: neither scheme nor method nor path.

        It may hold whatever a denial is about.  It is what a permission is about only where that restricts none of
        these, or is given to C{CONNECT} by name.
        """
        if self.verdict is Verdict.DENY:
            return True
        if self.paths:
            return False
        return "CONNECT" in self.methods or not (self.methods or self.schemes)


@attrs.frozen
class RuleTrace:
    """What became of one rule.

    @ivar verdict: what the rule says.
    @ivar matched: whether it decided.
    @ivar failed: the key of the first condition that did not hold, as C{"hosts"}.
    @ivar where: file and line of the rule, as C{policy.toml:12}.
    """

    rule_id: str
    verdict: Verdict
    matched: bool
    failed: str | None
    where: str


@attrs.frozen
class RuleSet:
    """An ordered list of rules.

    @ivar name: says where the rules come from, for logs.
    @ivar blocks_private: whether names that resolve to internal networks are refused, too; the address guard sees to
        that, since rules see names alone.
    @ivar default: what becomes of requests that no rule is about.
    """

    name: str
    rules: tuple[Rule, ...]
    blocks_private: bool = False
    default: Verdict = Verdict.DENY
    files: tuple[Path, ...] = ()
    secrets: frozenset[str] = frozenset()
    _about: Callable[[Stage, Origin], tuple[Rule, ...]] = attrs.field(init=False, eq=False, repr=False)

    @_about.default
    def _remembered(self) -> Callable[[Stage, Origin], tuple[Rule, ...]]:
        # Clients ask for few origins, and often: that makes an index of any kind of host pattern.
        return lru_cache(maxsize=4096)(self._find)

    def _find(self, stage: Stage, origin: Origin) -> tuple[Rule, ...]:
        """The rules of which only method and path are still to be looked at; for a tunnel, not even these."""
        near = (rule for rule in self.rules if rule.is_about_authority(origin.authority))
        if stage is Stage.TUNNEL:
            return tuple(rule for rule in near if rule.is_about_tunnel())
        return tuple(rule for rule in near if rule.is_about_scheme(origin.scheme))

    def _first(self, request: DecisionRequest) -> Rule | None:
        rules = self._about(request.stage, request.origin)
        if request.stage is Stage.TUNNEL:
            return rules[0] if rules else None
        paths: tuple[str, ...] | None = None
        is_read = False
        for rule in rules:
            if not rule.is_about_method(request.method):
                continue
            if rule.paths and not is_read:
                paths, is_read = readings(request.path), True
            if rule.is_about_path(paths):
                return rule
        return None

    def trace(self, request: DecisionRequest, now: float | None = None) -> tuple[RuleTrace, ...]:
        """What became of each rule up to the one that decides."""
        last = self.decide(request, now)
        return (RuleTrace(last.rule_id or DEFAULT_RULE, last.verdict, True, None, self.name),)

    def decide(self, request: DecisionRequest, now: float | None = None) -> Decision:
        """Decide on a request by the first rule that matches.

        @param now: seconds since the epoch; C{None} when that is not known.
        """
        rule = self._first(request)
        if rule is not None:
            return Decision(rule.verdict, rule.reason, self.name, rule.rule_id)
        what = f"{request.method} {request.origin}"
        says = "no rule allows" if self.default is Verdict.DENY else "no rule denies"
        return Decision(self.default, f"{says} {what}", self.name, DEFAULT_RULE)
