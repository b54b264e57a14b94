"""The parser of test cases: a request and the expected decision."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from ipaddress import ip_address
from typing import Any, Final

from egress.http.request_target import TargetForm, parse_request_target
from egress.model.authority import IPAddress, Origin
from egress.model.decision import ClientIdentity, DecisionRequest, Headers, Stage, Verdict
from egress.model.message import Direction, Message, MessageKind
from egress.policy.case import Case
from egress.policy.parse.toml_reader import Document, Table, is_a

_KEYS: Final = frozenset(
    {"name", "request", "headers", "body", "client", "address", "addresses", "at", "expect", "rule"}
    | {"message", "direction", "kind", "type"},
)
_SCHEMES: Final = frozenset({"http", "https"})
_FIELD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_METHOD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CLIENT: Final = "192.0.2.1"


def read_case(document: Document, number: int, entry: dict[str, Any]) -> Case:
    """Parse one C{[[test]]} table.

    @raise egress.policy.parse.toml_reader.PolicyError: if the table is not valid.
    """
    table = Table(document, ("test", number), f"test {number + 1}", entry, _KEYS)
    text = table.line("request")
    if text is None:
        raise table.error("'request' is missing; write a method and a URL, as in \"GET https://example.com/\"")
    method, stage, origin, path = table.reading(_request, text, "'request'", "request")
    expect = table.verdict("expect", Verdict.ALLOW, Verdict.DENY, Verdict.ASK)
    if expect is None:
        raise table.error('\'expect\' is missing; write "allow", "deny" or "ask"')
    body = table.get("body", str)
    content = None if body is None else body.encode("utf-8")
    request = DecisionRequest(
        f"test-{number + 1}",
        stage,
        method,
        origin,
        path,
        _headers(table),
        ClientIdentity(table.read("address", _address) or _CLIENT, 0, table.line("client")),
        content,
        content_length=len(content or b""),
        addresses=table.entries("addresses", str, ip_address) or None,
    )
    now = table.read("at", _time)
    name, where = table.line("name") or text, document.place(table.path)
    return Case(name, where, request, now, expect, table.line("rule"), _message(table))


def _message(table: Table) -> tuple[Message, bytes] | None:
    text = table.get("message", str)
    if text is None:
        unused = next((key for key in ("direction", "kind", "type") if key in table.table), None)
        if unused is not None:
            raise table.error(f"{unused!r} describes a message; add 'message' with its content", unused)
        return None
    kind = table.read("kind", MessageKind) or MessageKind.WEBSOCKET
    # An event stream has only messages of the origin.
    sender = Direction.ORIGIN if kind is MessageKind.SSE else Direction.CLIENT
    direction = table.read("direction", Direction) or sender
    default = "text" if kind is MessageKind.WEBSOCKET else "message"
    return Message(kind, direction, table.line("type") or default, 1), text.encode("utf-8")


def _request(text: str) -> tuple[str, Stage, Origin, str]:
    method, _, url = text.partition(" ")
    if not _METHOD.fullmatch(method) or not url:
        raise ValueError('write a method and a URL, as in "GET https://example.com/"')
    if method != "CONNECT" and url.partition("://")[0].lower() not in _SCHEMES:
        raise ValueError("the URL must begin with http:// or https://")
    target = parse_request_target(method, url.encode("utf-8"), _SCHEMES)
    assert target.authority is not None  # no URL is without
    if target.form is TargetForm.AUTHORITY:
        return method, Stage.TUNNEL, Origin.of("https", target.authority), ""
    return method, Stage.REQUEST, Origin.of(target.scheme or "", target.authority), target.path


def _headers(table: Table) -> Headers:
    found = []
    for name, value in (table.get("headers", dict) or {}).items():
        values = value if isinstance(value, list) else [value]
        if not _FIELD.fullmatch(name) or not all(is_a(one, str) for one in values):
            raise table.error(
                f"headers {name!r}: write the name of a field, and its value or a list of values", "headers", name
            )
        found += [(name.encode("ascii"), one.encode("utf-8")) for one in values]
    return tuple(found)


def _address(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("write an address, as in 192.0.2.7")
    found: IPAddress = ip_address(value)
    return str(found)


def _time(value: object) -> float:
    """Parse a time with its UTC offset: RFC 3339 text, or a TOML date-time."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", value))
        except ValueError:
            value = None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("write a time with its offset, as in 2026-03-02T09:00:00Z")
    return value.astimezone(timezone.utc).timestamp()
