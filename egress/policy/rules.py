"""The rule set of a policy.  The first rule that matches decides; by default, a request that matches no rule is denied.

Uncertain conditions are evaluated conservatively: a denial applies if it may match the request, a permission only if it
certainly matches.  A rule that requires an approval is evaluated as a denial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import Final

import attr

from egress.grpc.descriptors import Descriptors
from egress.model.authority import Authority, Origin
from egress.model.decision import Decision, DecisionRequest, Stage, Verdict
from egress.model.message import Message
from egress.policy.case import Case
from egress.policy.match.host_index import HostIndex
from egress.policy.match.message_view import MessageView
from egress.policy.match.request_view import RequestView
from egress.policy.match.work_budget import TooMuchWork
from egress.policy.message_rules import MessageRuleTrace
from egress.policy.reason_template import cleaned
from egress.policy.rule import AT_ORIGIN, DEFAULT_RULE, WANTS_ADDRESSES, WANTS_CONTENT, Rule
from egress.policy.source_text import SourceText, digest_of, version_of
from egress.policy.trace import (
    RuleTrace,
    default_denial_reason,
    doubt_about,
    grpc_call,
    reason_with_doubt,
    work_exceeded_reason,
)

# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_REQUEST: Final = Stage.REQUEST
# The version of a policy that is not loaded yet; the versions of bundles are greater.
NOT_LOADED: Final = 0
# The maximum number of rules to cache per origin; more are searched again each time, to limit memory.
_MAX_CACHED: Final = 64


def _for_every_host(
    wildcard: Sequence[int], rules: tuple[Rule, ...], stage: Stage, scheme: str, port: int
) -> tuple[int, ...]:
    """Return the positions of the rules for every host that match a scheme and a port."""
    anywhere = Origin(scheme, Authority("host.invalid", port))
    return tuple([position for position in wildcard if rules[position].first_unmet_at_origin(stage, anywhere) is None])


def _find(
    index: HostIndex,
    rules: tuple[Rule, ...],
    for_every_host: Callable[[Stage, str, int], tuple[int, ...]],
    stage: Stage,
    origin: Origin,
) -> Iterator[Rule]:
    """Find the rules for an origin, in their order."""
    authority = origin.authority
    for position in index.candidates(authority, for_every_host(stage, origin.scheme, authority.port)):
        rule = rules[position]
        if not rule.hosts or rule.first_unmet_at_origin(stage, origin) is None:
            yield rule


def _few(find: Callable[[Stage, Origin], Iterator[Rule]], stage: Stage, origin: Origin) -> tuple[Rule, ...] | None:
    """Return the rules for an origin, or C{None} if there are too many to cache."""
    found = tuple(islice(find(stage, origin), _MAX_CACHED + 1))
    return found if len(found) <= _MAX_CACHED else None


class _Finder:
    """Finds the rules whose host, port and scheme match an origin.

    Its caches hold no reference to it, so an old policy is freed when no decision uses it.
    """

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        index = HostIndex([rule.hosts for rule in rules])
        for_every_host = lru_cache(maxsize=32)(partial(_for_every_host, index.wildcard, rules))
        self._find: Callable[[Stage, Origin], Iterator[Rule]] = partial(_find, index, rules, for_every_host)
        # Clients contact few origins, and contact them often.
        self._cached: Callable[[Stage, Origin], tuple[Rule, ...] | None] = lru_cache(maxsize=4096)(
            partial(_few, self._find)
        )

    def about(self, stage: Stage, origin: Origin) -> Iterable[Rule]:
        """Return the rules for an origin, in their order."""
        cached = self._cached(stage, origin)
        return self._find(stage, origin) if cached is None else cached


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class RuleSet:
    """An ordered list of rules.

    @ivar name: the source of the rules, for logs.
    @ivar rules: the rules, in order.
    @ivar blocks_private: whether names that resolve to internal networks are denied; the address guard enforces this
        independently of the rules.
    @ivar default: the verdict for requests that match no rule.
    @ivar files: the files of the policy, the main file first.
    @ivar secrets: the names of the secrets that the policy inserts into header fields.
    @ivar ttl: time to live in seconds of a cached decision.
    @ivar cases: the test cases in the policy.
    @ivar texts: the texts of the policy, the main one first.
    @ivar descriptors: the types of gRPC messages, for conditions on their fields.
    @ivar version: the version of the bundle that contains the policy, if it is in a bundle.
    @ivar policy_version: the version of the policy in decisions; C{None} for rules without a text.
    """

    name: Final[str]
    rules: Final[tuple[Rule, ...]]
    blocks_private: Final[bool]
    default: Final[Verdict]
    files: Final[tuple[Path, ...]]
    secrets: Final[frozenset[str]]
    ttl: Final[float | None]
    cases: tuple[Case, ...] = attr.ib(repr=False)
    texts: tuple[SourceText, ...] = attr.ib(eq=False, repr=False)
    descriptors: Descriptors | None = attr.ib(eq=False, repr=False)
    version: int | None = attr.ib(eq=False, repr=False)
    policy_version: str | None = attr.ib(init=False, eq=False, repr=False)
    _finder: _Finder = attr.ib(init=False, eq=False, repr=False)
    _with_messages: dict[str, Rule] = attr.ib(init=False, eq=False, repr=False)

    def __init__(
        self,
        name: str,
        rules: tuple[Rule, ...],
        blocks_private: bool = False,
        default: Verdict = Verdict.DENY,
        files: tuple[Path, ...] = (),
        secrets: frozenset[str] = frozenset(),
        ttl: float | None = None,
        cases: tuple[Case, ...] = (),
        texts: tuple[SourceText, ...] = (),
        descriptors: Descriptors | None = None,
        version: int | None = None,
    ) -> None:
        self.name = name
        self.rules = rules
        self.blocks_private = blocks_private
        self.default = default
        self.files = files
        self.secrets = secrets
        self.ttl = ttl
        self.cases = cases
        self.texts = texts
        self.descriptors = descriptors
        self.version = version
        self.policy_version = version_of(texts, version)
        self._finder = _Finder(rules)
        self._with_messages = {rule.rule_id: rule for rule in rules if rule.messages is not None}

    @property
    def has_budgets(self) -> bool:
        """Whether a rule has a budget."""
        return any(rule.obligations.budgets for rule in self.rules)

    @property
    def is_loaded(self) -> bool:
        """Whether this is a policy, and not the placeholder for one that is not loaded yet."""
        return self.version != NOT_LOADED

    @property
    def digest(self) -> str:
        """The SHA-256 digest of the policy: for one file, as C{sha256sum} prints it."""
        return digest_of(self.texts)

    def decide(self, request: DecisionRequest, now: float | None = None) -> Decision:
        """Decide on a request by the first rule that matches.

        While the addresses are withheld, the result of rules with conditions on addresses is open.  If the decision is
        a denial regardless of the open rules, it is final; otherwise, it requests the addresses
        (L{Verdict.NEED_ADDRESSES}).  Content is requested first.

        @param request: the authorization request.
        @param now: seconds since the epoch; C{None} if unknown: conditions on time are then evaluated conservatively.
        """
        if request.message is not None:
            return self._decide_message(request, request.message)
        view = RequestView(request, now, self.descriptors)
        evaluated: list[Rule] = []
        open_rule: Rule | None = None
        for rule in self._finder.about(request.stage, request.origin):
            evaluated.append(rule)
            try:
                failed = rule.first_unmet_condition(view)
            except TooMuchWork as error:
                # With the addresses known, an earlier rule can decide.
                wants = self._wants_addresses(open_rule, Verdict.DENY)
                return wants or self._undecided(Verdict.DENY, work_exceeded_reason(error, rule), DEFAULT_RULE)
            if failed is None:
                return self._wants_addresses(open_rule, rule.verdict) or self._decided(rule, view, evaluated)
            if failed is WANTS_CONTENT:
                reason = f"the rule {rule.rule_id} needs the content"
                return self._undecided(Verdict.NEED_BODY, reason, rule.rule_id)
            if failed is WANTS_ADDRESSES:
                open_rule = _less_strict(open_rule, rule)
        if open_rule is not None:
            wants = self._wants_addresses(open_rule, self.default)
            if wants is not None:
                return wants
        what = f"{cleaned(request.method)} {request.origin}"
        reason = f"no rule denies {what}"
        if self.default is Verdict.DENY:
            call = grpc_call(evaluated, view)
            what = what if call is None else f"the gRPC method {call} of {request.origin}"
            reason = default_denial_reason(f"no rule allows {what}", evaluated, view)
        ttl = None if self.ttl is None else self._until_change(self.ttl, evaluated, now)
        key = None if ttl is None else _cache_key(evaluated, "method")
        return Decision(
            self.default,
            reason,
            self.name,
            DEFAULT_RULE,
            ttl=ttl,
            cache_key=key,
            policy_version=self.policy_version,
        )

    def _undecided(self, verdict: Verdict, reason: str, rule_id: str) -> Decision:
        """Return the decision on a request with which no rule was compared completely."""
        return Decision(verdict, reason, self.name, rule_id, policy_version=self.policy_version)

    def _decide_message(self, request: DecisionRequest, message: Message) -> Decision:
        """Decide on a message by the message rules of the rule that allowed its exchange."""
        rule = None if message.rule_id is None else self._with_messages.get(message.rule_id)
        if rule is None or rule.messages is None or rule.first_unmet_at_origin(_REQUEST, request.origin) is not None:
            # The policy was changed after the exchange began.
            reason = "the policy no longer has message rules for this exchange; begin a new one"
            return self._undecided(Verdict.DENY, reason, DEFAULT_RULE)
        view = MessageView(request, message, self.descriptors)
        return rule.messages.decide(view, rule.rule_id, self.name, self.policy_version)

    def _wants_addresses(self, open_rule: Rule | None, otherwise: Verdict) -> Decision | None:
        """Request the addresses, unless the decision is a denial whether or not the open rule matches."""
        if open_rule is None or open_rule.verdict is otherwise is Verdict.DENY:
            return None
        reason = f"the rule {open_rule.rule_id} needs the addresses"
        return self._undecided(Verdict.NEED_ADDRESSES, reason, open_rule.rule_id)

    def _decided(self, rule: Rule, view: RequestView, evaluated: list[Rule]) -> Decision:
        ttl = None if self.ttl is None else self._until_change(self.ttl, evaluated, view.now)
        reason = rule.reason.text(view.request, rule.rule_id)
        return Decision(
            rule.verdict,
            reason_with_doubt(reason, rule, doubt_about(rule, view)) if rule.deny_semantics else reason,
            self.name,
            rule.rule_id,
            ttl=ttl,
            cache_key=None if ttl is None else _cache_key(evaluated, *rule.reason.depends_on),
            obligations=rule.obligations,
            enforce_in_observe=rule.enforce_in_observe and rule.verdict is Verdict.DENY,
            policy_version=self.policy_version,
        )

    def _until_change(self, ttl: float, evaluated: list[Rule], now: float | None) -> float | None:
        """Return the time to live of a decision; it ends when the result of an evaluated rule can change."""
        if now is None:
            # The time is unknown, so the decision is cacheable only if no evaluated rule depends on the time.
            return None if any(rule.stable_for(0.0) != float("inf") for rule in evaluated) else ttl
        return min(ttl, *(rule.stable_for(now) for rule in evaluated)) if evaluated else ttl

    def trace(self, request: DecisionRequest, now: float | None = None) -> tuple[RuleTrace, ...]:
        """Return the result of each rule, in order, up to the rule that decides; the index is not used."""
        view = RequestView(request, now, self.descriptors)
        found: list[RuleTrace] = []
        open_rule: Rule | None = None
        for rule in self.rules:
            try:
                failed = rule.first_unmet_at_origin(request.stage, request.origin) or rule.first_unmet_condition(view)
            except TooMuchWork:
                found.append(RuleTrace(rule.rule_id, rule.verdict, False, "work", rule.where))
                wants = self._wants_addresses(open_rule, Verdict.DENY)
                return (*found, self._trace_default(wants.verdict if wants else Verdict.DENY))
            if failed is None or failed is WANTS_CONTENT:
                verdict = rule.verdict if failed is None else Verdict.NEED_BODY
                wants = self._wants_addresses(open_rule, verdict) if failed is None else None
                verdict = wants.verdict if wants else verdict
                doubt = doubt_about(rule, view) if rule.deny_semantics and failed is None else None
                return (*found, RuleTrace(rule.rule_id, verdict, True, None, rule.where, doubt))
            if failed is WANTS_ADDRESSES:
                open_rule = _less_strict(open_rule, rule)
            doubt = None if rule.deny_semantics or failed in AT_ORIGIN else doubt_about(rule, view)
            found.append(RuleTrace(rule.rule_id, rule.verdict, False, failed, rule.where, doubt))
        wants = self._wants_addresses(open_rule, self.default)
        return (*found, self._trace_default(wants.verdict if wants else self.default))

    def trace_message(self, request: DecisionRequest) -> tuple[MessageRuleTrace, ...]:
        """Return the result of each message rule that decides on a message (L{MessageRules.trace})."""
        message = request.message
        rule = None if message is None or message.rule_id is None else self._with_messages.get(message.rule_id)
        if message is None or rule is None or rule.messages is None:
            return ()
        return rule.messages.trace(MessageView(request, message, self.descriptors), rule.rule_id)

    def _trace_default(self, verdict: Verdict) -> RuleTrace:
        return RuleTrace(DEFAULT_RULE, verdict, True, None, str(self.files[0]) if self.files else "")


def _less_strict(one: Rule | None, other: Rule) -> Rule:
    """Return the first of two open rules that does not deny; the first rule if both deny."""
    return other if one is None or one.verdict is Verdict.DENY is not other.verdict else one


def _cache_key(evaluated: Iterable[Rule], *more: str) -> tuple[str, ...]:
    """Return the request attributes on which the evaluated rules depend, and therefore the decision."""
    return _sorted(frozenset(chain(more, *(rule.depends_on for rule in evaluated))))


@lru_cache(maxsize=256)
def _sorted(depends_on: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(depends_on))
