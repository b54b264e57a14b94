"""The form of a request to try, and the explanation of what the proxy would do with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from egress.console import formats
from egress.http.request_target import parse_request_target
from egress.model.authority import DEFAULT_PORTS, Origin
from egress.model.decision import NEEDS, ClientIdentity, DecisionRequest, Stage
from egress.model.errors import EgressError
from egress.model.explanation import ExplainRequest, InvalidExplainRequest
from egress.policy.rules import RuleSet

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT")
"""The methods that the form suggests."""

EXAMPLE: Final = "https://api.example/v1"
"""The URL that an empty form shows."""

_KINDS: Final = {"ok": "good", "no": "bad", "failed": "warn", "ask": "info", "skipped": "none"}
_VERDICTS: Final = {"allow": "good", "deny": "bad", "ask": "info"}
_WORDS: Final = {"way": "route", "no": "refused", "ask": "approval"}
_RULES: Final = 12
_LOCAL: Final = "127.0.0.1"


@attrs.frozen
class TryForm:
    """The fields of the form, as the visitor wrote them.

    @ivar method: the method.
    @ivar url: the URL.
    @ivar headers: the header fields, one on each line.
    @ivar body: the content.
    @ivar client: the name of the client.
    """

    method: str = "GET"
    url: str = ""
    headers: str = ""
    body: str = ""
    client: str = ""

    def parse(self) -> ExplainRequest:
        """Parse the form.

        @raise InvalidExplainRequest: if a field is not valid; the message names the fix.
        """
        return ExplainRequest.parse(
            {
                "method": self.method.strip(),
                "url": self.url.strip(),
                "headers": list(_headers(self.headers)),
                "body": self.body or None,
                "client": self.client.strip() or None,
            }
        )


def _headers(text: str) -> Iterator[list[str]]:
    for line in filter(str.strip, text.splitlines()):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise InvalidExplainRequest("write each header field as a name and a value, as in Accept: text/html")
        yield [name.strip(), value.strip()]


@attrs.frozen
class TriedRule:
    """A rule that was evaluated.

    @ivar id: its id.
    @ivar where: its file and line.
    @ivar result: the verdict of the rule that decided, or the condition that did not match.
    @ivar decided: whether it decided.
    """

    id: str
    where: str
    result: str
    decided: bool


@attrs.frozen(kw_only=True)
class TryStep:
    """One step of the explanation.

    @ivar name: the name of the step.
    @ivar kind: the kind of the chip.
    @ivar outcome: the text of the chip.
    @ivar text: the result.
    @ivar duration: how long it took.
    @ivar details: more lines.
    @ivar rules: the last rules that were evaluated.
    @ivar earlier: the number of the other rules that were evaluated.
    """

    name: str
    kind: str
    outcome: str
    text: str
    duration: str
    details: tuple[str, ...] = ()
    rules: tuple[TriedRule, ...] = ()
    earlier: int = 0


@attrs.frozen(kw_only=True)
class Tried:
    """What a policy decides, or what the proxy would do.

    @ivar verdict: the verdict, in words.
    @ivar kind: the kind of its chip.
    @ivar reason: the reason.
    @ivar decided_by: who decided.
    @ivar response: the response of the proxy, if it generates one.
    @ivar steps: the steps.
    """

    verdict: str
    kind: str
    reason: str
    decided_by: str
    response: str = ""
    steps: tuple[TryStep, ...] = ()


def explained(document: Mapping[str, Any]) -> Tried:
    """Make the view of an L{egress.model.explanation.Explanation} in JSON."""
    verdict, rule = document["verdict"], document["ruleId"]
    status = document["status"]
    return Tried(
        verdict="no decision" if verdict == "none" else verdict,
        kind=_VERDICTS.get(verdict, "warn"),
        reason=document["reason"],
        decided_by=document["decidedBy"] if rule is None else f"{document['decidedBy']}, rule {rule}",
        response="" if status is None else f"{status} ({document['code']})",
        steps=tuple(_step(step) for step in document["steps"]),
    )


def _step(step: Mapping[str, Any]) -> TryStep:
    rules = [_rule(rule) for rule in step.get("rules", ())]
    return TryStep(
        name=_WORDS.get(step["name"], step["name"]),
        kind=_KINDS.get(step["outcome"], "none"),
        outcome=_WORDS.get(step["outcome"], step["outcome"]),
        text=step["text"],
        duration=formats.milliseconds(step["seconds"] * 1000),
        details=tuple(step["details"]),
        rules=tuple(rules[-_RULES:]),
        earlier=max(0, len(rules) - _RULES),
    )


def _rule(rule: Mapping[str, Any]) -> TriedRule:
    result = rule["verdict"] if rule["matched"] else f"does not match: {rule['failed']}"
    doubt = rule.get("doubt")
    return TriedRule(rule["ruleId"], rule["where"], result if doubt is None else f"{result} ({doubt})", rule["matched"])


def decided(rules: RuleSet, request: ExplainRequest, now: float) -> Tried | None:
    """Return what a policy that is not in use decides; C{None} if the request cannot be parsed."""
    question = _question(request)
    if question is None:
        return None
    decision = rules.decide(question, now)
    tried = [
        {
            "ruleId": one.rule_id,
            "where": one.where,
            "verdict": one.verdict.value,
            "matched": one.matched,
            "failed": one.failed,
            "doubt": one.doubt,
        }
        for one in rules.trace(question, now)
    ]
    verdict = decision.verdict.value
    if decision.verdict in NEEDS:
        verdict = "not decided"
    step = {
        "name": "decision",
        "outcome": {"allow": "ok", "deny": "no", "ask": "ask"}.get(verdict, "failed"),
        "text": decision.reason,
        "seconds": 0,
        "details": (),
        "rules": tried,
    }
    return Tried(
        verdict=verdict,
        kind=_VERDICTS.get(verdict, "warn"),
        reason=decision.reason,
        decided_by=f"{decision.decided_by}, rule {decision.rule_id}",
        steps=(attrs.evolve(_step(step), duration=""),),
    )


def _question(request: ExplainRequest) -> DecisionRequest | None:
    try:
        target = parse_request_target(request.method, request.url.encode("utf-8"), DEFAULT_PORTS)
        if target.authority is None:
            return None
        tunnel = request.method == "CONNECT"
        origin = Origin.of("https" if tunnel else target.scheme or "https", target.authority)
    except EgressError:
        return None
    body = request.body
    return DecisionRequest(
        request_id="try",
        stage=Stage.TUNNEL if tunnel else Stage.REQUEST,
        method=request.method,
        origin=origin,
        path="" if tunnel else target.path,
        headers=_with_host(request.headers, origin),
        client=ClientIdentity(_LOCAL, 0, request.client),
        body=body,
        content_length=0 if body is None else len(body),
        addresses_withheld=origin.authority.ip is None,
    )


def _with_host(headers: Sequence[tuple[bytes, bytes]], origin: Origin) -> tuple[tuple[bytes, bytes], ...]:
    if any(name.lower() == b"host" for name, _ in headers):
        return tuple(headers)
    return ((b"Host", str(origin.authority).encode("ascii")), *headers)
