"""Rules in words: what a rule of a policy file restricts and requires, for people who read it on a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from egress.model.toml import parse_toml
from egress.policy.rule import Rule
from egress.policy.rules import RuleSet

_SHOWN: Final = 12
_LONGEST: Final = 200

_LISTS: Final = {
    "hosts": "to host",
    "ports": "on port",
    "schemes": "over",
    "methods": "with method",
    "paths": "with path",
    "clients": "from client",
    "times": "at",
    "addresses": "to address",
}
_TABLES: Final = {
    "query": "with query parameter",
    "headers": "with field",
    "json": "with JSON content where",
    "form": "with form field",
    "files": "with file in field",
    "file_types": "with file type in field",
}
_GRPC: Final = {"service": "with gRPC service", "method": "with gRPC method"}
_SIZES: Final = {"max_body": "with content of at most", "min_body": "with content of at least"}
_OBLIGATIONS: Final = {
    "set_headers": "sets field",
    "remove_headers": "removes field",
    "max_bytes": "transfers at most",
    "expires_in": "is authorized again after",
}

_MESSAGE_ACTIONS: Final = {"allow": "allows messages", "deny": "denies messages"}
_MESSAGE_DEFAULTS: Final = {"allow": "allows them", "deny": "denies them"}


@attrs.frozen
class Clause:
    """One condition or obligation of a rule.

    @ivar label: the words before the values.
    @ivar values: the values, one of which applies.
    @ivar more: the number of values that are not among them.
    """

    label: str
    values: tuple[str, ...]
    more: int = 0


@attrs.frozen
class RuleText:
    """A rule of a policy as its file states it.

    @ivar rule: the rule.
    @ivar where: the document of the rule.
    @ivar line: its line.
    @ivar reason: the reason in the file; empty if there is none.
    @ivar conditions: its conditions; empty: it matches every request.
    @ivar obligations: its obligations.
    """

    rule: Rule
    where: str
    line: int
    reason: str
    conditions: tuple[Clause, ...]
    obligations: tuple[Clause, ...]


def rules_in_words(rules: RuleSet) -> list[RuleText]:
    """Return the rules of a policy, in order."""
    # Included documents come first, and the texts begin with the main one.
    entries = [entry for text in reversed(rules.texts) for entry in parse_toml(text.text).get("rules", [])]
    return [_in_words(rule, entry) for rule, entry in zip(rules.rules, entries, strict=True)]


def _in_words(rule: Rule, entry: Mapping[str, Any]) -> RuleText:
    where, _, line = rule.where.rpartition(":")
    return RuleText(
        rule,
        where,
        int(line),
        str(entry.get("reason", "")),
        tuple(_conditions(entry)),
        tuple(_obligations(rule, entry)),
    )


def _conditions(entry: Mapping[str, Any]) -> Iterator[Clause]:
    for key, label in _LISTS.items():
        if key in entry:
            yield _clause(label, map(str, entry[key]))
    for key, label in _TABLES.items():
        for name, wanted in entry.get(key, {}).items():
            yield _member(key, label, name, wanted)
    for key, label in _GRPC.items():
        wanted = entry.get("grpc", {}).get(key)
        if wanted is not None:
            yield _clause(label, wanted if isinstance(wanted, list) else [wanted])
    for name, wanted in entry.get("grpc", {}).get("fields", {}).items():
        yield _member("json", "with gRPC message where", name, wanted)
    for key, label in _SIZES.items():
        if key in entry:
            yield _clause(label, [_size(entry[key])])


def _member(key: str, label: str, name: str, wanted: object) -> Clause:
    values = wanted if isinstance(wanted, list) else [wanted]
    if key != "json" and isinstance(wanted, bool):
        return _clause(label if wanted else label.replace("with", "without", 1), [name])
    return _clause(f"{label} {_cut(name)} is", map(_json, values) if key == "json" else map(str, values))


def _obligations(rule: Rule, entry: Mapping[str, Any]) -> Iterator[Clause]:
    for key, label in _OBLIGATIONS.items():
        if key in entry:
            value = entry[key]
            if isinstance(value, (dict, list)):
                # The values of header fields can be secret.
                yield _clause(label, map(str, value))
            else:
                yield _clause(
                    label, [f"{value} s" if key == "expires_in" and not isinstance(value, str) else _size(value)]
                )
    if rule.obligations.budgets:
        yield _clause("permits", map(str, rule.obligations.budgets))
    if "messages" in entry:
        yield from _messages(entry)


def _messages(entry: Mapping[str, Any]) -> Iterator[Clause]:
    """Yield the message rules, in order, and the default."""
    messages = entry["messages"]
    yield _clause("authorizes messages of", map(str, messages.get("directions", ("client", "origin"))))
    if "max_size" in messages:
        yield _clause("limits messages to", [_size(messages["max_size"])])
    for index, rule in enumerate(messages.get("rules", ()), 1):
        name = rule.get("name", f"rule-{index}")
        action = _MESSAGE_ACTIONS.get(rule["action"], "decides on messages")
        yield _clause(f"{action} by message rule", [name])
    yield _clause("for other messages,", [_MESSAGE_DEFAULTS.get(messages.get("default", "deny"), "decides")])


def _size(value: object) -> str:
    return value if isinstance(value, str) else f"{value:,} bytes"


def _json(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _clause(label: str, values: Iterable[str]) -> Clause:
    found = [_cut(value) for value in values]
    return Clause(label, tuple(found[:_SHOWN]), max(0, len(found) - _SHOWN))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
