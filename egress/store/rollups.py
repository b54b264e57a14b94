"""Rollups: sums of the records of each host, which are much faster to read than the records.

There is one row for each period, host and verdict.  Long periods are for long time ranges.  Rows of short periods, for
the ends of a time range, are deleted after two days.

Rollups are updated from time to time, so they lack the last records: C{rolled_up} contains the C{seq} of the last
record that they contain.  A query adds the records with a higher C{seq}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from egress.model.change import STAGE

HOUR: Final = 3600
SHORT: Final = 300
"""The periods, in seconds."""

# The maximum number of records that are added in one transaction.
_ROLL_UP_ROWS: Final = 5000

SHORT_SECONDS: Final = 2 * 86400
"""The age at which rows of short periods are deleted."""

BOUNDS: Final = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
"""The bounds of the durations that are counted, in milliseconds."""

_KEY: Final = ("host", "verdict")
_SUMS: Final = (
    "records",
    "bytes_sent",
    "bytes_received",
    "forwarded",
    "duration_ms",
    *(f"within_{bound}" for bound in BOUNDS),
)

COLUMNS: Final = (*_KEY, *_SUMS, "first_ms", "last_ms", "duration_max")
"""The columns with the host, the verdict, and what is known about the records."""

_KEY_TYPES: Final = "period INTEGER NOT NULL, start BIGINT NOT NULL, host TEXT NOT NULL, verdict TEXT NOT NULL"
_OTHER_TYPES: Final = (
    "duration_ms DOUBLE PRECISION NOT NULL, duration_max DOUBLE PRECISION NOT NULL, "
    "first_ms BIGINT NOT NULL, last_ms BIGINT NOT NULL"
)
_TYPES: Final = ", ".join(f"{name} BIGINT NOT NULL" for name in _SUMS if name != "duration_ms")

MIGRATION: Final = (
    f"CREATE TABLE rollups ({_KEY_TYPES}, {_TYPES}, {_OTHER_TYPES}, PRIMARY KEY (period, start, host, verdict))",
    # The first record of a host can be older than all rollups.
    "CREATE TABLE hosts (host TEXT PRIMARY KEY, first_ms BIGINT NOT NULL, last_ms BIGINT NOT NULL)",
    "CREATE TABLE rolled_up (seq BIGINT NOT NULL)",
    "INSERT INTO rolled_up VALUES (0)",
)
"""The statements that make the tables."""

# Only forwarded requests have a duration that says something about the host.
_MILLISECONDS: Final = (
    "CASE WHEN exchanges.outcome = 'forwarded' AND exchanges.stage = 'request' THEN exchanges.duration_ms END"
)

SOURCE: Final = (
    "exchanges.host AS host, exchanges.verdict AS verdict, exchanges.time_ms AS time_ms, "
    "exchanges.bytes_sent AS bytes_sent, exchanges.bytes_received AS bytes_received, "
    f"{_MILLISECONDS} AS milliseconds"
)
"""The columns of records that L{SUMMED} takes."""

EXCHANGES: Final = f"exchanges.stage <> '{STAGE}'"
"""The condition of records of exchanges: others are records of changes by administrators."""

SUMMED: Final = ", ".join(
    (
        "host AS host, verdict AS verdict, count(*) AS records",
        "sum(bytes_sent) AS bytes_sent, sum(bytes_received) AS bytes_received, count(milliseconds) AS forwarded",
        "coalesce(sum(milliseconds), 0.0) AS duration_ms",
        *(f"sum(CASE WHEN milliseconds <= {bound} THEN 1 ELSE 0 END) AS within_{bound}" for bound in BOUNDS),
        "min(time_ms) AS first_ms, max(time_ms) AS last_ms, coalesce(max(milliseconds), 0.0) AS duration_max",
    )
)
"""The columns L{COLUMNS} of a group of records."""


def _least(table: str, name: str) -> str:
    return f"CASE WHEN excluded.{name} < {table}.{name} THEN excluded.{name} ELSE {table}.{name} END"


def _greatest(table: str, name: str) -> str:
    return f"CASE WHEN excluded.{name} > {table}.{name} THEN excluded.{name} ELSE {table}.{name} END"


def _updated(table: str, sums: tuple[str, ...], greatest: tuple[str, ...]) -> str:
    changes = [f"{name} = {table}.{name} + excluded.{name}" for name in sums]
    changes.append(f"first_ms = {_least(table, 'first_ms')}")
    changes += [f"{name} = {_greatest(table, name)}" for name in greatest]
    return ", ".join(changes)


_START: Final = f"time_ms / {SHORT * 1000} * {SHORT}"
# The sums of records, for each short period, host and verdict.
_SUMS_STATEMENT: Final = (
    f"SELECT {_START}, {SUMMED} FROM (SELECT {SOURCE} FROM exchanges WHERE exchanges.seq > ? AND exchanges.seq <= ? "
    f"AND {EXCHANGES} "
    f"ORDER BY exchanges.seq LIMIT {_ROLL_UP_ROWS}) AS source GROUP BY {_START}, host, verdict"
)
_ADD_SUMS: Final = (
    f"INSERT INTO rollups (period, start, {', '.join(COLUMNS)}) VALUES ({', '.join('?' * (len(COLUMNS) + 2))}) "
    "ON CONFLICT (period, start, host, verdict) "
    f"DO UPDATE SET {_updated('rollups', _SUMS, ('last_ms', 'duration_max'))}"
)
_ADD_HOST: Final = (
    "INSERT INTO hosts (host, first_ms, last_ms) VALUES (?, ?, ?) "
    f"ON CONFLICT (host) DO UPDATE SET {_updated('hosts', (), ('last_ms',))}"
)


class Transaction(Protocol):
    """A transaction that can write."""

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return all rows of a query."""

    def write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of some rows with its values."""


def roll_up(transaction: Transaction, now: float) -> bool:
    """Add the next records to the rollups.

    @param transaction: the transaction.
    @param now: the current time, in seconds since the epoch.
    @return: whether there are more records to add.
    """
    done = int(transaction.rows("SELECT seq FROM rolled_up")[0][0])
    last = int(transaction.rows("SELECT seq FROM last_seq")[0][0])
    until = min(last, done + _ROLL_UP_ROWS)
    if until > done:
        found = transaction.rows(_SUMS_STATEMENT, (done, until))
        transaction.write(_ADD_SUMS, _rollup_rows(found))
        transaction.write(_ADD_HOST, _host_rows(found))
        transaction.write("UPDATE rolled_up SET seq = ?", [(until,)])
        old = int(now) - SHORT_SECONDS - SHORT
        transaction.write(f"DELETE FROM rollups WHERE period = {SHORT} AND start < ?", [(old,)])
    return until < last


def prune_rollups(transaction: Transaction, oldest_ms: int) -> None:
    """Delete the rollups of records that were deleted.

    @param transaction: the transaction.
    @param oldest_ms: the time of the oldest record, in milliseconds.
    """
    # The hour of the oldest record remains.
    hour = oldest_ms // 1000 // HOUR * HOUR
    transaction.write(f"DELETE FROM rollups WHERE period = {HOUR} AND start < ?", [(hour,)])
    transaction.write("DELETE FROM hosts WHERE last_ms < ?", [(oldest_ms,)])


def _rollup_rows(found: Iterable[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    """Return the rows of rollups for the result of the query."""
    for start, *values in found:
        yield (SHORT, start, *values)
        yield (HOUR, start // HOUR * HOUR, *values)


def _host_rows(found: Iterable[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    """Return the rows of hosts for the result of the query."""
    host, first, last = (1 + COLUMNS.index(name) for name in ("host", "first_ms", "last_ms"))
    for row in found:
        yield row[host], row[first], row[last]


def ranges_of(since: float | None, until: float | None, now: float) -> list[tuple[int, int, int]]:
    """Divide a time range into periods: hours, and short periods at its ends.

    @param since: the beginning, in seconds since the epoch; it is rounded down to a period.
    @param until: the end; it is rounded up to a period.
    @param now: the current time: rows of short periods from long before it do not exist.
    @return: for each part, the period, the beginning and the end.
    """
    oldest_short = int(now) - SHORT_SECONDS + HOUR
    end = _up(until, SHORT if until >= oldest_short else HOUR) if until is not None else 1 << 62
    begin = 0 if since is None else _down(since, SHORT if since >= oldest_short else HOUR)
    first_hour = _up(begin, HOUR)
    last_hour = max(first_hour, _down(end, HOUR)) if until is not None else end
    parts = [
        (SHORT, begin, min(first_hour, end)),
        (HOUR, first_hour, min(last_hour, end)),
        (SHORT, last_hour, end),
    ]
    return [(period, low, high) for period, low, high in parts if low < high]


def _down(seconds: float, period: int) -> int:
    return int(seconds // period) * period


def _up(seconds: float, period: int) -> int:
    return -_down(-seconds, period)
