"""The rules of the policy with their use, as the Policy page shows them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import attrs

from egress.console import formats
from egress.console.policy_reader import PolicyState
from egress.model.counted import counted
from egress.policy.rule import DEFAULT_RULE
from egress.policy.rule_words import Clause, RuleText
from egress.store.interfaces import RuleUse

TIMES: Final = (
    ("1h", 3600.0, "hour"),
    ("24h", 86400.0, "day"),
    ("7d", 7 * 86400.0, "7 days"),
    ("30d", 2592000.0, "30 days"),
)
"""The times over which matches are counted: the parameter, seconds, and words."""

MAX_ROWS: Final = 200
"""The maximum number of rules in the table: to render them takes some milliseconds."""

_KINDS: Final = {"allow": "good", "deny": "bad", "ask": "info"}
_DIGEST: Final = 12


def time_of(parameter: str) -> tuple[str, float, str]:
    """Return one of L{TIMES}; the second one for an unknown parameter."""
    return next((time for time in TIMES if time[0] == parameter), TIMES[1])


@attrs.frozen(kw_only=True)
class RuleRow:
    """One rule.

    @ivar number: its position.
    @ivar id: its id.
    @ivar action: its action.
    @ivar kind: the kind of the chip of the action.
    @ivar conditions: its conditions; empty: it matches every request.
    @ivar obligations: its obligations.
    @ivar reason: its reason.
    @ivar file: its file, without the directory of the main file.
    @ivar line: its line.
    @ivar matches: the number of requests that it decided; C{None} if it is unknown.
    @ivar last: when it last decided, relative to now; empty: never.
    @ivar last_time: the same in UTC.
    """

    number: int
    id: str
    action: str
    kind: str
    conditions: tuple[Clause, ...]
    obligations: tuple[Clause, ...]
    reason: str
    file: str
    line: int
    matches: int | None
    last: str
    last_time: str


@attrs.frozen(kw_only=True)
class PolicyView:
    """The policy.

    @ivar name: its name.
    @ivar digest: the beginning of its digest.
    @ivar whole_digest: its digest.
    @ivar loaded: when it was loaded, relative to now.
    @ivar loaded_time: the same in UTC.
    @ivar processes: how many workers use it; empty if there is one process.
    @ivar is_partial: whether other workers use another policy.
    @ivar files: the files, each with the beginning of its digest.
    @ivar default: the verdict for requests that no rule matches.
    @ivar default_use: the requests that no rule matched.
    @ivar private: whether names that resolve to internal networks are denied.
    @ivar rows: the rules.
    @ivar earlier: the position of the first rule of the previous page; C{None} on the first page.
    @ivar later: the position of the first rule of the next page; C{None} on the last page.
    @ivar unused: the number of rules that never matched; C{None} if it is unknown.
    @ivar others: other rules that decided in this time: the id, the number of requests, and when they last decided.
    @ivar state: C{same}, C{changed} or C{invalid}: the policy in the files.
    @ivar error: the error in the files.
    """

    name: str
    digest: str
    whole_digest: str
    loaded: str
    loaded_time: str
    processes: str
    is_partial: bool
    files: tuple[tuple[str, str], ...]
    default: str
    default_use: RuleRow
    private: bool
    rows: tuple[RuleRow, ...]
    earlier: int | None
    later: int | None
    unused: int | None
    others: tuple[tuple[str, int, str], ...]
    state: str
    error: str


def policy_view(
    state: PolicyState,
    uses: Mapping[str, RuleUse] | None,
    now: float,
    *,
    only_unused: bool = False,
    start: int = 0,
) -> PolicyView:
    """Make the view of a policy.

    @param state: the policy.
    @param uses: the matches of each rule; C{None} if they are unknown.
    @param now: the time, in seconds since the epoch.
    @param only_unused: whether the table has only the rules that never matched.
    @param start: the number of rules before the table.
    """
    rules, loaded = state.rules, state.loaded
    directory = os.path.dirname(rules.texts[0].where)
    used = {} if uses is None else uses
    rows = [
        _row(number, text, directory, uses, now)
        for number, text in enumerate(state.words, 1)
        if not (only_unused and text.rule.rule_id in used)
    ]
    known = {rule.rule_id for rule in rules.rules} | {DEFAULT_RULE}
    others = sorted((item for item in used.items() if item[0] not in known), key=lambda item: -item[1].records)
    changed = state.changed
    many = len(state.in_use)
    return PolicyView(
        name=rules.name,
        digest=loaded.digest[:_DIGEST],
        whole_digest=loaded.digest,
        loaded=formats.ago(loaded.loaded, now),
        loaded_time=formats.moment(loaded.loaded),
        processes="" if many == 1 else f"{state.agreeing} of {counted(many, 'worker')}",
        is_partial=state.agreeing < many,
        files=tuple((_short(text.where, directory), text.digest[:_DIGEST]) for text in rules.texts),
        default=rules.default.value,
        default_use=_default_row(rules.default.value, uses, now),
        private=rules.blocks_private,
        rows=tuple(rows[start : start + MAX_ROWS]),
        earlier=max(0, start - MAX_ROWS) if start else None,
        later=start + MAX_ROWS if len(rows) > start + MAX_ROWS else None,
        unused=None if uses is None else sum(rule.rule_id not in used for rule in rules.rules),
        others=tuple((rule, use.records, formats.ago(use.last, now)) for rule, use in others[:MAX_ROWS]),
        state="same" if changed is None else "invalid" if changed.rules is None else "changed",
        error="" if changed is None else changed.error,
    )


def _row(number: int, text: RuleText, directory: str, uses: Mapping[str, RuleUse] | None, now: float) -> RuleRow:
    rule = text.rule
    matches, last, last_time = _use(rule.rule_id, uses, now)
    action = rule.verdict.value
    return RuleRow(
        number=number,
        id=rule.rule_id,
        action=action,
        kind=_KINDS[action],
        conditions=text.conditions,
        obligations=text.obligations,
        reason=text.reason,
        file=_short(text.where, directory),
        line=text.line,
        matches=matches,
        last=last,
        last_time=last_time,
    )


def _default_row(verdict: str, uses: Mapping[str, RuleUse] | None, now: float) -> RuleRow:
    matches, last, last_time = _use(DEFAULT_RULE, uses, now)
    return RuleRow(
        number=0,
        id=DEFAULT_RULE,
        action=verdict,
        kind=_KINDS[verdict],
        conditions=(),
        obligations=(),
        reason="",
        file="",
        line=0,
        matches=matches,
        last=last,
        last_time=last_time,
    )


def _use(rule_id: str, uses: Mapping[str, RuleUse] | None, now: float) -> tuple[int | None, str, str]:
    if uses is None:
        return None, "", ""
    use = uses.get(rule_id)
    return (0, "", "") if use is None else (use.records, formats.ago(use.last, now), formats.moment(use.last))


def _short(where: str, directory: str) -> str:
    return where.removeprefix(f"{directory}{os.sep}") if directory else where
