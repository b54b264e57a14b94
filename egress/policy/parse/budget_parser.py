"""The parser of C{[rules.rate]} and C{[rules.budget]}: the budgets of a rule."""

from __future__ import annotations

import enum
from functools import partial
from typing import Final, TypeVar

from egress.model.budget import Budget, By, Unit, WithoutShared
from egress.model.decision import Verdict
from egress.policy.parse.toml_reader import Table, nearest
from egress.policy.parse.units import duration, size

_E = TypeVar("_E", bound=enum.Enum)

RATE: Final = "rate"
BUDGET: Final = "budget"
KEYS: Final = (RATE, BUDGET)
_COMMON: Final = ("requests", "per", "by", "without_shared")
_KNOWN: Final = {RATE: frozenset({*_COMMON, "burst"}), BUDGET: frozenset({*_COMMON, "bytes"})}
_MAX_TABLES: Final = 4
_MAX_REQUESTS: Final = 1_000_000_000
_MAX_BYTES: Final = 1 << 50


def read_budgets(table: Table, label: str, rule_id: str, verdict: Verdict) -> tuple[Budget, ...]:
    """Parse the budgets of a rule.

    @param table: the table of the rule.
    @param label: the name of the rule in errors.
    @param rule_id: the rule.
    @param verdict: the verdict of the rule.
    @raise egress.policy.parse.toml_reader.PolicyError: if a table is not valid.
    """
    found: list[Budget] = []
    for key in KEYS:
        if key not in table.table:
            continue
        if verdict is Verdict.DENY:
            raise table.error(f"{key!r} applies only to allowed requests; remove it from a rule that denies", key)
        for each in _tables(table, label, key):
            found += _rate(each, rule_id) if key == RATE else _budget(each, rule_id)
    if len(set(found)) < len(found):
        raise table.error("a budget is given twice; remove one of them", found[-1].table)
    return tuple(found)


def _tables(table: Table, label: str, key: str) -> list[Table]:
    entry = table.table[key]
    if isinstance(entry, dict):
        return [Table(table.document, (*table.path, key), f"{label}: {key}", entry, _KNOWN[key])]
    if not isinstance(entry, list) or not entry or not all(isinstance(each, dict) for each in entry):
        raise table.error(f"{key!r} must be a table; write [rules.{key}] before it", key)
    if len(entry) > _MAX_TABLES:
        raise table.error(f"{key!r} has more than {_MAX_TABLES} tables; remove some", key)
    return [
        Table(table.document, (*table.path, key, index), f"{label}: {key} {index + 1}", each, _KNOWN[key])
        for index, each in enumerate(entry)
    ]


def _rate(table: Table, rule_id: str) -> list[Budget]:
    requests = table.read("requests", _requests)
    if requests is None:
        raise table.error("'requests' is missing; write the number of requests in the time 'per', as in 100")
    burst = table.read("burst", _requests)
    return [_made(table, rule_id, RATE, Unit.REQUESTS, requests, requests if burst is None else burst)]


def _budget(table: Table, rule_id: str) -> list[Budget]:
    requests, size_of = table.read("requests", _requests), table.read("bytes", _bytes)
    if requests is None and size_of is None:
        raise table.error("write 'requests', 'bytes', or both, as in bytes = \"10GiB\"")
    amounts = ((Unit.REQUESTS, requests), (Unit.BYTES, size_of))
    return [_made(table, rule_id, BUDGET, unit, each, each) for unit, each in amounts if each is not None]


def _made(table: Table, rule_id: str, key: str, unit: Unit, *amounts: int) -> Budget:
    per = table.read("per", _period)
    if per is None:
        raise table.error('\'per\' is missing; write the time, as in "1m" or "1d"')
    amount, capacity = amounts
    return Budget(
        rule_id=rule_id,
        table=key,
        unit=unit,
        amount=amount,
        per=per,
        capacity=capacity,
        by=table.read("by", partial(_member, By)) or By.RULE,
        without_shared=table.read("without_shared", partial(_member, WithoutShared)) or WithoutShared.SHARE,
    )


def _requests(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_REQUESTS:
        raise ValueError(f"must be a whole number of requests, from 1 to {_MAX_REQUESTS}")
    return value


def _bytes(value: object) -> int:
    found = size(value)
    if not 1 <= found <= _MAX_BYTES:
        raise ValueError("must be at least one byte, and at most 1024TiB")
    return found


def _period(value: object) -> float:
    seconds = duration(value)
    if seconds < 1:
        raise ValueError("must be at least one second")
    return seconds


def _member(kinds: type[_E], value: object) -> _E:
    try:
        return kinds(value)
    except ValueError:
        names = [each.value for each in kinds]
        if isinstance(value, str):
            raise ValueError(f"is not known; {nearest(value, names)}") from None
        raise ValueError(f"must be one of {', '.join(names)}") from None
