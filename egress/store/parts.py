"""The parts of the index of keywords in SQLite.

New records go to the last part, until it is full.  A part is dropped when all of its records are deleted: this costs
less than deleting their keywords.  Until then, a part can have keywords of deleted records.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final

import attrs

from egress.store.filter_language import Filter
from egress.store.filter_sql import SQLITE, Query, Where, compile_filter
from egress.store.keywords import TABLE_OPTIONS, index_query
from egress.store.schema import MAX_ID, id_at
from egress.store.sql_store import SELECTED_COLUMNS

_PART_RECORDS: Final = 100_000

_CREATE: Final = (
    f"CREATE VIRTUAL TABLE keywords_{{0}} USING fts5 ({TABLE_OPTIONS})",
    # Merging many levels together writes each keyword fewer times.
    "INSERT INTO keywords_{0} (keywords_{0}, rank) VALUES ('automerge', 8)",
    "INSERT INTO parts VALUES ({0}, 9223372036854775807, 0, 0)",
)

Rows = Callable[[str, Sequence[Any]], list[Sequence[Any]]]
"""Returns all rows of a query with values."""


# -- writing, in a transaction


def part_for_records(connection: sqlite3.Connection) -> int:
    """Return the number of the part for new records, which this creates if the last one is full."""
    found = connection.execute("SELECT number, records FROM parts ORDER BY number DESC LIMIT 1").fetchone()
    if found is not None and found[1] < _PART_RECORDS:
        return int(found[0])
    number = 1 if found is None else int(found[0]) + 1
    for statement in _CREATE:
        connection.execute(statement.format(number))
    return number


def add_keywords(connection: sqlite3.Connection, part: int, keywords: Sequence[tuple[int, str]]) -> None:
    """Add the keywords of records to a part.

    @param keywords: the id of each record, in their order, and its keywords (L{egress.store.keywords.keywords_of}).
    """
    connection.executemany(f"INSERT INTO keywords_{part} (rowid, keywords) VALUES (?, ?)", keywords)
    connection.execute(
        "UPDATE parts SET first_id = min(first_id, ?), last_id = max(last_id, ?), records = records + ? "
        "WHERE number = ?",
        (keywords[0][0], keywords[-1][0], len(keywords), part),
    )


def drop_parts(connection: sqlite3.Connection, last: int) -> None:
    """Drop the parts whose records are all deleted.

    @param last: the id of the last deleted record.
    """
    # The last part gets no more records after it has keywords of deleted ones.
    connection.execute(
        "UPDATE parts SET records = ? WHERE first_id <= ? AND number = (SELECT max(number) FROM parts)",
        (_PART_RECORDS, last),
    )
    for (number,) in connection.execute("SELECT number FROM parts WHERE last_id <= ?", (last,)).fetchall():
        connection.execute(f"DROP TABLE keywords_{number}")
        connection.execute("DELETE FROM parts WHERE number = ?", (number,))


# -- reading, in a snapshot


def newest(rows: Rows, given: Filter, query: str, limit: int, *, oldest_first: bool) -> list[Sequence[Any]]:
    """Find records in one part after the other, until no further part has records before them.

    @param rows: runs queries.
    @param given: the filter.
    @param query: its query of the index (L{index_query}).
    @param limit: the maximum number of records.
    @param oldest_first: whether to find the oldest ones.
    @return: the columns L{SELECTED_COLUMNS} of each.
    """
    where, (low, high) = compile_filter(given, SQLITE).where, _ids(given)
    order, first = ("ASC", "first_id") if oldest_first else ("DESC", "last_id")
    found: list[Sequence[Any]] = []
    parts = f"SELECT number, {first} FROM parts WHERE last_id >= ? AND first_id <= ? ORDER BY {first} {order}"
    for number, end in rows(parts, (low, high)):
        if len(found) == limit and (found[-1][0] < end if oldest_first else found[-1][0] > end):
            break
        keywords = f"keywords_{number}"
        # A query with a limit ends when the index has returned as many records: "IN" would read all of them first.
        found += rows(
            f"SELECT exchanges.id, {SELECTED_COLUMNS} FROM {keywords} CROSS JOIN exchanges "
            f"ON exchanges.id = {keywords}.rowid WHERE {keywords} MATCH ? AND {keywords}.rowid BETWEEN ? AND ? "
            f"AND {where.text} ORDER BY {keywords}.rowid {order} LIMIT ?",
            (query, low, high, *where.parameters, limit),
        )
        found = sorted(found, key=itemgetter(0), reverse=not oldest_first)[:limit]
    return [row[1:] for row in found]


def with_index(rows: Rows, given: Filter) -> Query:
    """Compile a filter for a query of all records, which reads only the records that the index finds.

    @param rows: runs queries.
    """
    compiled, query = compile_filter(given, SQLITE), index_query(given)
    if query is None:
        return compiled
    low, high = _ids(given)
    numbers = [number for (number,) in rows("SELECT number FROM parts", ())]
    tables = (f"keywords_{each}" for each in numbers)
    parts = (f"SELECT rowid FROM {table} WHERE {table} MATCH ? AND rowid BETWEEN ? AND ?" for table in tables)
    ids = f"exchanges.id IN ({' UNION ALL '.join(parts) or 'NULL'})"
    values = [value for _ in numbers for value in (query, low, high)]
    where = Where(f"{ids} AND {compiled.where.text}", (*values, *compiled.where.parameters))
    return attrs.evolve(compiled, where=where)


def _ids(given: Filter) -> tuple[int, int]:
    """Return the lowest and the highest id of the records in the time of a filter."""
    low = 0 if given.since is None else id_at(given.since)
    return low, MAX_ID if given.until is None else id_at(given.until) - 1
