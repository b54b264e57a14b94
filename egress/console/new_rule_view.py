"""A rule for a recorded request: the choices, the text to edit, and what the policy would do with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Final

import attrs

from egress.console.diff_view import DiffView
from egress.console.difference_view import DifferenceView
from egress.policy.learn.audit_reader import AuditLine
from egress.policy.learn.insertion import Edited, InsertionFault, insert_rules
from egress.policy.learn.policy_difference import compare_policies
from egress.policy.learn.proposal import Choice, Methods, Scope, method_choices, path_patterns, propose
from egress.policy.learn.replay import Change, Recorded, Replayed, replay
from egress.policy.rules import RuleSet

ACTIONS: Final = (("allow", "Allow"), ("deny", "Deny"), ("ask", "Require an approval"))
"""The actions of a rule: the value, and words."""

_SCOPES: Final = {
    Scope.PATH: "only this path",
    Scope.SIMILAR: "similar paths",
    Scope.BELOW: "the paths below its parent",
    Scope.HOST: "all paths of the host",
}
_KINDS: Final = {"allow": "good", "deny": "bad", "ask": "info", "unavailable": "warn"}
_LONGEST: Final = 80
# The outcomes of requests that the policy decided, and of allowed requests that failed for another reason.
_OUTCOMES: Final = frozenset({"denied", "forwarded", ""})


@attrs.frozen
class Option:
    """One choice.

    @ivar value: its value in the form.
    @ivar text: its text.
    """

    value: str
    text: str


@attrs.frozen(kw_only=True)
class Choices:
    """What the visitor can choose for a request.

    @ivar scopes: the paths, the narrowest choice first.
    @ivar methods: the methods, the narrowest choice first.
    @ivar client: the client of the request.
    @ivar chosen: the current choice.
    """

    scopes: tuple[Option, ...]
    methods: tuple[Option, ...]
    client: str
    chosen: Choice

    @classmethod
    def of(cls, line: AuditLine, action: str, scope: str, methods: str, *, this_client: bool) -> Choices:
        """Return the choices for a request; a value that is not among them becomes the narrowest one."""
        paths, possible = path_patterns(line), method_choices(line)
        default = "deny" if line.decided == "allow" else "allow"
        chosen = Choice(
            action if action in dict(ACTIONS) else default,
            next((each for each in paths if each.value == scope), next(iter(paths))),
            next((each for each in possible if each.value == methods), possible[0]),
            this_client,
        )
        words = {Methods.SAME: line.method, Methods.SAFE: "GET, HEAD and OPTIONS", Methods.ALL: "all methods"}
        return cls(
            scopes=tuple(Option(each.value, _scope_text(each, patterns)) for each, patterns in paths.items()),
            methods=tuple(Option(each.value, words[each]) for each in possible),
            client=line.identity or line.client,
            chosen=chosen,
        )


def _scope_text(scope: Scope, patterns: Sequence[str]) -> str:
    text = f"{_SCOPES[scope]}: {', '.join(patterns)}" if patterns else _SCOPES[scope]
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def note_of(request_id: str, now: float, by: str = "") -> str:
    """Return the comment that records where a rule comes from."""
    day = datetime.fromtimestamp(now, timezone.utc)
    who = f" by {by}" if by else ""
    return f"Added in the web console on {day:%Y-%m-%d}{who}, from request {request_id}."


def proposed(line: AuditLine, choices: Choices, rules: RuleSet, note: str) -> str:
    """Return the text of the proposed rule."""
    return propose(line, choices.chosen, {rule.rule_id for rule in rules.rules}, note)


def place_for(rules: RuleSet, line: AuditLine) -> str | None:
    """Return the rule before which a new rule decides on a request; C{None} if no rule decides on it.

    A record has no header fields and no content, so the recorded rule can differ from the rule that decides on the
    record.  The new rule has to come before both of them.
    """
    names = [rule.rule_id for rule in rules.rules]
    now = replay(rules, [attrs.evolve(line, verdict="deny", observed=None)]).results[0]
    deciding = rules.decide(Recorded.of(line).question(), line.at).rule_id if now.rule_id is None else now.rule_id
    found = [name for name in (line.rule_id, deciding) if name in names]
    return min(found, key=names.index, default=None)


def obstacle(line: AuditLine) -> str:
    """Return why a rule does not change what happened to a request; empty if it does."""
    if line.outcome not in _OUTCOMES:
        return f"The policy did not stop this request: {line.reason} ({line.outcome}). A rule does not change that."
    return ""


@attrs.frozen(kw_only=True)
class Draft:
    """The text of new rules, and what the policy would be with them.

    @ivar text: the text.
    @ivar error: the error in it; empty if it is valid.
    @ivar edited: the changed policy; C{None} if the text is not valid.
    @ivar place: where the rule is inserted.
    @ivar effect: what happens to the request.
    @ivar works: whether the new rule decides on the request.
    @ivar problems: what a check of the policy would report.
    @ivar diff: the difference of the file.
    @ivar difference: the recorded requests for which the changed policy decides differently; C{None} if there are no
        records.
    """

    text: str
    error: str = ""
    edited: Edited | None = None
    place: str = ""
    effect: str = ""
    works: bool = False
    problems: tuple[str, ...] = ()
    diff: DiffView = attrs.field(factory=DiffView)
    difference: DifferenceView | None = None

    @property
    def can_be_saved(self) -> bool:
        """Whether the policy is valid with the text."""
        return self.edited is not None and not self.problems

    @classmethod
    def of(cls, rules: RuleSet, line: AuditLine, text: str, recorded: Sequence[AuditLine]) -> Draft:
        """Examine a text.

        @param rules: the policy in use.
        @param line: the request.
        @param text: the text of the new rules.
        @param recorded: the recorded requests to compare the decisions for.
        """
        before = place_for(rules, line)
        try:
            edited = insert_rules(rules, text, before)
        except InsertionFault as error:
            return cls(text=text, error=str(error))
        (result,) = replay(edited.rules, [attrs.evolve(line, verdict="deny", observed=None)]).results
        effect, works = _effect(result, edited)
        return cls(
            text=text,
            edited=edited,
            place=f"{edited.where}:{edited.line}, "
            + ("after the last rule" if before is None else f"before the rule {before}"),
            effect=effect,
            works=works,
            problems=tuple(edited.problems(rules)),
            diff=DiffView.of(edited.diff()),
            difference=DifferenceView.of(compare_policies(rules, edited.rules, recorded)) if recorded else None,
        )


_EFFECTS: Final = {"allow": "is allowed", "deny": "is denied", "ask": "requires an approval"}


def _effect(result: Replayed, edited: Edited) -> tuple[str, bool]:
    if result.change is Change.UNDECIDED:
        return f"Whether the rule decides on this request depends on more than its record: {result.reason}.", True
    rule = result.rule_id
    if rule in edited.names:
        return f"With this rule, this request {_EFFECTS.get(result.verdict, result.verdict)}.", True
    return f"The rule does not decide on this request: {rule} still does.", False


def request_kind(line: AuditLine) -> str:
    """Return the kind of the chip of the verdict of a request."""
    return _KINDS.get(line.decided, "none")
