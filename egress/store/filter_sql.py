"""The compiler from filters to SQL: conditions with parameters, which contain every value of the user."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from egress.store.filter_language import Between, Condition, Equals, Filter, Network, Prefix, Subdomain, Test
from egress.store.keywords import clean, phrase
from egress.store.schema import id_at

# Columns of the table exchanges; the table of texts has some of these names, too.
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
    "policy": ("policy_version",),
    "client": ("client_address", "identity"),
    # Only PostgreSQL has these columns.
    "node": ("node",),
    "worker": ("worker",),
    "id": ("request_id",),
    "grpc_status": ("grpc_status",),
    "http": ("client_http", "origin_http"),
    "client_http": ("client_http",),
    "origin_http": ("origin_http",),
}
# A record that is no gRPC call has no value here, as in any column that is NULL.
_CALL: Final = "(exchanges.grpc_service || '/' || exchanges.grpc_method)"


@attrs.frozen
class Dialect:
    """The parts of a condition that depend on the database.  The placeholder of a value is always C{?}.

    @ivar matches: the operator that matches a value with a regular expression.
    @ivar pattern: makes an expression match a whole value.
    @ivar phrase: makes a query of the index from a text, whose last word can be incomplete.
    @ivar both: the operator between two queries of the index.
    @ivar contains: the condition that a text is contained, in a query of C{text_table}.
    @ivar lacks: the condition that a text is not contained, in every query.
    @ivar text_table: the tables of a query for a text, in the order in which they are read.
    @ivar text_id: the column with the id of a record in a query for a text.
    @ivar network: the condition that the address in a column is in a network; C{{0}} is the place of the column.
    """

    matches: str
    pattern: Callable[[str], str]
    phrase: Callable[[str], str]
    both: str
    contains: str
    lacks: str
    text_table: str
    text_id: str
    network: str = "in_network({0}, ?)"


_HAS_PHRASES: Final = "has_phrases(?, exchanges.reason, exchanges.url, exchanges.rule_id)"

SQLITE: Final = Dialect(
    # An operator of SQLite that calls the function regexp, which the connection defines as the other functions.
    matches="REGEXP",
    pattern=str,
    phrase=phrase,
    both="\n",
    contains=_HAS_PHRASES,
    lacks=f"NOT {_HAS_PHRASES}",
    text_table="exchanges",
    text_id="exchanges.id",
)


@attrs.frozen
class Where:
    """A condition in SQL.

    @ivar text: the condition.
    @ivar parameters: the values of its placeholders.
    """

    text: str
    parameters: tuple[Any, ...]


@attrs.frozen
class Query:
    """The parts of a query for the records of a filter.

    @ivar table: the tables.
    @ivar where: the condition.
    @ivar id: the column by which to order the records.
    """

    table: str
    where: Where
    id: str


def compile_filter(given: Filter, dialect: Dialect = SQLITE) -> Query:
    """Compile a filter for a query."""
    wanted = [text.text for text in given.texts if not text.negated]
    table, column = (dialect.text_table, dialect.text_id) if wanted else ("exchanges", "exchanges.id")
    parts: list[Where] = []
    if wanted:
        parts.append(Where(dialect.contains, (dialect.both.join(map(dialect.phrase, wanted)),)))
    if given.since is not None:
        parts.append(Where(f"{column} >= ?", (id_at(given.since),)))
    if given.until is not None:
        parts.append(Where(f"{column} < ?", (id_at(given.until),)))
    parts += [_condition(each, dialect) for each in given.conditions]
    parts += [Where(dialect.lacks, (dialect.phrase(text.text),)) for text in given.texts if text.negated]
    return Query(table, _joined(" AND ", parts) if parts else Where("1 = 1", ()), column)


def compile_conditions(conditions: Iterable[Condition], dialect: Dialect = SQLITE) -> Where:
    """Compile conditions for a query that calls its table C{exchanges}."""
    parts = [_condition(each, dialect) for each in conditions]
    return _joined(" AND ", parts) if parts else Where("1 = 1", ())


def _joined(operator: str, parts: Iterable[Where]) -> Where:
    parts = tuple(parts)
    text = operator.join(part.text for part in parts)
    return Where(text, tuple(value for part in parts for value in part.parameters))


def _condition(given: Condition, dialect: Dialect) -> Where:
    columns = [_CALL] if given.field == "grpc" else [f"exchanges.{name}" for name in _COLUMNS[given.field]]
    parts = []
    equal = tuple(clean(test.value) for test in given.tests if isinstance(test, Equals))
    for column in columns:
        if equal:
            places = ", ".join("?" for _ in equal)
            parts.append(Where(f"{column} IN ({places})", equal))
        # A name is not an address.
        others = (Equals,) if column == columns[0] else (Equals, Network)
        parts += [_test(column, test, dialect) for test in given.tests if not isinstance(test, others)]
    any_of = _joined(" OR ", parts)
    # A value that does not exist meets no test.
    return Where(f"({any_of.text}) IS NOT TRUE" if given.negated else f"({any_of.text})", any_of.parameters)


def _test(column: str, test: Test, dialect: Dialect) -> Where:
    if isinstance(test, Network):
        return Where(dialect.network.format(column), (str(test.network),))
    if isinstance(test, Between):
        return Where(f"{column} BETWEEN ? AND ?", (test.low, test.high))
    if isinstance(test, Subdomain):
        suffix = "." + clean(test.domain)
        return Where(f"substr({column}, length({column}) - {len(suffix) - 1}) = ?", (suffix,))
    if isinstance(test, Prefix):
        prefix = clean(test.value)
        return Where(f"substr({column}, 1, {len(prefix)}) = ?", (prefix,))
    assert not isinstance(test, Equals)
    return Where(f"{column} {dialect.matches} ?", (dialect.pattern(clean(test.pattern)),))
