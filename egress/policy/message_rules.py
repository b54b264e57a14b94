"""The message rules of a rule: they decide on each message of the exchanges that the rule allows.

The first message rule that matches decides.  Uncertain conditions are evaluated conservatively, as for rules: a
denial applies if it may match the message, a permission only if it certainly matches.
"""

from __future__ import annotations

from typing import Final

import attrs

from egress.model.decision import Decision, Verdict
from egress.model.message import Direction, MessageKind
from egress.policy.match.json_body import Expression, Wanted, json_matches
from egress.policy.match.message_view import MessageView
from egress.policy.match.patterns import Pattern
from egress.policy.match.tristate import Match, all_of
from egress.policy.match.work_budget import TooMuchWork, steps_to_try
from egress.policy.reason_template import Reason

DEFAULT_NAME: Final = "default"
"""The name of the decision that no message rule determined."""


@attrs.frozen
class MessageRule:
    """A message rule.  An empty condition matches every message.

    @ivar name: the name; together with the name of its rule, it identifies the message rule.
    @ivar verdict: the verdict for messages that match.
    @ivar reason: the reason, for the client.
    @ivar directions: the senders.
    @ivar kinds: the protocols.
    @ivar types: patterns for the type of the message.
    @ivar texts: patterns for the content as text.
    @ivar json: for each expression, the values that it may select in the content.
    @ivar fields: for each expression, the values that it may select in the fields of a gRPC message.
    @ivar least: the minimum size, in bytes.
    @ivar most: the maximum size, in bytes; C{None}: no maximum.
    @ivar where: the file and line of the rule.
    """

    name: str
    verdict: Verdict
    reason: Reason
    directions: frozenset[Direction] = frozenset()
    kinds: frozenset[MessageKind] = frozenset()
    types: tuple[Pattern, ...] = ()
    texts: tuple[Pattern, ...] = ()
    json: tuple[tuple[Expression, Wanted], ...] = ()
    fields: tuple[tuple[Expression, Wanted], ...] = ()
    least: int = 0
    most: int | None = None
    where: str = ""

    def first_unmet_condition(self, view: MessageView) -> str | None:
        """Return the key of the first condition that a message does not meet, or C{None}.

        @raise TooMuchWork: if the evaluation exceeds the work budget.
        """
        message, size = view.message, len(view.content)
        if self.directions and message.direction not in self.directions:
            return "directions"
        if self.kinds and message.kind not in self.kinds:
            return "kinds"
        if self.types and not self._has_type(view):
            return "types"
        if size < self.least:
            return "min_size"
        if self.most is not None and size > self.most:
            return "max_size"
        if self.texts and not self._holds(self._match_text(view)):
            return "text"
        if self.fields:
            if message.kind is not MessageKind.GRPC:
                return "fields"
            document = view.grpc
            if not self._holds(
                Match.MAYBE if document is None else all_of(json_matches(document, *each) for each in self.fields)
            ):
                return "fields"
        if self.json and not self._holds(all_of(json_matches(view.json, *each) for each in self.json)):
            return "json"
        return None

    def _holds(self, match: Match) -> bool:
        return match is Match.YES or (match is Match.MAYBE and self.verdict is Verdict.DENY)

    def _has_type(self, view: MessageView) -> bool:
        kind = view.message.type
        view.work.spend(steps_to_try((kind,), len(self.types)), f"its type of {len(kind):,} characters is long")
        return any(matches(kind) for matches in self.types)

    def _match_text(self, view: MessageView) -> Match:
        text = view.text
        if text is None:
            return Match.MAYBE
        cause = f"its text of {len(text):,} characters is compared with {len(self.texts)} patterns"
        view.work.spend(steps_to_try((text,), len(self.texts)), cause)
        return Match.YES if any(matches(text) for matches in self.texts) else Match.NO


@attrs.frozen
class MessageRuleTrace:
    """The result of one message rule.

    @ivar rule_id: identifies the message rule.
    @ivar verdict: the verdict of the message rule.
    @ivar failed: the key of the first condition that did not match; C{None}: the message rule decided.
    @ivar where: the file and line of the message rule.
    """

    rule_id: str
    verdict: Verdict
    failed: str | None
    where: str


@attrs.frozen
class MessageRules:
    """The message rules of one rule.

    @ivar rules: the message rules, in order.
    @ivar default: the verdict for messages that match no message rule.
    """

    rules: tuple[MessageRule, ...] = ()
    default: Verdict = Verdict.DENY

    def decide(self, view: MessageView, rule_id: str, decided_by: str, policy_version: str | None = None) -> Decision:
        """Decide on a message.

        @param view: the message.
        @param rule_id: the rule that these message rules belong to.
        @param decided_by: the name of the policy.
        @param policy_version: its version.
        """
        default = f"{rule_id}/{DEFAULT_NAME}"
        for rule in self.rules:
            name = f"{rule_id}/{rule.name}"
            try:
                failed = rule.first_unmet_condition(view)
            except TooMuchWork as error:
                reason = f"the message takes too much work to compare with the rule {name}: {error.cause}"
                return Decision(Verdict.DENY, reason, decided_by, default, policy_version=policy_version)
            if failed is None:
                reason = rule.reason.text(view.request, name)
                return Decision(rule.verdict, reason, decided_by, name, policy_version=policy_version)
        message = view.message
        does = "denies" if self.default is Verdict.ALLOW else "allows"
        reason = (
            f"no message rule of {rule_id} {does} this {message.kind.value} message of the {message.direction.value}"
        )
        return Decision(self.default, reason, decided_by, default, policy_version=policy_version)

    def trace(self, view: MessageView, rule_id: str) -> tuple[MessageRuleTrace, ...]:
        """Return the result of each message rule, in order, up to the rule that decides."""
        found: list[MessageRuleTrace] = []
        for rule in self.rules:
            try:
                failed = rule.first_unmet_condition(view)
            except TooMuchWork:
                failed = "work"
            found.append(MessageRuleTrace(f"{rule_id}/{rule.name}", rule.verdict, failed, rule.where))
            if failed is None:
                break
        return tuple(found)
