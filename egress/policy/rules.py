"""Rules: which requests may leave.  The first that matches decides; where none does, the answer is no.

What a rule cannot be sure of is read to the safe side: a denial holds when it may be about the request, a permission
only when it certainly is.  A rule that asks a person is read as a denial is: nothing leaves by it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import attrs

from egress.model.authority import Authority, Origin
from egress.model.decision import NO_TERMS, Decision, DecisionRequest, Stage, Terms, Verdict
from egress.policy.cases import Case
from egress.policy.conditions import Condition
from egress.policy.facts import Facts
from egress.policy.holds import Holds
from egress.policy.hosts import HostTest, is_about_address
from egress.policy.index import HostIndex
from egress.policy.paths import PathPattern
from egress.policy.reasons import Reason, cleaned
from egress.policy.trace import RuleTrace, doubt_about, reason_with, too_much, why_not
from egress.policy.work import TooMuchWork, Work

DEFAULT_RULE: Final = "default"
"""The rule id of a decision that no rule made."""

# So many rules about one origin are remembered; more are found anew each time, or the memory would be too large.
_MAX_REMEMBERED: Final = 64


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
    @ivar hosts: compiled by L{egress.policy.hosts.compile_host}.
    @ivar port_ranges: beside C{ports}.
    @ivar methods: in capitals.
    @ivar paths: compiled by L{egress.policy.paths.compile_path}, broadly for a denial.
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
    terms: Terms = NO_TERMS
    where: str = ""
    broad: bool = attrs.field(init=False)
    firm: bool = attrs.field(init=False)
    parts: frozenset[str] = attrs.field(init=False, repr=False)

    @broad.default
    def _is_broad(self) -> bool:
        return self.verdict is not Verdict.ALLOW

    @firm.default
    def _is_firm(self) -> bool:
        return any(map(is_about_address, self.hosts)) or any(one.key == "addresses" for one in self.conditions)

    @parts.default
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

    def is_about_scheme(self, scheme: str) -> bool:
        """Whether the scheme matches."""
        return not self.schemes or scheme in self.schemes

    def is_about_method(self, method: str) -> bool:
        """Whether the method matches.

        Methods are case-sensitive (RFC 9110 section 9.1), but not to every server.
        """
        return not self.methods or (method.upper() if self.broad else method) in self.methods

    def is_about_path(self, paths: tuple[str, ...]) -> bool:
        """Whether the path matches: for a denial in any reading, for a permission in all.

        @param paths: the readings (L{egress.policy.paths.readings}).
        """
        for path in paths:
            if self.has_path(path) is self.broad:
                return self.broad
        return not self.broad

    def has_path(self, path: str) -> bool:
        """Whether one reading of the path matches."""
        for pattern in self.paths:  # noqa: SIM110 (any() takes twice the time, and there may be thousands)
            if pattern.fullmatch(path) is not None:
                return True
        return False

    def _estimate(self, paths: tuple[str, ...], work: Work) -> None:
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
        if self.broad:
            return None
        if self.paths:
            return "paths"
        unseen = next((condition.key for condition in self.conditions if not condition.is_seen), None)
        if unseen is not None or "CONNECT" in self.methods:
            return unseen
        return "methods" if self.methods else "schemes" if self.schemes else None

    def fails_at_origin(self, stage: Stage, origin: Origin) -> str | None:
        """The key of what does not hold for an origin, if anything."""
        if not self._has_port(origin.authority.port):
            return "ports"
        if not self._has_host(origin.authority):
            return "hosts"
        if stage is Stage.TUNNEL:
            return self.unseen_in_tunnel()
        return None if self.is_about_scheme(origin.scheme) else "schemes"

    def fails(self, facts: Facts) -> str | None:
        """The key of what else does not hold for a request, if anything.

        @return: L{WANTS_CONTENT} where the content would tell, and otherwise L{WANTS_ADDRESSES} where these would.
        """
        is_tunnel = facts.request.stage is Stage.TUNNEL
        if not is_tunnel:
            if self.methods and not self.is_about_method(facts.request.method):
                return "methods"
            if self.paths:
                paths = facts.paths
                if facts.has_long_paths:
                    self._estimate(paths, facts.work)
                if not self.is_about_path(paths):
                    return "paths"
        unknown = None
        for condition in self.conditions:
            if is_tunnel and not condition.is_seen:
                # A denial, which may be about what is inside.
                continue
            found = condition.holds(facts)
            if found is Holds.UNREAD:
                unknown = WANTS_CONTENT
            elif found is Holds.UNRESOLVED:
                unknown = unknown or WANTS_ADDRESSES
            elif found is Holds.NO or (found is Holds.MAYBE and not self.broad):
                return condition.key
        return unknown

    def lasts(self, now: float) -> float:
        """The seconds for which the rule says the same of the same request, at least."""
        return min((condition.lasts(now) for condition in self.conditions), default=float("inf"))


_AT_ORIGIN: Final = frozenset({"ports", "hosts", "schemes"})

WANTS_CONTENT: Final = "content"
"""What L{Rule.fails} says where the content would tell."""

WANTS_ADDRESSES: Final = "addresses, which were not looked up"
"""What L{Rule.fails} says where the addresses would tell."""


class _Finder:
    """Finds the rules of which all that an origin does not tell is still to be looked at.

    Nothing that it remembers leads back to it, so that an old policy is gone once nobody decides by it.
    """

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        index = HostIndex([rule.hosts for rule in rules])

        @lru_cache(maxsize=32)
        def for_every_host(stage: Stage, scheme: str, port: int) -> tuple[int, ...]:
            """The places of the rules for every host that are about a scheme and a port."""
            anywhere = Origin(scheme, Authority("host.invalid", port))
            return tuple(place for place in index.always if rules[place].fails_at_origin(stage, anywhere) is None)

        def find(stage: Stage, origin: Origin) -> Iterator[Rule]:
            authority = origin.authority
            for place in index.places(authority, for_every_host(stage, origin.scheme, authority.port)):
                rule = rules[place]
                if not rule.hosts or rule.fails_at_origin(stage, origin) is None:
                    yield rule

        # Clients ask for few origins, and often.
        @lru_cache(maxsize=4096)
        def few(stage: Stage, origin: Origin) -> tuple[Rule, ...] | None:
            """The same, unless they are many."""
            found = tuple(islice(find(stage, origin), _MAX_REMEMBERED + 1))
            return found if len(found) <= _MAX_REMEMBERED else None

        self._find = find
        self._few = few

    def about(self, stage: Stage, origin: Origin) -> Iterable[Rule]:
        """The rules about an origin, in their order."""
        few = self._few(stage, origin)
        return self._find(stage, origin) if few is None else few


@attrs.frozen
class RuleSet:
    """An ordered list of rules.

    @ivar name: says where the rules come from, for logs.
    @ivar blocks_private: whether names that resolve to internal networks are refused, too; the address guard sees to
        that, whatever rules say.
    @ivar default: what becomes of requests that no rule is about.
    @ivar files: the files that it was read from, the first one first.
    @ivar secrets: the names of secrets that it has put into header fields.
    @ivar ttl: seconds for which a decision may be used again for the same request.
    @ivar cases: the tests inside the policy.
    """

    name: str
    rules: tuple[Rule, ...]
    blocks_private: bool = False
    default: Verdict = Verdict.DENY
    files: tuple[Path, ...] = ()
    secrets: frozenset[str] = frozenset()
    ttl: float | None = None
    cases: tuple[Case, ...] = attrs.field(default=(), repr=False)
    _finder: _Finder = attrs.field(init=False, eq=False, repr=False)

    @_finder.default
    def _make_finder(self) -> _Finder:
        return _Finder(self.rules)

    def decide(self, request: DecisionRequest, now: float | None = None) -> Decision:
        """Decide on a request by the first rule that matches.

        While addresses are withheld, rules about them are open.  The decision is a denial if it is one whichever of
        them match; otherwise, it asks for the addresses (L{Verdict.NEED_ADDRESSES}).  Content is asked for before.

        @param now: seconds since the epoch; C{None} when that is not known: conditions on time are then read to the
            safe side.
        """
        facts = Facts(request, now)
        tried: list[Rule] = []
        open_rule: Rule | None = None
        for rule in self._finder.about(request.stage, request.origin):
            tried.append(rule)
            try:
                failed = rule.fails(facts)
            except TooMuchWork as error:
                # With the addresses, an earlier rule may decide.
                wants = self._wants_addresses(open_rule, Verdict.DENY)
                return wants or Decision(Verdict.DENY, too_much(error, rule), self.name, DEFAULT_RULE)
            if failed is None:
                return self._wants_addresses(open_rule, rule.verdict) or self._decided(rule, facts, tried)
            if failed is WANTS_CONTENT:
                reason = f"the rule {rule.rule_id} wants the content"
                return Decision(Verdict.NEED_BODY, reason, self.name, rule.rule_id)
            if failed is WANTS_ADDRESSES:
                open_rule = _less_strict(open_rule, rule)
        if open_rule is not None:
            wants = self._wants_addresses(open_rule, self.default)
            if wants is not None:
                return wants
        what = f"{cleaned(request.method)} {request.origin}"
        reason = f"no rule denies {what}"
        if self.default is Verdict.DENY:
            reason = why_not(f"no rule allows {what}", tried, facts)
        ttl = None if self.ttl is None else self._until_change(self.ttl, tried, now)
        key = None if ttl is None else _cache_key(tried, "method")
        return Decision(self.default, reason, self.name, DEFAULT_RULE, ttl=ttl, cache_key=key)

    def _wants_addresses(self, open_rule: Rule | None, otherwise: Verdict) -> Decision | None:
        """Ask for the addresses, unless the answer is a denial whether the open rule matches or not."""
        if open_rule is None or open_rule.verdict is otherwise is Verdict.DENY:
            return None
        reason = f"the rule {open_rule.rule_id} wants the addresses"
        return Decision(Verdict.NEED_ADDRESSES, reason, self.name, open_rule.rule_id)

    def _decided(self, rule: Rule, facts: Facts, tried: list[Rule]) -> Decision:
        ttl = None if self.ttl is None else self._until_change(self.ttl, tried, facts.now)
        reason = rule.reason.text(facts.request, rule.rule_id)
        return Decision(
            rule.verdict,
            reason_with(reason, rule, doubt_about(rule, facts)) if rule.broad else reason,
            self.name,
            rule.rule_id,
            ttl=ttl,
            cache_key=None if ttl is None else _cache_key(tried, *rule.reason.parts),
            terms=rule.terms,
            firm=rule.firm and rule.verdict is Verdict.DENY,
        )

    def _until_change(self, ttl: float, tried: list[Rule], now: float | None) -> float | None:
        """For how long a decision counts: up to the next time at which a rule that was tried would say another."""
        if now is None:
            # Without any, a rule that looks at the time lasts for ever.
            return None if any(rule.lasts(0.0) != float("inf") for rule in tried) else ttl
        return min(ttl, *(rule.lasts(now) for rule in tried)) if tried else ttl

    def trace(self, request: DecisionRequest, now: float | None = None) -> tuple[RuleTrace, ...]:
        """What became of each rule, in their order, up to the one that decided; it takes no short cut."""
        facts = Facts(request, now)
        found: list[RuleTrace] = []
        open_rule: Rule | None = None
        for rule in self.rules:
            try:
                failed = rule.fails_at_origin(request.stage, request.origin) or rule.fails(facts)
            except TooMuchWork:
                found.append(RuleTrace(rule.rule_id, rule.verdict, False, "work", rule.where))
                wants = self._wants_addresses(open_rule, Verdict.DENY)
                return (*found, self._trace_default(wants.verdict if wants else Verdict.DENY))
            if failed is None or failed is WANTS_CONTENT:
                verdict = rule.verdict if failed is None else Verdict.NEED_BODY
                wants = self._wants_addresses(open_rule, verdict) if failed is None else None
                verdict = wants.verdict if wants else verdict
                doubt = doubt_about(rule, facts) if rule.broad and failed is None else None
                return (*found, RuleTrace(rule.rule_id, verdict, True, None, rule.where, doubt))
            if failed is WANTS_ADDRESSES:
                open_rule = _less_strict(open_rule, rule)
            doubt = None if rule.broad or failed in _AT_ORIGIN else doubt_about(rule, facts)
            found.append(RuleTrace(rule.rule_id, rule.verdict, False, failed, rule.where, doubt))
        wants = self._wants_addresses(open_rule, self.default)
        return (*found, self._trace_default(wants.verdict if wants else self.default))

    def _trace_default(self, verdict: Verdict) -> RuleTrace:
        return RuleTrace(DEFAULT_RULE, verdict, True, None, str(self.files[0]) if self.files else "")


def _less_strict(one: Rule | None, other: Rule) -> Rule:
    """Of two open rules, the first one that does not deny; where both deny, the first."""
    return other if one is None or one.verdict is Verdict.DENY is not other.verdict else one


def _cache_key(tried: Iterable[Rule], *more: str) -> tuple[str, ...]:
    """The parts of a question on which the rules that were tried depend, and so what comes of them."""
    return _sorted(frozenset(chain(more, *(rule.parts for rule in tried))))


@lru_cache(maxsize=256)
def _sorted(parts: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(parts))
