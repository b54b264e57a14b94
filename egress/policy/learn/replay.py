"""Recorded questions, put once more: how the decisions of another policy, or another service, would differ."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from egress.model.authority import Origin
from egress.model.decision import NEEDS, ClientIdentity, Decision, DecisionRequest, Stage, Verdict
from egress.policy.learn.audit_reader import AuditLine
from egress.policy.learn.path_templates import pattern_of, shape_of
from egress.policy.rules import RuleSet

_REDACTED: Final = "REDACTED"
_DECISIONS: Final = frozenset({"allow", "deny", "ask"})
_FORWARDED: Final = "forwarded"
# Methods that come without content more often than with it (RFC 9110 section 9.3).
_WITHOUT_CONTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "DELETE", "CONNECT"})
# Conditions on what no audit log has: always, where there was content, and where its secrets have been taken out.
_UNKNOWN: Final = frozenset({"headers", "addresses"})
_IN_CONTENT: Final = frozenset({"json", "max_body", "min_body"})
_QUERY: Final = "query"
_TIMES: Final = "times"
_MAY_LACK: Final = frozenset({*_UNKNOWN, *_IN_CONTENT, _QUERY, _TIMES})

_WIDTH: Final = 72
_ROWS: Final = 40


class Change(enum.Enum):
    """What becomes of a recorded question."""

    NEWLY_DENIED = "newly denied"
    NEWLY_ALLOWED = "newly allowed"
    NEWLY_ASKED = "left to a person"
    UNDECIDED = "not decidable from the log"
    UNAVAILABLE = "without an answer"
    OTHER_RULE = "decided alike by another rule"
    SAME = "unchanged"


_CHANGES: Final = {
    Verdict.ALLOW: Change.NEWLY_ALLOWED,
    Verdict.DENY: Change.NEWLY_DENIED,
    Verdict.ASK: Change.NEWLY_ASKED,
}
# The same verdict is no difference, whoever gave it.
_ALIKE: Final = frozenset({Change.SAME, Change.OTHER_RULE})


@attrs.frozen
class Recorded:
    """A question as far as an audit log has it, and what was decided.

    @ivar has_content: whether there was content, or may have been.
    """

    stage: Stage
    method: str
    origin: Origin
    path: str
    identity: str | None
    client: str
    has_content: bool
    verdict: str
    rule_id: str | None

    @classmethod
    def of(cls, line: AuditLine) -> Recorded:
        """Take what a line says."""
        may_have = line.sent > 0 or not (line.outcome == _FORWARDED or line.method in _WITHOUT_CONTENT)
        return cls(
            line.stage,
            line.method,
            line.origin,
            line.path,
            line.identity,
            line.client,
            may_have,
            line.decided,
            line.rule_id,
        )

    @property
    def url(self) -> str:
        """The URL, or host and port of a tunnel."""
        if self.stage is Stage.TUNNEL:
            return str(self.origin.authority)
        return f"{self.origin}{'' if self.path == '*' else self.path}"

    def question(self) -> DecisionRequest:
        """Put it once more; content that is not known is withheld."""
        return DecisionRequest(
            request_id="replay",
            stage=self.stage,
            method=self.method,
            origin=self.origin,
            path=self.path,
            headers=(),
            client=ClientIdentity(self.client, 0, self.identity),
            body_withheld=self.has_content,
            content_length=None if self.has_content else 0,
        )


@attrs.define
class Recording:
    """The different questions of an audit log, each with how often it was put.

    @ivar undecided: how many requests had no decision then, and are not compared.
    """

    questions: dict[Recorded, int] = attrs.field(factory=dict)
    undecided: int = 0

    def add(self, line: AuditLine) -> None:
        """Take one line in."""
        if line.decided not in _DECISIONS:
            self.undecided += 1
            return
        recorded = Recorded.of(line)
        self.questions[recorded] = self.questions.get(recorded, 0) + 1


@attrs.frozen
class Replayed:
    """One question with both decisions.

    @ivar verdict: what is decided now; empty where nothing is.
    """

    recorded: Recorded
    count: int
    change: Change
    verdict: str
    rule_id: str | None
    reason: str


def replayed(recorded: Recorded, count: int, decision: Decision | None, reason: str = "") -> Replayed:
    """Hold a decision against the recorded one.

    @param decision: C{None}: there was none.
    @param reason: why there was none.
    """
    if decision is None:
        return Replayed(recorded, count, Change.UNAVAILABLE, "", None, reason)
    return Replayed(
        recorded, count, _change(recorded, decision), decision.verdict.value, decision.rule_id, decision.reason
    )


def _change(recorded: Recorded, decision: Decision) -> Change:
    if decision.verdict in NEEDS:
        return Change.UNDECIDED
    if decision.verdict.value != recorded.verdict:
        return _CHANGES[decision.verdict]
    return Change.SAME if decision.rule_id == recorded.rule_id else Change.OTHER_RULE


def replay(rules: RuleSet, lines: Iterable[AuditLine]) -> Report:
    """Put the questions of an audit log to rules, each as of its own time."""
    looked_at = {rule.rule_id: frozenset(one.key for one in rule.conditions) for rule in rules.rules}
    is_timed = any(_TIMES in keys for keys in looked_at.values())
    # Of thousands of rules, few are about what a log may lack; where none is, they need not be tried one by one.
    hanging = {rule_id: keys & _MAY_LACK for rule_id, keys in looked_at.items() if keys & _MAY_LACK}
    undecided = 0
    found: dict[Replayed, int] = {}
    # Where no rule looks at the time, the same question has the same answer.
    known: dict[Recorded, Replayed] = {}
    for line in lines:
        if line.decided not in _DECISIONS:
            undecided += 1
            continue
        recorded = Recorded.of(line)
        one = known.get(recorded)
        if one is None:
            one = _replayed_by(rules, hanging, recorded, line.at)
            if not is_timed:
                known[recorded] = one
        found[one] = found.get(one, 0) + 1
    return Report(tuple(attrs.evolve(one, count=count) for one, count in found.items()), undecided)


def _replayed_by(
    rules: RuleSet, hanging: Mapping[str, frozenset[str]], recorded: Recorded, now: float | None
) -> Replayed:
    """Put a question to rules; what a rule needs and the log does not have is a difference of its own.

    @param hanging: for rules that may need what the log does not have, the keys of these conditions.
    @param now: seconds since the epoch at which it was put; C{None}: not known.
    """
    question = recorded.question()
    found = replayed(recorded, 1, rules.decide(question, now))
    for tried in rules.trace(question, now) if hanging else ():
        # The one that matched did so by all of its conditions, and they may not hold in truth.
        keys = hanging.get(tried.rule_id, frozenset()) if tried.matched else {tried.failed}
        unknown = sorted(key for key in keys if key is not None and _is_unknown(key, recorded, now))
        if unknown:
            reason = f"the rule {tried.rule_id} has a condition on {unknown[0]}, which the log does not tell"
            return attrs.evolve(found, change=Change.UNDECIDED, verdict="", rule_id=None, reason=reason)
    return found


def _is_unknown(key: str, recorded: Recorded, now: float | None) -> bool:
    if key == _QUERY:
        return _REDACTED in recorded.path
    if key == _TIMES:
        return now is None
    return key in _UNKNOWN or (key in _IN_CONTENT and recorded.has_content)


@attrs.frozen
class Report:
    """What a replay has found.

    @ivar undecided: how many requests had no decision then.
    """

    results: tuple[Replayed, ...]
    undecided: int

    @property
    def differs(self) -> bool:
        """Whether any verdict is another one, or is none."""
        return any(result.change not in _ALIKE for result in self.results)

    def of(self, change: Change) -> list[Replayed]:
        """What belongs together, the most frequent first."""
        found = [result for result in self.results if result.change is change]
        return sorted(found, key=lambda result: (-result.count, result.recorded.url, result.recorded.method))

    def as_json(self) -> dict[str, Any]:
        """Write it for programs."""
        return {
            "requests": {change.value: sum(one.count for one in self.of(change)) for change in Change},
            "withoutDecision": self.undecided,
            "differences": [
                {
                    "change": one.change.value,
                    "count": one.count,
                    "stage": one.recorded.stage.value,
                    "method": one.recorded.method,
                    "url": one.recorded.url,
                    "identity": one.recorded.identity,
                    "was": {"verdict": one.recorded.verdict, "ruleId": one.recorded.rule_id},
                    "now": {"verdict": one.verdict or None, "ruleId": one.rule_id, "reason": one.reason},
                }
                for change in Change
                if change is not Change.SAME
                for one in self.of(change)
            ],
        }

    def in_lines(self) -> Iterator[str]:
        """Write it for people."""
        for change in Change:
            found = self.of(change)
            if found and change is not Change.SAME:
                yield f"{change.value[0].upper()}{change.value[1:]}: {_requests(found)}"
                yield from _table(found)
                yield ""
        parts = [f"{_requests(found)} {change.value}" for change in Change if (found := self.of(change))]
        yield f"{', '.join(parts)}." if parts else "There is nothing to compare."
        if self.undecided:
            yield f"{self.undecided:,} more had no decision then, and are not compared."
        yield "Not in the audit log, and so not in what is asked: header fields, content, the secrets of queries."


def _requests(found: list[Replayed]) -> str:
    number = sum(one.count for one in found)
    return f"{number:,} request{'' if number == 1 else 's'}"


def _kind(one: Replayed) -> tuple[object, ...]:
    """What makes one row of a table: requests that differ in an id alone are of one kind."""
    recorded = one.recorded
    verdicts = (recorded.verdict, recorded.rule_id, one.verdict, one.rule_id)
    if one.change is Change.OTHER_RULE:
        return verdicts
    path = recorded.path.partition("?")[0]
    shape = pattern_of(shape_of(path)) if path.startswith("/") else path
    return (*verdicts, recorded.stage, recorded.method, recorded.origin, shape)


def _table(found: list[Replayed]) -> Iterator[str]:
    kinds: dict[tuple[object, ...], list[Replayed]] = {}
    for one in found:
        kinds.setdefault(_kind(one), []).append(one)
    rows = [("COUNT", "METHOD", "URL", "WAS", "NOW", "")]
    for group in sorted(kinds.values(), key=lambda group: -sum(one.count for one in group)):
        one = min(group, key=lambda one: (len(one.recorded.url), one.recorded.url))
        recorded = one.recorded
        url = recorded.url if len(recorded.url) <= _WIDTH else f"{recorded.url[:_WIDTH]}..."
        now = _decided(one.verdict, one.rule_id) if one.verdict else "-"
        reason = "" if one.change is Change.OTHER_RULE else one.reason
        count = f"{sum(one.count for one in group):,}"
        rows.append((count, recorded.method, url, _decided(recorded.verdict, recorded.rule_id), now, reason))
    more = len(rows) - 1 - _ROWS
    rows = rows[: _ROWS + 1]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        others = (text.ljust(width) for text, width in zip(row[1:5], widths[1:], strict=True))
        yield f"  {row[0].rjust(widths[0])}  {'  '.join(others)}  {row[5]}".rstrip()
    if more > 0:
        yield f"  and {more:,} more kinds of requests, which --json shows"


def _decided(verdict: str, rule_id: str | None) -> str:
    return verdict if rule_id is None else f"{verdict} ({rule_id})"
