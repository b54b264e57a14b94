"""The parser of rule conditions."""

from __future__ import annotations

import re
from datetime import tzinfo
from functools import partial
from ipaddress import ip_network
from typing import Any, Final

from egress.model.address_classes import CLASSES
from egress.policy.match.clients import ClientName, Network
from egress.policy.match.conditions import (
    Addresses,
    BodySize,
    Clients,
    Condition,
    FormFields,
    HeaderFields,
    JsonFields,
    Parameters,
    Patterns,
    Times,
)
from egress.policy.match.json_body import Expression, Wanted, compile_expression
from egress.policy.match.patterns import compile_pattern
from egress.policy.match.time_windows import Window
from egress.policy.parse.definitions import Definitions
from egress.policy.parse.grpc_parser import read_grpc, read_grpc_fields
from egress.policy.parse.toml_reader import Table, nearest
from egress.policy.parse.units import size

UNSEEN: Final = ("query", "headers", "grpc", "json", "form", "files", "file_types", "max_body", "min_body")
"""Conditions that cannot be evaluated for a tunnel."""

KEYS: Final = (*UNSEEN, "clients", "times", "addresses")

_ALL: Final = frozenset(KEYS)
_FIELD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_VALUES: Final = "write a pattern, a list of patterns, true (present) or false (absent)"


def read_conditions(
    table: Table, names: Definitions, zone: tzinfo, label: str, *, broad: bool
) -> tuple[Condition, ...]:
    """Parse all conditions except host, port, scheme, method and path; conditions on content come last.

    @param table: the table of the rule.
    @param names: the groups and the variables of the policy.
    @param zone: the time zone of time windows.
    @param label: the name of the table in errors.
    @param broad: whether an uncertain condition counts as a match.
    @raise egress.policy.parse.toml_reader.PolicyError: if a condition is not valid.
    """
    if _ALL.isdisjoint(table.table):
        return ()
    found: list[Condition] = []
    if "clients" in table.table:
        tests = names.clients(table, label)
        names_wanted = tuple((test.broad if broad else test.exact) for test in tests if isinstance(test, ClientName))
        found.append(Clients(names_wanted, tuple(test for test in tests if not isinstance(test, ClientName))))
    windows = table.entries("times", str, Window.parse)
    if windows:
        found.append(Times(windows, zone))
    kinds = table.entries("addresses", str, _kind)
    if kinds:
        classes = frozenset(kind for kind in kinds if isinstance(kind, str))
        found.append(Addresses(classes, tuple(kind for kind in kinds if not isinstance(kind, str))))
    queries = _members(table, "query")
    if queries:
        found.append(Parameters(tuple((name, _wanted(table, "query", name, broad)) for name in queries)))
    fields = _members(table, "headers")
    for name in fields:
        if not _FIELD.fullmatch(name):
            raise table.error(f"headers {name!r}: is not the name of a header field", "headers", name)
    if fields:
        found.append(HeaderFields(tuple((name.lower(), _wanted(table, "headers", name, broad)) for name in fields)))
    call = _members(table, "grpc")
    if call:
        found.append(read_grpc(table, call, broad=broad))
    found += _on_content(table, broad)
    on_message = read_grpc_fields(table, call, broad=broad)
    return (*found, on_message) if on_message is not None else tuple(found)


def _on_content(table: Table, broad: bool) -> list[Condition]:
    found: list[Condition] = []
    most, least = table.read("max_body", size), table.read("min_body", size)
    if most is not None and least is not None and least > most:
        raise table.error("'min_body' is greater than 'max_body', so nothing would match; exchange them", "min_body")
    if most is not None:
        found.append(BodySize("max_body", most=most))
    if least is not None:
        found.append(BodySize("min_body", least=least))
    for key in ("form", "files", "file_types"):
        fields = _members(table, key)
        if fields:
            found.append(FormFields(key, tuple((name, _wanted(table, key, name, broad)) for name in fields)))
    expressions = _members(table, "json")
    if expressions:
        found.append(
            JsonFields(tuple(read_json(table, text, value, broad=broad) for text, value in expressions.items()))
        )
    return found


def _members(table: Table, key: str) -> dict[str, Any]:
    found = table.get(key, dict)
    if found is not None and not found:
        raise table.error(f"{key!r} is empty and would have no effect; remove it", key)
    return found or {}


def _wanted(table: Table, key: str, name: str, broad: bool) -> Patterns | bool:
    value = table.table[key][name]
    if isinstance(value, bool):
        return value
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(one, str) for one in values):
        raise table.error(f"{key} {name!r}: {_VALUES}", key, name)
    compile_one = partial(compile_pattern, broad=broad)
    return tuple(table.reading(compile_one, one, f"{key} {name!r}, {one!r}", key, name) for one in values)


def read_json(table: Table, text: str, value: Any, *, broad: bool) -> tuple[Expression, Wanted]:
    """Parse one entry of C{json}: an expression, and the values that it may select."""
    expression = table.reading(compile_expression, text, f"json {text!r}", "json", text)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise table.error(f"json {text!r}: is empty and would match nothing", "json", text)
    wanted = table.reading(partial(Wanted.of, broad=broad), values, f"json {text!r}", "json", text)
    return expression, wanted


def _kind(text: str) -> str | Network:
    if text in CLASSES:
        return text
    try:
        return ip_network(text)
    except ValueError as error:
        if "/" in text:
            raise ValueError(f"{error}; write a range as in 10.0.0.0/8") from None
        raise ValueError(f"is neither a class of addresses nor a range; {nearest(text, CLASSES)}") from None
