"""Rule traces: the result of each rule, and the effect of request parts that servers interpret differently."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import attrs

from egress.grpc.call import Call
from egress.model.decision import Stage, Verdict
from egress.policy.match.conditions import Condition, FormFields
from egress.policy.match.json_body import UNREADABLE
from egress.policy.match.paths import ambiguity
from egress.policy.match.request_view import RequestView
from egress.policy.match.tristate import Match
from egress.policy.match.work_budget import TooMuchWork
from egress.policy.reason_template import cleaned

if TYPE_CHECKING:
    from egress.policy.rule import Rule

# The maximum number of evaluated rules that are examined again for a reason.
_MAX_EXAMINED: Final = 8

_AMBIGUOUS: Final = "which servers read in different ways"
_DOUBTS: Final = {
    "query": f"its query has names or values {_AMBIGUOUS}",
    "grpc.fields": "its gRPC message is unknown, or cannot be read",
    "grpc": "only some servers read it as a gRPC call",
    "headers": f"its fields have names or values {_AMBIGUOUS}",
}
_EFFECTS: Final = {Verdict.ALLOW: "does not allow it", Verdict.DENY: "denies it", Verdict.ASK: "requires approval"}


@attrs.frozen
class RuleTrace:
    """The result of one rule.

    @ivar rule_id: identifies the rule.
    @ivar verdict: the verdict of the rule; L{Verdict.NEED_BODY} if its result depends on the content,
        L{Verdict.NEED_ADDRESSES} if an earlier rule can decide once the addresses are known.
    @ivar matched: whether the rule decided.
    @ivar failed: the key of the first condition that did not match, as in C{"hosts"}.
    @ivar where: the file and line of the rule, as in C{policy.toml:12}.
    @ivar doubt: the part of the request that servers interpret differently, if it determined the result.
    """

    rule_id: str
    verdict: Verdict
    matched: bool
    failed: str | None
    where: str
    doubt: str | None = None


def doubt_about(rule: Rule, view: RequestView) -> str | None:
    """Describe the part of a request that servers interpret differently, if it changes the result of a rule.

    @return: a text without any data of the request, as in C{"its path contains %2F, ..."}; C{None} if nothing changes.
    """
    if view.request.stage is Stage.TUNNEL:
        return None
    try:
        return _doubt_of_denial(rule, view) if rule.deny_semantics else _doubt_of_permission(rule, view)
    except TooMuchWork:
        return None


def _doubt_of_denial(rule: Rule, view: RequestView) -> str | None:
    if rule.paths and not rule.has_path(view.paths[0]):
        return _path(view)
    return next(filter(None, (_content_fault(condition, view) for condition in rule.conditions)), None)


def _doubt_of_permission(rule: Rule, view: RequestView) -> str | None:
    if rule.methods and not rule.matches_method(view.request.method):
        return None
    if rule.paths and not rule.matches_path(view.paths):
        may_match = not view.has_long_paths and any(map(rule.has_path, view.paths))
        return _path(view) if may_match else None
    doubts: list[str | None] = []
    for condition in rule.conditions:
        found = condition.match(view)
        if found is Match.NO:
            return None
        if found is Match.MAYBE:
            doubts.append(_content_fault(condition, view) or _field_doubt(condition, view))
    return doubts[0] if doubts else None


def _content_fault(condition: Condition, view: RequestView) -> str | None:
    """Return why no server is known to read the content as the condition does; C{None} if it is readable."""
    if condition.key == "json":
        return view.content.fault("json") if view.content.json is UNREADABLE else None
    if isinstance(condition, FormFields):
        return view.content.fault("form") if view.content.form is UNREADABLE else None
    return None


def _field_doubt(condition: Condition, view: RequestView) -> str | None:
    if isinstance(condition, FormFields):
        # The name is that of the policy: names and values of a request can be secret.
        name = condition.doubtful(view)
        return f"its form has names or values for the field {cleaned(str(name))!r} {_AMBIGUOUS}"
    return _DOUBTS.get(condition.key)


def _path(view: RequestView) -> str:
    return f"its path contains {ambiguity(view.request.path)}, {_AMBIGUOUS}"


def grpc_call(evaluated: Iterable[Rule], view: RequestView) -> str | None:
    """Return the gRPC method of a request, for reasons; C{None} if no evaluated rule depends on it."""
    if not any(condition.key == "grpc" for rule in evaluated for condition in rule.conditions):
        return None
    call = view.grpc
    return cleaned(f"{call.service}/{call.method}") if isinstance(call, Call) else None


def reason_with_doubt(reason: str, rule: Rule, doubt: str | None) -> str:
    """Append the ambiguous part of the request to a reason."""
    return reason if doubt is None else f"{reason}; {doubt}, so the rule {rule.rule_id} {_EFFECTS[rule.verdict]}"


def default_denial_reason(reason: str, evaluated: Iterable[Rule], view: RequestView) -> str:
    """Return the reason of a denial by default, with the first ambiguity that prevented the match of a permission."""
    permissions = [rule for rule in evaluated if not rule.deny_semantics and (rule.paths or rule.conditions)]
    for rule in permissions[:_MAX_EXAMINED]:
        doubt = doubt_about(rule, view)
        if doubt is not None:
            return reason_with_doubt(reason, rule, doubt)
    return reason


def work_exceeded_reason(error: TooMuchWork, rule: Rule) -> str:
    """Return the reason of a denial because the request exceeds the work budget."""
    return f"the request takes too much work to compare with the rule {rule.rule_id}: {error.cause}"
