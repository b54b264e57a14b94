"""The hosts of the records of a filter, with counts, sizes and durations: the queries and their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from egress.store.filter_language import Filter
from egress.store.filter_sql import SQLITE, Dialect, Query, Where, compile_conditions, compile_filter
from egress.store.rollups import BOUNDS, COLUMNS, EXCHANGES, SOURCE, SUMMED, ranges_of
from egress.store.schema import id_at

MAX_RECORDS: Final = 50_000
"""The maximum number of records that are read if a query cannot use rollups: the newest ones."""

MAX_OF_HOST: Final = 5_000
"""The maximum number of records that are read for the paths of a host: the newest ones."""

MAX_PATHS: Final = 1000
"""The maximum number of paths of a host."""

VERDICTS: Final = ("allow", "deny", "unavailable", "rejected", "failed")
"""The verdicts, each with a count."""

# The conditions for which rollups suffice.
_ROLLED: Final = frozenset({"host", "verdict"})
_P95: Final = " ".join(f"WHEN within_{bound} >= 0.95 * forwarded THEN {bound}" for bound in BOUNDS)

ORDERS: Final[Mapping[str, str]] = {
    "host": "host",
    "records": "records",
    **{verdict: f"verdict_{verdict}" for verdict in VERDICTS},
    "other": "verdict_unavailable + verdict_rejected + verdict_failed",
    "sent": "bytes_sent",
    "received": "bytes_received",
    # The bound of its range; hosts of the same range are in the order of their mean.
    "duration": f"CASE WHEN forwarded = 0 THEN -1 {_P95} ELSE duration_max END, duration_ms / (forwarded + 0.5)",
    "first": "first_seen",
    "last": "last_ms",
}
"""The names of the orders of a list, and their columns."""


@attrs.frozen
class Durations:
    """The distribution of durations.

    @ivar count: the number of durations.
    @ivar total: their sum, in milliseconds.
    @ivar longest: the longest one, in milliseconds.
    @ivar within: for each of L{BOUNDS}, the number of durations up to it.
    """

    count: int
    total: float
    longest: float
    within: tuple[int, ...]

    def quantile(self, share: float) -> float | None:
        """Estimate a quantile, in milliseconds, by interpolation in its range; C{None} without durations."""
        if self.count == 0:
            return None
        wanted = share * self.count
        low, before = 0.0, 0
        for bound, number in zip(BOUNDS, self.within, strict=True):
            if number >= wanted and number > before:
                high = min(float(bound), self.longest)
                return min(high, low + (high - low) * (wanted - before) / (number - before))
            low, before = float(bound), number
        # Above the last bound, only the longest one is known.
        return self.longest


@attrs.frozen(kw_only=True)
class Destination:
    """A group of records, such as all records of a host.

    @ivar host: the host.
    @ivar method: the method, in a list of paths; otherwise empty.
    @ivar path: the path, in a list of paths; otherwise empty.
    @ivar records: the number of records.
    @ivar verdicts: the number of records with each verdict.
    @ivar bytes_sent: content bytes to the origin.
    @ivar bytes_received: content bytes to the client.
    @ivar durations: the durations of forwarded requests.
    @ivar first: the time of the first record of the list, in seconds since the epoch.
    @ivar last: the time of the last one.
    @ivar first_seen: the time of the first record of the host in the whole store.
    """

    host: str
    method: str = ""
    path: str = ""
    records: int
    verdicts: Mapping[str, int]
    bytes_sent: int
    bytes_received: int
    durations: Durations
    first: float
    last: float
    first_seen: float


@attrs.frozen(kw_only=True)
class Destinations:
    """A part of the list of hosts.

    @ivar rows: the hosts.
    @ivar hosts: the number of hosts in the whole list.
    @ivar records: the number of records of the whole list.
    @ivar limited: whether only the newest L{MAX_RECORDS} records were read.
    """

    rows: tuple[Destination, ...]
    hosts: int
    records: int
    limited: bool = False


@attrs.frozen(kw_only=True)
class Paths:
    """The paths of a host.

    @ivar rows: the paths, the most frequent one first.
    @ivar records: the number of records that were read.
    @ivar limited: whether there are more records, which were not read.
    """

    rows: tuple[Destination, ...]
    records: int
    limited: bool = False


@attrs.frozen(kw_only=True)
class Page:
    """A part of a list, and its order.

    @ivar order: one of L{ORDERS}.
    @ivar descending: whether the largest value is first.
    @ivar limit: the maximum number of rows.
    @ivar offset: the number of rows before the first one.
    @ivar new_since: if it is set, only hosts whose first record is from this time or later.
    """

    order: str = "records"
    descending: bool = True
    limit: int = 100
    offset: int = 0
    new_since: float | None = None


@attrs.frozen
class Statement:
    """A query, and its result.

    @ivar text: the query.
    @ivar parameters: the values of its placeholders.
    @ivar limited: whether it reads a limited number of records.
    """

    text: str
    parameters: tuple[Any, ...]
    limited: bool = False


_COUNTS: Final = ", ".join(
    f"sum(CASE WHEN verdict = '{verdict}' THEN records ELSE 0 END) AS verdict_{verdict}" for verdict in VERDICTS
)
_ADDED: Final = (
    *("bytes_sent", "bytes_received", "forwarded", "duration_ms"),
    *(f"within_{bound}" for bound in BOUNDS),
)
_GROUP: Final = ", ".join(
    (
        f"sum(records) AS records, {_COUNTS}",
        *(f"sum({name}) AS {name}" for name in _ADDED),
        "min(first_ms) AS first_ms, max(last_ms) AS last_ms, max(duration_max) AS duration_max",
    )
)
# The columns of L{_destination}.
_RESULT: Final = (
    "records",
    *(f"verdict_{verdict}" for verdict in VERDICTS),
    *_ADDED,
    "first_ms",
    "last_ms",
    "duration_max",
)


def destinations_statement(given: Filter, page: Page, now: float, dialect: Dialect = SQLITE) -> Statement:
    """Make the query for a list of hosts.

    @param given: the filter.
    @param page: the part of the list.
    @param now: the current time, in seconds since the epoch.
    """
    rolled = not given.texts and all(condition.field in _ROLLED for condition in given.conditions)
    source = _rolled(given, now, dialect) if rolled else _read(given, dialect)
    seen = "CASE WHEN hosts.first_ms < grouped.first_ms THEN hosts.first_ms ELSE grouped.first_ms END"
    new = "" if page.new_since is None else "WHERE first_seen >= ?"
    direction = "DESC" if page.descending else "ASC"
    order = ", ".join(f"{column} {direction}" for column in ORDERS[page.order].split(", "))
    text = (
        f"SELECT host, first_seen, {', '.join(_RESULT)}, count(*) OVER (), sum(records) OVER () FROM ("
        f"SELECT grouped.*, {seen} AS first_seen FROM ("
        f"SELECT host, {_GROUP} FROM ({source.text}) AS exchanges GROUP BY host"
        f") AS grouped LEFT JOIN hosts ON hosts.host = grouped.host"
        f") AS listed {new} ORDER BY {order}, host LIMIT ? OFFSET ?"
    )
    values = () if page.new_since is None else (round(page.new_since * 1000),)
    return Statement(text, (*source.parameters, *values, page.limit, page.offset), limited=not rolled)


def _rolled(given: Filter, now: float, dialect: Dialect) -> Where:
    """Return the query for the sums of rollups, and of the records that are not in them yet."""
    where = compile_conditions(given.conditions, dialect)
    columns = ", ".join(f"exchanges.{name} AS {name}" for name in COLUMNS)
    parts: list[str] = []
    parameters: list[Any] = []
    ranges = ranges_of(given.since, given.until, now)
    for period, low, high in ranges:
        parts.append(
            f"SELECT {columns} FROM rollups AS exchanges WHERE exchanges.period = {period} "
            f"AND exchanges.start >= ? AND exchanges.start < ? AND {where.text}"
        )
        parameters += (low, high, *where.parameters)
    # No range: the end is before the beginning.
    low, high = (ranges[0][1], ranges[-1][2]) if ranges else (0, 0)
    # The limit prevents SQLite from using the index of a condition.
    parts.append(
        f"SELECT {SUMMED} FROM (SELECT {SOURCE} FROM exchanges WHERE exchanges.seq > (SELECT seq FROM rolled_up) "
        f"AND {EXCHANGES} "
        f"ORDER BY exchanges.seq LIMIT {MAX_RECORDS}) AS exchanges "
        f"WHERE exchanges.time_ms >= ? AND exchanges.time_ms < ? AND {where.text} GROUP BY host, verdict"
    )
    parameters += (low * 1000, min(high * 1000, (1 << 63) - 1), *where.parameters)
    return Where(" UNION ALL ".join(parts), tuple(parameters))


def _read(given: Filter, dialect: Dialect) -> Where:
    """Return the query for the sums of the newest records of a filter."""
    # One lower bound of the ids: a database uses only one of several, and tests the records between them.
    query = compile_filter(attrs.evolve(given, since=None), dialect)
    times = compile_filter(Filter(since=given.since, until=given.until), dialect)
    first = 0 if given.since is None else id_at(given.since)
    text = (
        f"SELECT {SUMMED} FROM (SELECT {SOURCE} FROM {query.table} WHERE {query.where.text} AND {EXCHANGES} "
        f"AND {query.id} >= "
        f"coalesce((SELECT exchanges.id FROM exchanges WHERE {times.where.text} ORDER BY exchanges.id DESC "
        f"LIMIT 1 OFFSET {MAX_RECORDS}), ?)) AS source GROUP BY host, verdict"
    )
    return Where(text, (*query.where.parameters, *times.where.parameters, first))


def destinations_of(rows: Iterable[Sequence[Any]], statement: Statement) -> Destinations:
    """Return the result of a query of L{destinations_statement}."""
    found = [*rows]
    hosts, records = (int(found[0][-2]), int(found[0][-1])) if found else (0, 0)
    return Destinations(
        rows=tuple(_destination(row[2:-2], host=row[0], first_seen=row[1] / 1000) for row in found),
        hosts=hosts,
        records=records,
        limited=statement.limited and records >= MAX_RECORDS,
    )


def paths_statement(query: Query) -> Statement:
    """Make the query for the paths of a host.

    @param query: the query for the records of the host.
    """
    source = (
        f"SELECT {SOURCE}, exchanges.method AS method, exchanges.path AS path FROM {query.table} "
        f"WHERE {query.where.text} ORDER BY {query.id} DESC LIMIT {MAX_OF_HOST}"
    )
    summed = f"SELECT method, path, {SUMMED} FROM ({source}) AS source GROUP BY method, path, host, verdict"
    text = (
        f"SELECT method, path, {_GROUP}, sum(sum(records)) OVER () FROM ({summed}) AS exchanges "
        f"GROUP BY method, path ORDER BY records DESC, path, method LIMIT {MAX_PATHS}"
    )
    return Statement(text, query.where.parameters, limited=True)


def paths_of(rows: Iterable[Sequence[Any]], host: str) -> Paths:
    """Return the result of a query of L{paths_statement}."""
    found = [*rows]
    records = int(found[0][-1]) if found else 0
    paths = tuple(_destination(row[2:-1], host=host, method=row[0], path=row[1]) for row in found)
    return Paths(rows=paths, records=records, limited=records >= MAX_OF_HOST or len(paths) >= MAX_PATHS)


def _destination(
    row: Sequence[Any], *, host: str, method: str = "", path: str = "", first_seen: float | None = None
) -> Destination:
    values = dict(zip(_RESULT, row, strict=True))
    number: Callable[[str], int] = lambda name: int(values[name])  # noqa: E731 - PostgreSQL returns decimals
    first = number("first_ms") / 1000
    return Destination(
        host=host,
        method=method,
        path=path,
        records=number("records"),
        verdicts={verdict: number(f"verdict_{verdict}") for verdict in VERDICTS},
        bytes_sent=number("bytes_sent"),
        bytes_received=number("bytes_received"),
        durations=Durations(
            count=number("forwarded"),
            total=float(values["duration_ms"]),
            longest=float(values["duration_max"]),
            within=tuple(number(f"within_{bound}") for bound in BOUNDS),
        ),
        first=first,
        last=number("last_ms") / 1000,
        first_seen=first if first_seen is None else float(first_seen),
    )
