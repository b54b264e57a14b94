"""The request to C{egress explain}, and its result."""

from __future__ import annotations

import base64
import binascii
import enum
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import attrs

from egress.model.decision import Headers
from egress.model.message import Direction, Message, MessageKind
from egress.model.quote import quoted

_E = TypeVar("_E", bound=enum.Enum)

# The default limit for content that is sent to an authorizer.
MAX_BODY: Final = 1024 * 1024
_MAX_HEADERS: Final = 256
_MAX_TEXT: Final = 16 * 1024
_MESSAGE_FIELDS: Final = frozenset({"messageKind", "messageDirection", "messageType"})
_FIELDS: Final = _MESSAGE_FIELDS | {
    *("method", "url", "headers", "body", "bodyEncoding", "client", "connect", "ask", "message")
}
# Characters that would end a header line.
_LINE_ENDS: Final = re.compile(r"[\r\n\0]")


class InvalidExplainRequest(ValueError):
    """An explain request that cannot be parsed; the message names the error."""


@attrs.frozen
class ExplainRequest:
    """A hypothetical request to explain.

    @ivar method: the method, as a client would send it.
    @ivar url: the URL as a client would write it.
    @ivar headers: the header fields.
    @ivar body: the content; C{None} if there is none.
    @ivar client: the name of the client; C{None} if it has none.
    @ivar connect: whether to connect to the origin if the request is allowed.
    @ivar ask: whether to query the authorization service, if one is configured.
    @ivar message: a message of the exchange, and its content, to explain if the request is allowed.
    """

    method: str
    url: str
    headers: Headers = attrs.field(default=(), repr=False)
    body: bytes | None = attrs.field(default=None, repr=False)
    client: str | None = None
    connect: bool = False
    ask: bool = True
    message: tuple[Message, bytes] | None = attrs.field(default=None, repr=False)

    @classmethod
    def parse(cls, document: object) -> ExplainRequest:
        """Parse JSON: C{{"method": "GET", "url": "...", "headers": [["name", "value"]], "body": "..."}} and more.

        @raise InvalidExplainRequest: if the document is not a valid request.
        """
        if not isinstance(document, dict):
            raise InvalidExplainRequest('send an object, as in {"method": "GET", "url": "https://example.com/"}')
        unknown = sorted(map(str, document.keys() - _FIELDS))
        if unknown:
            raise InvalidExplainRequest(f"{quoted(unknown[0])} is not a known member: use {', '.join(sorted(_FIELDS))}")
        client = document.get("client")
        return cls(
            method=_line(document.get("method"), "method"),
            url=_line(document.get("url"), "url"),
            headers=_headers(document.get("headers")),
            body=_body(document.get("body"), document.get("bodyEncoding")),
            client=None if client is None else _line(client, "client"),
            connect=_truth(document.get("connect", False), "connect"),
            ask=_truth(document.get("ask", True), "ask"),
            message=_message(document),
        )

    def to_json(self) -> dict[str, Any]:
        """Serialize the request for L{parse}."""
        message: dict[str, str] = {}
        if self.message is not None:
            facts, content = self.message
            message = {
                "message": content.decode("utf-8"),
                "messageKind": facts.kind.value,
                "messageDirection": facts.direction.value,
                "messageType": facts.type,
            }
        return {
            **message,
            "method": self.method,
            "url": self.url,
            "headers": [[name.decode("utf-8"), value.decode("utf-8")] for name, value in self.headers],
            "body": None if self.body is None else base64.b64encode(self.body).decode("ascii"),
            "bodyEncoding": "base64",
            "client": self.client,
            "connect": self.connect,
            "ask": self.ask,
        }


def _line(value: object, name: str) -> str:
    if not isinstance(value, str) or not value or len(value) > _MAX_TEXT or _LINE_ENDS.search(value):
        raise InvalidExplainRequest(f'"{name}" must be a string of one line')
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidExplainRequest(f'"{name}" must be a string that can be encoded as UTF-8') from error
    return value


def _truth(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidExplainRequest(f'"{name}" must be true or false')
    return value


def _headers(value: object) -> Headers:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > _MAX_HEADERS:
        raise InvalidExplainRequest(f'"headers" must be a list of up to {_MAX_HEADERS} pairs')
    headers = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise InvalidExplainRequest('"headers" must be a list of pairs: name and value')
        text = pair[1]
        headers.append((_line(pair[0], "headers").encode(), _line(text, "headers").encode() if text != "" else b""))
    return tuple(headers)


def _body(value: object, encoding: object) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str) or encoding not in (None, "base64"):
        raise InvalidExplainRequest(
            '"body" must be a string, with "bodyEncoding": "base64" if the content is not UTF-8'
        )
    try:
        body = value.encode("utf-8") if encoding is None else base64.b64decode(value, validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError) as error:
        raise InvalidExplainRequest('"body" must be a string that can be encoded as UTF-8, or base64') from error
    if len(body) > MAX_BODY:
        raise InvalidExplainRequest(f'"body" must have at most {MAX_BODY} bytes')
    return body


def _message(document: Mapping[str, Any]) -> tuple[Message, bytes] | None:
    text = document.get("message")
    if text is None:
        unused = next((name for name in sorted(_MESSAGE_FIELDS) if document.get(name) is not None), None)
        if unused is not None:
            raise InvalidExplainRequest(f'"{unused}" describes a message: add "message" with its content')
        return None
    content = _body(text, None)
    assert content is not None
    kind = _one_of(document, "messageKind", MessageKind.WEBSOCKET)
    # An event stream has only messages of the origin.
    sender = Direction.ORIGIN if kind is MessageKind.SSE else Direction.CLIENT
    direction = _one_of(document, "messageDirection", sender)
    usual = "text" if kind is MessageKind.WEBSOCKET else "message"
    return Message(kind, direction, _line(document.get("messageType") or usual, "messageType"), 1), content


def _one_of(document: Mapping[str, Any], name: str, default: _E) -> _E:
    value, kinds = document.get(name), type(default)
    try:
        return default if value is None else kinds(value)
    except ValueError as error:
        known = ", ".join(each.value for each in kinds)
        raise InvalidExplainRequest(f'"{name}" must be one of {known}') from error


@attrs.frozen
class RuleTried:
    """The evaluation of one rule of the embedded policy.

    @ivar rule_id: identifies the rule.
    @ivar verdict: the verdict of the rule.
    @ivar matched: whether the rule decided.
    @ivar failed: the condition that did not match; C{None} if all matched.
    @ivar where: the location of the rule in the policy file.
    @ivar doubt: the part of the request that servers interpret differently, if it determined the result.
    """

    rule_id: str
    verdict: str
    matched: bool
    failed: str | None
    where: str
    doubt: str | None = None


@attrs.frozen
class Step:
    """One step of the processing of a request.

    @ivar name: the name of the step.
    @ivar outcome: C{"ok"}, C{"no"} (processing ends here), C{"failed"} (the step gave no result), C{"skipped"}.
    @ivar text: the result, in a sentence.
    @ivar seconds: the duration of the step.
    @ivar details: further details.
    @ivar rules: the rules that were evaluated, in this order.
    """

    name: str
    outcome: str
    text: str
    seconds: float
    details: tuple[str, ...] = ()
    rules: tuple[RuleTried, ...] = ()


@attrs.frozen
class Explanation:
    """The processing of one request, up to the step that ends it.

    @ivar method: the method of the request.
    @ivar url: the URL of the request.
    @ivar steps: the steps, in order.
    @ivar verdict: C{"allow"}, C{"deny"}, C{"ask"} (requires an approval) or C{"none"}: no decision, or a failure.
    @ivar reason: the reason of the decision or of the failure, in one sentence.
    @ivar decided_by: the name of the authorizer; C{"proxy"}: the proxy itself.
    @ivar rule_id: the rule that decided, if the authorizer names one.
    @ivar status: the status code of the proxy's own response; C{None} if the proxy generates none.
    @ivar code: the error code, as in the audit log.
    """

    method: str
    url: str
    steps: tuple[Step, ...]
    verdict: str
    reason: str
    decided_by: str
    rule_id: str | None = None
    status: int | None = None
    code: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Serialize the explanation for programs."""
        return {
            "method": self.method,
            "url": self.url,
            "verdict": self.verdict,
            "reason": self.reason,
            "decidedBy": self.decided_by,
            "ruleId": self.rule_id,
            "status": self.status,
            "code": self.code,
            "steps": [_step(step) for step in self.steps],
        }


def _step(step: Step) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": step.name,
        "outcome": step.outcome,
        "text": step.text,
        "seconds": round(step.seconds, 6),
        "details": list(step.details),
    }
    if step.rules:
        found["rules"] = [
            {
                "ruleId": rule.rule_id,
                "verdict": rule.verdict,
                "matched": rule.matched,
                "failed": rule.failed,
                "where": rule.where,
                "doubt": rule.doubt,
            }
            for rule in step.rules
        ]
    return found
