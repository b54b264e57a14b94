"""The partitions of the table of records in PostgreSQL: one for each day, in UTC.

The id of a record begins with its time, so a partition has a range of ids.  The request id is unique in each partition:
a record that is sent again has the same time, so it is in the same partition.  A unique key of the whole table would
have to contain the id, which is not the same when a record is sent again.

Partitions are created and dropped only by a transaction that has the lock of the row of C{last_seq}, as each
transaction that writes records.  So several proxies take turns, and a record never meets a partition that is being
dropped.  A partition is attached without waiting for readers.  Dropping one waits for them, but only for a moment:
later, the maintenance tries again.

A role that only writes does not own the table, so functions of the owner create and drop partitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

import attrs

from egress.store.chain import Signer
from egress.store.chain_table import ChainStore, prune_chain
from egress.store.rollups import prune_rollups
from egress.store.schema import ID_BITS, MAX_ID, first_id, id_at

DAY_MS: Final = 86_400_000
_TIME: Final = b'{"time_ms":'
# The last day whose records have ids.
_LAST_DAY: Final = (MAX_ID >> ID_BITS) // DAY_MS - 1
# Each of them needs locks.
_MAX_DAYS: Final = 30
_PRUNE_ROWS: Final = 1000
_MAX_DROPS: Final = 10

INDEXES: Final = {
    "id": "(id)",
    "seq": "(seq)",
    "host": "(host, id)",
    "verdict": "(verdict, id)",
    "rule": "(rule_id, id) WHERE rule_id IS NOT NULL",
    "status": "(status, id)",
    "client": "(client_inet, id)",
    "identity": "(identity, id) WHERE identity IS NOT NULL",
    "words": "USING gin (words)",
}
"""The indexes of the table, of which each partition has its part."""

PARAMETERS: Final = (
    "autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05, "
    "autovacuum_analyze_scale_factor = 0.02"
)
"""Deleted rows are removed early, and entries of the index of texts are sorted in."""

_DEFINER: Final = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = egress, pg_temp AS $body$"
_FIRST_ID: Final = f"::bigint * {DAY_MS}) << {ID_BITS}"


def _sql(*parts: str) -> str:
    return " ".join(parts)


MIGRATION: Final = (
    # Each statement waits for transactions in progress, and then locks the table until the end of the migration.
    "ALTER TABLE exchanges RENAME TO exchanges_before",
    *(f"ALTER INDEX exchanges_{name} RENAME TO exchanges_before_{name}" for name in INDEXES),
    "CREATE TABLE exchanges (LIKE exchanges_before) PARTITION BY RANGE (id)",
    *(f"CREATE INDEX exchanges_{name} ON exchanges {definition}" for name, definition in INDEXES.items()),
    "CREATE TABLE partitions (partition_name name NOT NULL, first_id bigint PRIMARY KEY, end_id bigint NOT NULL, "
    "bytes bigint NOT NULL)",
    _sql(
        f"CREATE FUNCTION create_partition(day integer) RETURNS void {_DEFINER}",
        f"DECLARE low bigint := (day{_FIRST_ID}; high bigint := ((day + 1){_FIRST_ID};",
        "part name := 'exchanges_' || to_char(date '1970-01-01' + day, 'YYYYMMDD');",
        "BEGIN",
        "IF EXISTS (SELECT FROM partitions WHERE first_id <= low AND end_id > low) THEN RETURN; END IF;",
        "EXECUTE format('CREATE TABLE %I (LIKE exchanges INCLUDING STORAGE)",
        f"WITH ({PARAMETERS})', part);",
        "EXECUTE format('CREATE UNIQUE INDEX ON %I (request_id)', part);",
        "EXECUTE format('ALTER TABLE exchanges ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', part, low, high);",
        "INSERT INTO partitions (partition_name, first_id, end_id, bytes) VALUES (part, low, high, 0);",
        "END $body$",
    ),
    _sql(
        f"CREATE FUNCTION drop_partition(first bigint) RETURNS void {_DEFINER}",
        "DECLARE part name; size bigint;",
        "BEGIN",
        "DELETE FROM partitions WHERE first_id = first RETURNING partition_name, bytes INTO part, size;",
        # A role that writes could have changed the name.
        "IF EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'exchanges'::regclass",
        "AND inhrelid = to_regclass(quote_ident(part))) THEN",
        "EXECUTE format('DROP TABLE %I', part); END IF;",
        "UPDATE last_seq SET bytes = greatest(0, bytes - coalesce(size, 0));",
        "END $body$",
    ),
    "REVOKE ALL ON FUNCTION create_partition(integer), drop_partition(bigint) FROM PUBLIC",
    # The rights of the existing table, and the existing records as one partition that ends today.
    _sql(
        "DO $body$ DECLARE entry record; high bigint; part name;",
        "BEGIN",
        "FOR entry IN SELECT privilege_type,",
        "CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS role",
        "FROM aclexplode((SELECT relacl FROM pg_class WHERE oid = 'exchanges_before'::regclass)) LOOP",
        "EXECUTE format('GRANT %s ON exchanges, partitions TO %s', entry.privilege_type, entry.role);",
        "IF entry.privilege_type = 'DELETE' THEN",
        "EXECUTE format('GRANT EXECUTE ON FUNCTION create_partition(integer), drop_partition(bigint) TO %s',",
        "entry.role);",
        "END IF; END LOOP;",
        "IF NOT EXISTS (SELECT FROM exchanges_before) THEN DROP TABLE exchanges_before; RETURN; END IF;",
        "SELECT greatest(",
        f"(extract(epoch FROM now()) * 1000)::bigint, (SELECT max(id) FROM exchanges_before) >> {ID_BITS}",
        f") / {DAY_MS} + 1 INTO high;",
        "part := 'exchanges_before_' || to_char(date '1970-01-01' + high::integer, 'YYYYMMDD');",
        "EXECUTE format('ALTER TABLE exchanges_before RENAME TO %I', part);",
        "EXECUTE format('ALTER TABLE exchanges ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%s)', part,",
        f"(high{_FIRST_ID});",
        f"INSERT INTO partitions SELECT part, 0, (high{_FIRST_ID}, bytes FROM last_seq;",
        "END $body$",
    ),
)
"""The statements that divide the table.

The existing table becomes the first partition.  PostgreSQL reads it once, to check the ids, and builds no index again.
"""

TOTAL_SIZE: Final = (
    "(SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0) FROM pg_inherits "
    "WHERE inhparent = 'exchanges'::regclass)"
)
"""The size of the files of all partitions with their indexes."""

COUNT_BYTES: Final = _sql(
    "UPDATE partitions SET bytes = partitions.bytes + sums.size FROM (",
    "SELECT partitions.first_id, sum(days.size)::bigint AS size FROM partitions JOIN (",
    f"SELECT (id >> {ID_BITS}) / {DAY_MS} AS day, sum(size) AS size FROM added GROUP BY 1) AS days",
    f"ON (days.day{_FIRST_ID} >= partitions.first_id AND (days.day{_FIRST_ID} < partitions.end_id",
    "GROUP BY 1) AS sums WHERE sums.first_id = partitions.first_id",
)
"""Adds the sizes of the rows C{added} to their partitions."""

DELETE: Final = _sql(
    "WITH deleted AS (DELETE FROM exchanges WHERE id <= (SELECT max(id) FROM (",
    "SELECT id FROM exchanges WHERE id < ? ORDER BY id LIMIT ?) AS oldest)",
    "RETURNING pg_column_size(exchanges.*) AS size, id), counted AS (",
    "UPDATE partitions SET bytes = greatest(0, partitions.bytes - (SELECT coalesce(sum(size), 0) FROM deleted",
    "WHERE deleted.id >= partitions.first_id AND deleted.id < partitions.end_id))",
    "WHERE first_id <= (SELECT max(id) FROM deleted))",
    "UPDATE last_seq SET bytes = greatest(0, bytes - (SELECT coalesce(sum(size), 0) FROM deleted))",
    "RETURNING (SELECT count(*) FROM deleted), (SELECT max(id) FROM deleted)",
)
"""Deletes the oldest rows, and returns their number and their highest id.  Its values: the id before which rows are
deleted, and the maximum number of rows."""

_CREATE: Final = "SELECT create_partition(?)"
_DROP: Final = "SELECT drop_partition(?)"
_OLDEST: Final = (
    "SELECT first_id, end_id, bytes, "
    "(SELECT max(id) FROM exchanges WHERE id >= partitions.first_id AND id < partitions.end_id) "
    "FROM partitions ORDER BY first_id LIMIT 1"
)


class PartitionedStore(ChainStore, Protocol):
    """A store during a transaction that has the lock of C{last_seq}."""

    def used(self) -> int:
        """Return the bytes of the records and of their part of the indexes."""

    def impatient(self) -> AbstractContextManager[None]:
        """Run statements in a part of the transaction, which raises L{Busy} instead of waiting for readers."""


class Busy(Exception):
    """A reader uses the table."""


@attrs.frozen
class Partition:
    """The oldest partition.

    @ivar first_id: the lowest id that it can contain.
    @ivar end_id: the id after the highest one.
    @ivar size: the bytes of its rows.
    @ivar last_id: the highest id in it; C{None} if it is empty.
    """

    first_id: int
    end_id: int
    size: int
    last_id: int | None


def day_of(seconds: float) -> int:
    """Return the number of a day since 1970."""
    return int(seconds * 1000) // DAY_MS


def day_start(seconds: float) -> float:
    """Return the begin of the day of a time, in seconds since the epoch."""
    return day_of(seconds) * DAY_MS / 1000


def days_of(lines: Iterable[bytes]) -> set[int]:
    """Return the days of encoded rows (L{egress.store.postgresql_row.encode_row}).

    @raise ValueError: if a line is damaged, no id can have its time, or there are too many days for one transaction.
    """
    days = set()
    for line in lines:
        if not line.startswith(_TIME):
            raise ValueError("not a line of the spool")
        days.add(int(line[len(_TIME) : line.index(b",")]) // DAY_MS)
    if days and not 0 <= min(days) <= max(days) <= _LAST_DAY:
        raise ValueError("the time of a record is out of range")
    if len(days) > _MAX_DAYS:
        raise ValueError("records of too many days")
    return days


def create_partitions(store: ChainStore, days: Iterable[int]) -> None:
    """Create the partitions that do not exist; the transaction must have the lock of C{last_seq}."""
    for day in sorted(days):
        store.rows(_CREATE, (day,))


class Retention:
    """Deletes old records.

    @param signer: signs the beginning of the chain again; C{None}: the records have no signatures.
    """

    def __init__(self, signer: Signer | None) -> None:
        self._signer = signer
        # The id up to which records were deleted whose blocks are not all deleted yet.
        self._behind: int | None = None

    def prune(self, store: PartitionedStore, before: float, max_bytes: int, today: int) -> bool:
        """Drop some of the oldest partitions, and delete a small number of the oldest records, or of old blocks.

        The transaction must have the lock of C{last_seq}.

        @param today: the day whose partition is not dropped because of the size of the store.
        @return: whether there is more to delete.
        """
        if self._behind is not None:
            self._prune_chain(store, self._behind)
            return True
        last = id_at(before)
        deleted: list[int] = []
        for _ in range(_MAX_DROPS):
            oldest = _oldest(store)
            if oldest is None or oldest.end_id > last:
                break
            if not _drop(store, oldest, deleted):
                return self._finish(store, before, deleted, more=False)
        else:
            return self._finish(store, before, deleted, more=True)
        if not store.rows("SELECT 1 FROM exchanges WHERE id < ? LIMIT 1", (last,)):
            used = store.used()
            if used <= max_bytes or oldest is None:
                return self._finish(store, before, deleted, more=False)
            last = MAX_ID
            if oldest.end_id <= first_id(today * DAY_MS) and _is_dispensable(oldest, used, max_bytes, store):
                dropped = _drop(store, oldest, deleted)
                return self._finish(store, before, deleted, more=dropped)
        number, highest = store.rows(DELETE, (last, _PRUNE_ROWS))[0]
        if highest is not None:
            deleted.append(highest)
        return self._finish(store, before, deleted, more=number >= _PRUNE_ROWS)

    def _finish(self, store: PartitionedStore, before: float, deleted: list[int], *, more: bool) -> bool:
        """Delete the blocks and the sums of deleted records.

        @param deleted: the highest ids of deleted records.
        """
        if deleted:
            self._prune_chain(store, max(deleted))
            remaining = store.rows("SELECT time_ms FROM exchanges ORDER BY id LIMIT 1")
            prune_rollups(store, remaining[0][0] if remaining else round(before * 1000))
        return more or self._behind is not None

    def _prune_chain(self, store: PartitionedStore, last: int) -> None:
        self._behind = None
        if self._signer is not None and prune_chain(store, self._signer, last):
            self._behind = last


def _drop(store: PartitionedStore, oldest: Partition, deleted: list[int]) -> bool:
    """Drop a partition; tell whether no reader prevented it.

    @param deleted: gets the highest id in it.
    """
    try:
        with store.impatient():
            store.rows(_DROP, (oldest.first_id,))
    except Busy:
        return False
    if oldest.last_id is not None:
        deleted.append(oldest.last_id)
    return True


def _oldest(store: PartitionedStore) -> Partition | None:
    rows: Sequence[Sequence[Any]] = store.rows(_OLDEST)
    return Partition(*rows[0]) if rows else None


def _is_dispensable(oldest: Partition, used: int, max_bytes: int, store: PartitionedStore) -> bool:
    """Tell whether the store has the maximum size also without the oldest partition, or that partition is empty."""
    if oldest.last_id is None:
        return True
    ((size,),) = store.rows("SELECT greatest(bytes, 1) FROM last_seq")
    return used * (1 - oldest.size / int(size)) >= max_bytes
