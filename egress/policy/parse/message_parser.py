"""The parser of C{[rules.messages]}: the message rules of a rule."""

from __future__ import annotations

import enum
import re
from functools import partial
from typing import Final, TypeVar

from egress.model.decision import Verdict
from egress.model.message import DEFAULT_MAX_SIZE, Direction, MessageKind, MessageObligation
from egress.policy.match.json_body import Expression, Wanted
from egress.policy.match.patterns import compile_pattern
from egress.policy.message_rules import DEFAULT_NAME, MessageRule, MessageRules
from egress.policy.parse.condition_parser import read_json
from egress.policy.parse.grpc_parser import read_field
from egress.policy.parse.toml_reader import Document, Table, nearest
from egress.policy.parse.units import size
from egress.policy.reason_template import Reason

_E = TypeVar("_E", bound=enum.Enum)

KEY: Final = "messages"
_KEYS: Final = frozenset({"directions", "max_size", "default", "rules"})
_RULE_KEYS: Final = frozenset(
    {"name", "action", "reason", "directions", "kinds", "types", "text", "json", "fields", "max_size", "min_size"}
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def read_messages(table: Table, label: str, verdict: Verdict) -> tuple[MessageRules, MessageObligation] | None:
    """Parse C{[rules.messages]}.

    @param table: the table of the rule.
    @param label: the name of the rule in errors.
    @param verdict: the verdict of the rule.
    @return: the message rules, and the obligation to authorize messages; C{None} if the rule has none.
    @raise egress.policy.parse.toml_reader.PolicyError: if the table is not valid.
    """
    entry = table.table.get(KEY)
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise table.error(f"{KEY!r} must be a table; write [rules.messages] before it", KEY)
    if verdict is Verdict.DENY:
        raise table.error(f"{KEY!r} has no effect on a request that is denied; remove it", KEY)
    path = (*table.path, KEY)
    messages = Table(table.document, path, f"{label}: messages", entry, _KEYS)
    most = messages.read("max_size", _positive)
    obligation = MessageObligation(
        frozenset(messages.entries("directions", str, partial(_member, Direction))) or frozenset(Direction),
        DEFAULT_MAX_SIZE if most is None else most,
    )
    listed = entry.get("rules", [])
    if not isinstance(listed, list) or ("rules" in entry and not listed):
        raise messages.error("'rules' must be a list of tables; write [[rules.messages.rules]] before each", "rules")
    rules = [_rule(table.document, (*path, "rules", index), label, index, one) for index, one in enumerate(listed)]
    names: set[str] = set()
    for index, rule in enumerate(rules):
        if rule.name in names:
            raise messages.error(f"two message rules have the name {rule.name!r}; use different names", "rules", index)
        names.add(rule.name)
    default = messages.verdict("default", Verdict.ALLOW, Verdict.DENY)
    if not rules and default is None:
        raise messages.error("add [[rules.messages.rules]], or set 'default': every message would be denied")
    return MessageRules(tuple(rules), default or Verdict.DENY), obligation


def _rule(document: Document, path: tuple[str | int, ...], label: str, index: int, entry: object) -> MessageRule:
    if not isinstance(entry, dict):
        raise document.error(path, f"{label}: message rule {index + 1}: must be a table")
    name = entry.get("name", f"rule-{index + 1}")
    is_name = isinstance(name, str) and _NAME.fullmatch(name) is not None and name != DEFAULT_NAME
    table = Table(document, path, f"{label}: message rule {name if is_name else index + 1}", entry, _RULE_KEYS)
    if not is_name:
        raise table.error(
            f"the name {name!r} cannot be used; use up to 64 letters, digits, '.', '_' and '-', and not 'default'",
            "name",
        )
    verdict = table.verdict("action", Verdict.ALLOW, Verdict.DENY)
    if verdict is None:
        raise table.error('\'action\' is missing; write "allow" or "deny"')
    broad = verdict is Verdict.DENY
    pattern = partial(compile_pattern, broad=broad)
    most, least = table.read("max_size", size), table.read("min_size", size)
    if most is not None and least is not None and least > most:
        raise table.error("'min_size' is greater than 'max_size', so nothing would match; exchange them", "min_size")
    return MessageRule(
        name,
        verdict,
        _reason(table, verdict, name),
        directions=frozenset(table.entries("directions", str, partial(_member, Direction))),
        kinds=frozenset(table.entries("kinds", str, partial(_member, MessageKind))),
        types=table.entries("types", str, pattern),
        texts=table.entries("text", str, pattern),
        json=_json(table, broad=broad),
        fields=_fields(table, broad=broad),
        least=least or 0,
        most=most,
        where=document.place(path),
    )


def _reason(table: Table, verdict: Verdict, name: str) -> Reason:
    text = table.line("reason")
    if text is not None:
        return table.reading(Reason.parse, text, "'reason'", "reason")
    if verdict is Verdict.DENY:
        raise table.error("'reason' is missing; add the reason for the user whose message is denied")
    return Reason((f"allowed by the message rule {name}",))


def _json(table: Table, *, broad: bool) -> tuple[tuple[Expression, Wanted], ...]:
    entries = table.get("json", dict)
    if entries is None:
        return ()
    if not entries:
        raise table.error("'json' is empty and would have no effect; remove it", "json")
    return tuple(read_json(table, text, value, broad=broad) for text, value in entries.items())


def _fields(table: Table, *, broad: bool) -> tuple[tuple[Expression, Wanted], ...]:
    entries = table.get("fields", dict)
    if entries is None:
        return ()
    if not entries:
        raise table.error("'fields' is empty and would have no effect; remove it", "fields")
    return tuple(read_field(table, ("fields",), text, value, broad=broad) for text, value in entries.items())


def _positive(value: object) -> int:
    found = size(value)
    if found < 1:
        raise ValueError("must be at least one byte")
    return found


def _member(kinds: type[_E], text: str) -> _E:
    try:
        return kinds(text)
    except ValueError:
        raise ValueError(f"is not known; {nearest(text, [each.value for each in kinds])}") from None
