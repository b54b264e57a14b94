"""What became of each rule, and why a rule may or may not be about a request, where servers read it differently."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import attrs

from egress.model.decision import Stage, Verdict
from egress.policy.match.json_body import UNREADABLE
from egress.policy.match.paths import ambiguity
from egress.policy.match.request_view import RequestView
from egress.policy.match.tristate import Match
from egress.policy.match.work_budget import TooMuchWork

if TYPE_CHECKING:
    from egress.policy.rule import Rule

# So many of the rules that were tried are looked at again for a reason.
_MOST: Final = 8

_ALIKE: Final = "which servers read in different ways"
_UNSURE: Final = {
    "query": f"its query has names or values {_ALIKE}",
    "headers": f"its fields have names or values {_ALIKE}",
}
_DOES: Final = {Verdict.ALLOW: "does not allow it", Verdict.DENY: "denies it", Verdict.ASK: "asks a person"}


@attrs.frozen
class RuleTrace:
    """What became of one rule.

    @ivar verdict: what the rule says; L{Verdict.NEED_BODY} where it says nothing without the content,
        L{Verdict.NEED_ADDRESSES} where an earlier rule may decide by the addresses.
    @ivar matched: whether it decided.
    @ivar failed: the key of the first condition that did not hold, as C{"hosts"}.
    @ivar where: the file and the line of the rule, as C{policy.toml:12}.
    @ivar doubt: what servers read in different ways, where that is why it matched or did not.
    """

    rule_id: str
    verdict: Verdict
    matched: bool
    failed: str | None
    where: str
    doubt: str | None = None


def doubt_about(rule: Rule, facts: RequestView) -> str | None:
    """What of a request servers read in different ways, if a rule decides otherwise for that than it would without.

    @return: without any text of the request, as C{"its path contains %2F, ..."}.
    """
    if facts.request.stage is Stage.TUNNEL:
        return None
    try:
        return _of_broad(rule, facts) if rule.deny_semantics else _of_permission(rule, facts)
    except TooMuchWork:
        return None


def _of_broad(rule: Rule, facts: RequestView) -> str | None:
    if rule.paths and not rule.has_path(facts.paths[0]):
        return _path(facts)
    is_about_json = any(condition.key == "json" for condition in rule.conditions)
    return facts.json_fault if is_about_json and facts.json is UNREADABLE else None


def _of_permission(rule: Rule, facts: RequestView) -> str | None:
    if rule.methods and not rule.matches_method(facts.request.method):
        return None
    if rule.paths and not rule.matches_path(facts.paths):
        may_match = not facts.has_long_paths and any(map(rule.has_path, facts.paths))
        return _path(facts) if may_match else None
    doubts: list[str | None] = []
    for condition in rule.conditions:
        found = condition.match(facts)
        if found is Match.NO:
            return None
        if found is Match.MAYBE:
            is_unread = condition.key == "json" and facts.json is UNREADABLE
            doubts.append(facts.json_fault if is_unread else _UNSURE.get(condition.key))
    return doubts[0] if doubts else None


def _path(facts: RequestView) -> str:
    return f"its path contains {ambiguity(facts.request.path)}, {_ALIKE}"


def reason_with(reason: str, rule: Rule, doubt: str | None) -> str:
    """A reason, and what is in doubt."""
    return reason if doubt is None else f"{reason}; {doubt}, so the rule {rule.rule_id} {_DOES[rule.verdict]}"


def why_not(reason: str, tried: Iterable[Rule], facts: RequestView) -> str:
    """The reason of a denial by default, with the first doubt for which a permission did not match."""
    permissions = [rule for rule in tried if not rule.deny_semantics and (rule.paths or rule.conditions)]
    for rule in permissions[:_MOST]:
        doubt = doubt_about(rule, facts)
        if doubt is not None:
            return reason_with(reason, rule, doubt)
    return reason


def too_much(error: TooMuchWork, rule: Rule) -> str:
    """The reason of a denial for too much work."""
    return f"the request takes too much work to compare with the rule {rule.rule_id}: {error.cause}"
