"""One request, as its page shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

import attrs

from egress.console import formats
from egress.console.destinations_view import live_link
from egress.console.live_view import verdict_kind, verdict_text
from egress.console.paths import ROOT, with_query
from egress.model import phases
from egress.model.change import STAGE
from egress.model.redact import REDACTED
from egress.policy.rule import DEFAULT_RULE
from egress.policy.rule_words import Clause, rules_in_words
from egress.policy.rules import RuleSet
from egress.store.row import host_and_path

WIDTH: Final = 1000
"""The width of the timeline, in its own units."""

_NARROWEST: Final = 4.0
_MAX_URL: Final = 6000

_WORDS: Final = {
    phases.READ: "Read the request",
    phases.DECISION: "Wait for the decision",
    phases.DNS: "Resolve the name",
    phases.CONNECT: "Connect",
    phases.UPSTREAM_TLS: "TLS with the upstream proxy",
    phases.UPSTREAM_CONNECT: "Tunnel of the upstream proxy",
    phases.TLS: "TLS with the origin",
    phases.REUSED: "Connection of an earlier request",
    phases.SEND: "Send the content",
    phases.WAIT: "Wait for the response",
    phases.RECEIVE: "Receive the response",
    phases.RELAY: "Relay",
}
_ACTIONS: Final = {"allow": "good", "deny": "bad", "ask": "info"}
_OUTCOMES: Final = {"forwarded": "The response of the origin was forwarded.", "denied": "The request was denied."}


@attrs.frozen
class PhaseBar:
    """One phase in the timeline.

    @ivar name: the name of the phase in the audit log.
    @ivar words: what the proxy does.
    @ivar duration: the duration.
    @ivar left: the begin of the bar.
    @ivar width: the width of the bar; very short phases remain visible.
    """

    name: str
    words: str
    duration: str
    left: float
    width: float


@attrs.frozen
class Fact:
    """One line of the facts.

    @ivar name: the name.
    @ivar value: the value.
    @ivar link: the path of a page about the value; empty if there is none.
    """

    name: str
    value: str
    link: str = ""


@attrs.frozen(kw_only=True)
class RequestView:
    """One request.

    @ivar id: its id.
    @ivar method: its method.
    @ivar url: its redacted URL.
    @ivar verdict: the verdict.
    @ivar kind: the kind of its chip.
    @ivar reason: the reason.
    @ivar outcome: what happened, in words.
    @ivar rule: the id of the rule that decided; C{None} if no rule did.
    @ivar decision: the facts about the decision.
    @ivar exchange: the facts about the exchange.
    @ivar bars: the timeline.
    @ivar total: the duration of the exchange.
    @ivar request_headers: the header fields of the request; C{None} if they are not recorded.
    @ivar response_headers: the header fields of the response; C{None} if they are not recorded.
    @ivar can_be_tried: whether the policy can decide again.
    @ivar headers_text: the header fields of the request that contain no secret, one on each line.
    @ivar client: the name of the client; empty if it has none.
    @ivar is_change: whether it is the record of a change by an administrator, and not of a request.
    """

    id: str
    method: str
    url: str
    verdict: str
    kind: str
    reason: str
    outcome: str
    rule: str | None
    decision: tuple[Fact, ...]
    exchange: tuple[Fact, ...]
    bars: tuple[PhaseBar, ...]
    total: str
    request_headers: tuple[tuple[str, str], ...] | None
    response_headers: tuple[tuple[str, str], ...] | None
    can_be_tried: bool
    headers_text: str
    client: str
    is_change: bool

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> RequestView:
        """Make the view of a record of the audit store."""
        outcome = record["outcome"]
        is_change = record["stage"] == STAGE
        request_headers = _headers(record.get("requestHeaders"))
        return cls(
            id=record["requestId"],
            method="Change" if is_change else record["method"],
            url=f"in the {record['decidedBy']}" if is_change else record["url"],
            verdict=verdict_text(record),
            kind=verdict_kind(record),
            reason=record["reason"],
            outcome="" if is_change else _OUTCOMES.get(outcome, f"The exchange ended with the error {outcome}."),
            rule=record["ruleId"],
            decision=tuple(_outcome(record) if is_change else _decision(record)),
            exchange=tuple(_client(record) if is_change else _exchange(record)),
            is_change=is_change,
            bars=_bars(record.get("phases") or (), record["durationMs"]),
            total=formats.milliseconds(record["durationMs"]),
            request_headers=request_headers,
            response_headers=_headers(record.get("responseHeaders")),
            can_be_tried=bool(record["method"]) and len(record["url"]) <= _MAX_URL,
            headers_text=_plain(request_headers or ()),
            client=record["identity"] or "",
        )


@attrs.frozen(kw_only=True)
class DecidingRule:
    """The rule that decided, as the policy has it now.

    @ivar place: the name of its file, and its line; empty for the default.
    @ivar file: its file.
    @ivar action: its action.
    @ivar kind: the kind of the chip of the action.
    @ivar reason: its reason.
    @ivar conditions: its conditions; empty: it matches every request.
    @ivar obligations: its obligations.
    @ivar link: the path of the rule on the Policy page.
    """

    place: str
    file: str = ""
    action: str
    kind: str
    reason: str = ""
    conditions: tuple[Clause, ...] = ()
    obligations: tuple[Clause, ...] = ()
    link: str

    @classmethod
    def find(cls, rules: RuleSet, rule_id: str) -> DecidingRule | None:
        """Return a rule of a policy; C{None} if the policy does not have it any more."""
        link = f"{ROOT}/policy#rule-{quote(rule_id, safe='')}"
        if rule_id == DEFAULT_RULE:
            action = rules.default.value
            return cls(place="", action=action, kind=_ACTIONS[action], link=link)
        for text in rules_in_words(rules):
            if text.rule.rule_id == rule_id:
                action = text.rule.verdict.value
                return cls(
                    place=f"{PurePath(text.where).name}:{text.line}",
                    file=text.where,
                    action=action,
                    kind=_ACTIONS[action],
                    reason=text.reason,
                    conditions=text.conditions,
                    obligations=text.obligations,
                    link=link,
                )
        return None


def _decision(record: Mapping[str, Any]) -> list[Fact]:
    rule, by, source = record["ruleId"], record["decidedBy"], record["source"]
    facts = []
    if rule is not None:
        facts.append(Fact("Rule", rule, live_link(("rule", rule))))
    facts.append(Fact("Decided by", "the proxy itself" if by == "proxy" else by))
    version = record.get("policyVersion")
    if version is not None:
        facts.append(Fact("Policy version", version, live_link(("policy", version))))
    if source is not None:
        facts.append(Fact("Source", source))
    if record["observed"] is not None:
        facts.append(Fact("Observe mode", f"enforced, the verdict would be {record['observed']}"))
    facts.append(Fact("Decision time", formats.milliseconds(record["decisionMs"])))
    return facts + _outcome(record)


def _outcome(record: Mapping[str, Any]) -> list[Fact]:
    return [Fact("Outcome", record["outcome"], live_link(("outcome", record["outcome"])))]


def _client(record: Mapping[str, Any]) -> list[Fact]:
    """Return the facts about the client and the time."""
    identity = record["identity"]
    address = record["client"].rpartition(":")[0].strip("[]")
    facts = [
        Fact("Time", f"{formats.day(record['time'])} {formats.clock_time(record['time'])} UTC"),
        Fact("Client", record["client"], live_link(("client", address))),
    ]
    if identity is not None:
        facts.append(Fact("Client name", identity, live_link(("client", identity))))
    if "node" in record:
        node, worker = record["node"], record["worker"]
        facts.append(Fact("Proxy", f"{node}, worker {worker}" if worker else node, live_link(("node", node))))
    return facts


def _exchange(record: Mapping[str, Any]) -> list[Fact]:
    host, _ = host_and_path(record["url"])
    status = record["status"]
    facts = _client(record)
    if host:
        facts.append(Fact("Host", host, live_link(("host", host))))
    facts += [
        Fact("Stage", record["stage"]),
        Fact("Status", "none: the connection was closed" if status is None else str(status)),
        Fact("Sent", formats.size(record["bytesSent"])),
        Fact("Received", formats.size(record["bytesReceived"])),
    ]
    facts += _protocol(record)
    if record["upstream"] is not None:
        facts.append(Fact("Upstream proxy", record["upstream"]))
    facts.append(Fact("Address", record["address"] or "no connection to an address"))
    facts.append(Fact("Request id", record["requestId"]))
    return facts


def _protocol(record: Mapping[str, Any]) -> Iterator[Fact]:
    """Yield the facts about the versions of HTTP, and about the gRPC call."""
    for name, key, field in (
        ("HTTP of the client", "clientHttp", "client_http"),
        ("HTTP of the origin", "originHttp", "origin_http"),
    ):
        version = record.get(key)
        if version is not None:
            yield Fact(name, version, live_link((field, version)))
    call = record.get("grpc")
    if call is not None:
        name = f"{call['service']}/{call['method']}"
        yield Fact("gRPC call", name, live_link(("grpc", name)))
        status = call["status"]
        if status is None:
            yield Fact("gRPC status", "unknown")
        else:
            yield Fact("gRPC status", status, live_link(("grpc_status", status)))


def _bars(found: Sequence[Sequence[Any]], total: float) -> tuple[PhaseBar, ...]:
    """Lay the phases out on the timeline, each after the other."""
    whole = max(total, sum(each for _, each in found)) or 1.0
    bars, since = [], 0.0
    for name, each in found:
        width = max(_NARROWEST, each / whole * WIDTH)
        left = min(since / whole * WIDTH, WIDTH - width)
        bars.append(
            PhaseBar(
                name, _WORDS.get(name, name), formats.milliseconds(each), round(max(0.0, left), 1), round(width, 1)
            )
        )
        since += each
    return tuple(bars)


def _headers(found: Sequence[Sequence[str]] | None) -> tuple[tuple[str, str], ...] | None:
    return None if found is None else tuple((name, value) for name, value in found)


def _plain(headers: Sequence[tuple[str, str]]) -> str:
    """Return the fields that a request to try can have: complete, and without redacted values."""
    return "\n".join(
        f"{name}: {value}" for name, value in headers if name and REDACTED not in value and value.isprintable()
    )


def rule_link(request_id: str) -> str:
    """Return the path of the page that creates a rule from a request."""
    return with_query(f"{ROOT}/policy/new-rule", request=request_id)
