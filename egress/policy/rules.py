"""Rules: which requests may leave.  The first that matches decides; where none does, the answer is no.

What a rule cannot be sure of is read to the safe side: a denial holds when it may be about the request, a permission
only when it certainly is.  A rule that asks a person is read as a denial is: nothing leaves by it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Final

import attrs

from egress.model.authority import Authority, Origin
from egress.model.decision import Decision, DecisionRequest, Stage, Verdict
from egress.policy.case import Case
from egress.policy.match.host_index import HostIndex
from egress.policy.match.request_view import RequestView
from egress.policy.match.work_budget import TooMuchWork
from egress.policy.reason_template import cleaned
from egress.policy.rule import AT_ORIGIN, DEFAULT_RULE, WANTS_ADDRESSES, WANTS_CONTENT, Rule
from egress.policy.trace import RuleTrace, doubt_about, reason_with, too_much, why_not

# So many rules about one origin are remembered; more are found anew each time, or the memory would be too large.
_MAX_REMEMBERED: Final = 64


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
            return tuple(
                place for place in index.wildcard if rules[place].first_unmet_at_origin(stage, anywhere) is None
            )

        def find(stage: Stage, origin: Origin) -> Iterator[Rule]:
            authority = origin.authority
            for place in index.candidates(authority, for_every_host(stage, origin.scheme, authority.port)):
                rule = rules[place]
                if not rule.hosts or rule.first_unmet_at_origin(stage, origin) is None:
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
        facts = RequestView(request, now)
        tried: list[Rule] = []
        open_rule: Rule | None = None
        for rule in self._finder.about(request.stage, request.origin):
            tried.append(rule)
            try:
                failed = rule.first_unmet_condition(facts)
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

    def _decided(self, rule: Rule, facts: RequestView, tried: list[Rule]) -> Decision:
        ttl = None if self.ttl is None else self._until_change(self.ttl, tried, facts.now)
        reason = rule.reason.text(facts.request, rule.rule_id)
        return Decision(
            rule.verdict,
            reason_with(reason, rule, doubt_about(rule, facts)) if rule.deny_semantics else reason,
            self.name,
            rule.rule_id,
            ttl=ttl,
            cache_key=None if ttl is None else _cache_key(tried, *rule.reason.parts),
            obligations=rule.obligations,
            enforce_in_observe=rule.enforce_in_observe and rule.verdict is Verdict.DENY,
        )

    def _until_change(self, ttl: float, tried: list[Rule], now: float | None) -> float | None:
        """For how long a decision counts: up to the next time at which a rule that was tried would say another."""
        if now is None:
            # Without any, a rule that looks at the time lasts for ever.
            return None if any(rule.stable_for(0.0) != float("inf") for rule in tried) else ttl
        return min(ttl, *(rule.stable_for(now) for rule in tried)) if tried else ttl

    def trace(self, request: DecisionRequest, now: float | None = None) -> tuple[RuleTrace, ...]:
        """What became of each rule, in their order, up to the one that decided; it takes no short cut."""
        facts = RequestView(request, now)
        found: list[RuleTrace] = []
        open_rule: Rule | None = None
        for rule in self.rules:
            try:
                failed = rule.first_unmet_at_origin(request.stage, request.origin) or rule.first_unmet_condition(facts)
            except TooMuchWork:
                found.append(RuleTrace(rule.rule_id, rule.verdict, False, "work", rule.where))
                wants = self._wants_addresses(open_rule, Verdict.DENY)
                return (*found, self._trace_default(wants.verdict if wants else Verdict.DENY))
            if failed is None or failed is WANTS_CONTENT:
                verdict = rule.verdict if failed is None else Verdict.NEED_BODY
                wants = self._wants_addresses(open_rule, verdict) if failed is None else None
                verdict = wants.verdict if wants else verdict
                doubt = doubt_about(rule, facts) if rule.deny_semantics and failed is None else None
                return (*found, RuleTrace(rule.rule_id, verdict, True, None, rule.where, doubt))
            if failed is WANTS_ADDRESSES:
                open_rule = _less_strict(open_rule, rule)
            doubt = None if rule.deny_semantics or failed in AT_ORIGIN else doubt_about(rule, facts)
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
    return _sorted(frozenset(chain(more, *(rule.depends_on for rule in tried))))


@lru_cache(maxsize=256)
def _sorted(parts: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(parts))
