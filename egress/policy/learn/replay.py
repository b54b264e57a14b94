"""The replay of recorded requests: how the decisions of another policy, or of another service, would differ."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from egress.grpc.call import call_of
from egress.model.authority import Origin
from egress.model.counted import counted
from egress.model.decision import NEEDS, ClientIdentity, Decision, DecisionRequest, Stage, Verdict
from egress.policy.learn.audit_reader import GRPC_TYPE, AuditLine
from egress.policy.learn.path_templates import pattern_of, shape_of
from egress.policy.rules import RuleSet

_REDACTED: Final = "REDACTED"
_DECISIONS: Final = frozenset({"allow", "deny", "ask"})
_FORWARDED: Final = "forwarded"
# Methods whose requests usually have no content (RFC 9110 section 9.3).
_WITHOUT_CONTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "DELETE", "CONNECT"})
# Conditions on data that an audit log lacks: always, for requests with content, or for queries with redacted secrets.
_UNKNOWN: Final = frozenset({"headers", "addresses"})
_IN_CONTENT: Final = frozenset({"json", "form", "files", "file_types", "max_body", "min_body", "grpc.fields"})
_QUERY: Final = "query"
_TIMES: Final = "times"
_GRPC: Final = "grpc"
_MAY_LACK: Final = frozenset({*_UNKNOWN, *_IN_CONTENT, _QUERY, _TIMES, _GRPC})

_WIDTH: Final = 72
_ROWS: Final = 40


class Change(enum.Enum):
    """The effect of a replay on a recorded request.

    @cvar NEWLY_DENIED: the new decision denies the request, the recorded one does not.
    @cvar NEWLY_ALLOWED: the new decision allows the request, the recorded one does not.
    @cvar NEWLY_ASKED: the new decision requires an approval, the recorded one does not.
    @cvar UNDECIDED: the new decision depends on data that the log does not have.
    @cvar UNAVAILABLE: there is no new decision.
    @cvar OTHER_RULE: the verdict is the same, and another rule decides.
    @cvar SAME: the verdict and the rule are the same.
    """

    NEWLY_DENIED = "newly denied"
    NEWLY_ALLOWED = "newly allowed"
    NEWLY_ASKED = "requiring approval"
    UNDECIDED = "not decidable from the log"
    UNAVAILABLE = "without a decision"
    OTHER_RULE = "with the same decision by another rule"
    SAME = "unchanged"


_CHANGES: Final = {
    Verdict.ALLOW: Change.NEWLY_ALLOWED,
    Verdict.DENY: Change.NEWLY_DENIED,
    Verdict.ASK: Change.NEWLY_ASKED,
}
# Equal verdicts are not a difference, regardless of the rule.
_ALIKE: Final = frozenset({Change.SAME, Change.OTHER_RULE})


@attrs.frozen
class Recorded:
    """A request and its decision, as recorded in an audit log.

    @ivar stage: whether it is a request or a tunnel.
    @ivar method: C{"CONNECT"} for a tunnel.
    @ivar origin: the origin.
    @ivar path: path and query, with redacted secrets; empty for a tunnel.
    @ivar identity: the name of the client; C{None} if it has none.
    @ivar client: the address of the client.
    @ivar has_content: whether the request had content, or may have had content.
    @ivar verdict: the recorded verdict.
    @ivar rule_id: the rule that decided, if the authorizer named one.
    @ivar is_grpc: whether the record contains a gRPC call.
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
    is_grpc: bool = False

    @classmethod
    def of(cls, line: AuditLine) -> Recorded:
        """Create the recorded request of an audit record."""
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
            line.is_grpc,
        )

    @property
    def url(self) -> str:
        """The URL; host and port for a tunnel."""
        if self.stage is Stage.TUNNEL:
            return str(self.origin.authority)
        return f"{self.origin}{'' if self.path == '*' else self.path}"

    def question(self) -> DecisionRequest:
        """Create an authorization request; unknown content is withheld."""
        return DecisionRequest(
            request_id="replay",
            stage=self.stage,
            method=self.method,
            origin=self.origin,
            path=self.path,
            headers=GRPC_TYPE if self.is_grpc else (),
            client=ClientIdentity(self.client, 0, self.identity),
            body_withheld=self.has_content,
            content_length=None if self.has_content else 0,
        )


@attrs.define
class Recording:
    """The distinct requests of an audit log, each with its count.

    @ivar counts: the number of occurrences of each distinct request.
    @ivar undecided: the number of requests without a recorded decision; they are not compared.
    """

    counts: dict[Recorded, int] = attrs.field(factory=dict)
    undecided: int = 0

    def add(self, line: AuditLine) -> None:
        """Add one audit record."""
        if line.decided not in _DECISIONS:
            self.undecided += 1
            return
        recorded = Recorded.of(line)
        self.counts[recorded] = self.counts.get(recorded, 0) + 1


@attrs.frozen
class Replayed:
    """A recorded request with its recorded and its new decision.

    @ivar recorded: the recorded request.
    @ivar count: the number of its occurrences.
    @ivar change: the effect of the replay.
    @ivar verdict: the new verdict; empty if there is none.
    @ivar rule_id: the rule of the new decision, if the authorizer names one.
    @ivar reason: the reason of the new decision, or why there is none.
    """

    recorded: Recorded
    count: int
    change: Change
    verdict: str
    rule_id: str | None
    reason: str


def replayed(recorded: Recorded, count: int, decision: Decision | None, reason: str = "") -> Replayed:
    """Compare a decision with the recorded one.

    @param recorded: the recorded request.
    @param count: the number of its occurrences.
    @param decision: the new decision; C{None} if there is none.
    @param reason: why there is no decision.
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
    """Evaluate the requests of an audit log against rules, each at its recorded time."""
    condition_keys = {rule.rule_id: frozenset(one.key for one in rule.conditions) for rule in rules.rules}
    is_timed = any(_TIMES in keys for keys in condition_keys.values())
    # Few of thousands of rules have conditions on data that a log lacks; without such rules, no trace is needed.
    uncertain = {rule_id: keys & _MAY_LACK for rule_id, keys in condition_keys.items() if keys & _MAY_LACK}
    undecided = 0
    found: dict[Replayed, int] = {}
    # If no rule depends on the time, equal requests have equal decisions.
    known: dict[Recorded, Replayed] = {}
    for line in lines:
        if line.decided not in _DECISIONS:
            undecided += 1
            continue
        recorded = Recorded.of(line)
        one = known.get(recorded)
        if one is None:
            one = _evaluate(rules, uncertain, recorded, line.at)
            if not is_timed:
                known[recorded] = one
        found[one] = found.get(one, 0) + 1
    return Report(tuple(attrs.evolve(one, count=count) for one, count in found.items()), undecided)


def _evaluate(
    rules: RuleSet, uncertain: Mapping[str, frozenset[str]], recorded: Recorded, now: float | None
) -> Replayed:
    """Evaluate a request against rules; a condition on data that the log lacks makes the result undecided.

    @param uncertain: the keys of conditions on data that the log can lack, by rule.
    @param now: the recorded time in seconds since the epoch; C{None} if unknown.
    """
    question = recorded.question()
    found = replayed(recorded, 1, rules.decide(question, now))
    for rule_trace in rules.trace(question, now) if uncertain else ():
        # All conditions of the matching rule hold as far as the log shows, but those on missing data may not hold.
        keys = uncertain.get(rule_trace.rule_id, frozenset()) if rule_trace.matched else {rule_trace.failed}
        unknown = sorted(key for key in keys if key is not None and _is_unknown(key, recorded, now))
        if unknown:
            reason = f"the rule {rule_trace.rule_id} has a condition on {unknown[0]}, which the log does not contain"
            return attrs.evolve(found, change=Change.UNDECIDED, verdict="", rule_id=None, reason=reason)
    return found


def _is_unknown(key: str, recorded: Recorded, now: float | None) -> bool:
    if key == _QUERY:
        return _REDACTED in recorded.path
    if key == _TIMES:
        return now is None
    if key == _GRPC:
        # An audit store does not contain the call. Other requests cannot be one.
        return not recorded.is_grpc and call_of(recorded.method, recorded.path, GRPC_TYPE) is not None
    return key in _UNKNOWN or (key in _IN_CONTENT and recorded.has_content)


@attrs.frozen
class Report:
    """The result of a replay.

    @ivar results: the result for each distinct request.
    @ivar undecided: the number of requests without a recorded decision.
    """

    results: tuple[Replayed, ...]
    undecided: int

    @property
    def differs(self) -> bool:
        """Whether any new verdict differs from the recorded one, or is missing."""
        return any(result.change not in _ALIKE for result in self.results)

    def of(self, change: Change) -> list[Replayed]:
        """Return the results with one effect, the most frequent first."""
        found = [result for result in self.results if result.change is change]
        return sorted(found, key=lambda result: (-result.count, result.recorded.url, result.recorded.method))

    def as_json(self) -> dict[str, Any]:
        """Serialize the report for programs."""
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
        """Format the report for display."""
        for change in Change:
            found = self.of(change)
            if found and change is not Change.SAME:
                yield f"{change.value[0].upper()}{change.value[1:]}: {_requests(found)}"
                yield from _table(found)
                yield ""
        parts = [f"{_requests(found)} {change.value}" for change in Change if (found := self.of(change))]
        yield f"{', '.join(parts)}." if parts else "No requests to compare."
        if self.undecided:
            yield f"{self.undecided:,} more had no recorded decision, and are not compared."
        yield "The audit log, and thus the replay, has no header fields, no content, and no secrets in queries."


def _requests(found: list[Replayed]) -> str:
    return counted(sum(one.count for one in found), "request")


def _kind(one: Replayed) -> tuple[object, ...]:
    """Return the key of a table row: requests that differ only in an identifier share a row."""
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
        yield f"  and {more:,} more kinds of requests; --json lists them"


def _decided(verdict: str, rule_id: str | None) -> str:
    return verdict if rule_id is None else f"{verdict} ({rule_id})"
