"""The compiler from filters to SQL: conditions with parameters, which contain every value of the user."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs

from egress.store.filter_language import Between, Condition, Equals, Filter, Prefix, Subdomain, Test
from egress.store.schema import id_at

_COLUMNS: Final = {
    "host": ("host",),
    "path": ("path",),
    "method": ("method",),
    "status": ("status",),
    "verdict": ("verdict",),
    "observed": ("observed",),
    "stage": ("stage",),
    "outcome": ("outcome",),
    "rule": ("rule_id",),
    "client": ("client_address", "identity"),
    "id": ("request_id",),
}


@attrs.frozen
class Dialect:
    """The parts of a condition that depend on the database.

    @ivar parameter: the placeholder of a parameter.
    @ivar matches: the operator that matches a whole value with a regular expression.
    @ivar contains: the condition that a text is contained.
    """

    parameter: str
    matches: str
    contains: str


SQLITE: Final = Dialect(
    parameter="?",
    # An operator of SQLite that calls the function regexp, which the connection defines.
    matches="REGEXP",
    contains="id IN (SELECT rowid FROM exchanges_text WHERE exchanges_text MATCH ?)",
)


@attrs.frozen
class Where:
    """A condition in SQL.

    @ivar text: the condition.
    @ivar parameters: the values of its placeholders.
    """

    text: str
    parameters: tuple[Any, ...]


def compile_filter(given: Filter, dialect: Dialect = SQLITE) -> Where:
    """Compile a filter for the condition of a query."""
    parts: list[Where] = []
    if given.since is not None:
        parts.append(Where(f"id >= {dialect.parameter}", (id_at(given.since),)))
    if given.until is not None:
        parts.append(Where(f"id < {dialect.parameter}", (id_at(given.until),)))
    parts += [_condition(each, dialect) for each in given.conditions]
    wanted = [text.text for text in given.texts if not text.negated]
    if wanted:
        parts.append(Where(dialect.contains, (" AND ".join(map(_phrase, wanted)),)))
    parts += [Where(f"NOT {dialect.contains}", (_phrase(text.text),)) for text in given.texts if text.negated]
    return _joined(" AND ", parts) if parts else Where("1 = 1", ())


def _phrase(text: str) -> str:
    """Quote a text for FTS5; the last word can be incomplete."""
    return '"' + text.replace("\0", " ").replace('"', '""') + '" *'


def _joined(operator: str, parts: Iterable[Where]) -> Where:
    parts = tuple(parts)
    text = operator.join(part.text for part in parts)
    return Where(text, tuple(value for part in parts for value in part.parameters))


def _condition(given: Condition, dialect: Dialect) -> Where:
    columns = _COLUMNS[given.field]
    parts = []
    equal = tuple(_clean(test.value) for test in given.tests if isinstance(test, Equals))
    for column in columns:
        if equal:
            places = ", ".join(dialect.parameter for _ in equal)
            parts.append(Where(f"{column} IN ({places})", equal))
        parts += [_test(column, test, dialect) for test in given.tests if not isinstance(test, Equals)]
    any_of = _joined(" OR ", parts)
    # A value that does not exist meets no test.
    return Where(f"({any_of.text}) IS NOT TRUE" if given.negated else f"({any_of.text})", any_of.parameters)


def _test(column: str, test: Test, dialect: Dialect) -> Where:
    mark = dialect.parameter
    if isinstance(test, Between):
        return Where(f"{column} BETWEEN {mark} AND {mark}", (test.low, test.high))
    if isinstance(test, Subdomain):
        suffix = "." + _clean(test.domain)
        return Where(f"substr({column}, length({column}) - {len(suffix) - 1}) = {mark}", (suffix,))
    if isinstance(test, Prefix):
        prefix = _clean(test.value)
        return Where(f"substr({column}, 1, {len(prefix)}) = {mark}", (prefix,))
    assert not isinstance(test, Equals)
    return Where(f"{column} {dialect.matches} {mark}", (_clean(test.pattern),))


def _clean(text: str) -> str:
    """Write a text as the store does: lone surrogates are not valid in it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
