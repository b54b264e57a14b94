"""The audit store in PostgreSQL, which several proxies can share."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
from zope.interface import implementer

from egress.model.policy_use import PolicyUse
from egress.model.record import ExchangeRecord
from egress.store.chain import Checkpoint, Signer, Stored
from egress.store.filter_language import Filter
from egress.store.filter_sql import Dialect, Query, Where
from egress.store.interfaces import IAuditStore, StoreError, StoreUnreachable
from egress.store.policy_history import add_policies
from egress.store.postgresql_chain import Origin, append_signed, stored_row
from egress.store.postgresql_connection import Database, RecordRefused, load_driver, patient, reported
from egress.store.postgresql_partitions import Busy, Retention, create_partitions, day_of, days_of
from egress.store.postgresql_row import encode_row, storable
from egress.store.postgresql_schema import INSERT, LOCK, MIGRATIONS, RECORDS, SCHEMA, SIZE
from egress.store.postgresql_text import POSTGRESQL, path_words
from egress.store.rollups import roll_up
from egress.store.row import document_of
from egress.store.sql_store import FOLLOW_ROWS, SELECTED_COLUMNS, SqlStore

if TYPE_CHECKING:
    import psycopg

_T = TypeVar("_T")

_AT_ONCE: Final = 1.0
# The seconds for one statement of a migration, and for the transactions of others for which it waits.
_MIGRATION_SECONDS: Final = 3600.0
_MIGRATION_WAITS: Final = "5s"
# Writers wait for as long.
_IMPATIENT_MS: Final = 200
_MAX_DAYS: Final = 100
# The keys of advisory locks (two 32-bit numbers): "egre", and their purpose.
_KEY: Final = 0x65677265
_MIGRATING: Final = 1
_PRUNING: Final = 2
_ROLLING_UP: Final = 3

MIGRATE: Final = "run egress logs migrate as the owner of the database"
_NEWER: Final = "a newer version of egressproxy has written it: use that version, or another database"


@implementer(IAuditStore)
class PostgresqlStore(SqlStore):
    """An audit store in a database.  Its methods can be called in any thread, and connect to the server when they must.

    @param database: the database.
    @param node: the name of this machine, which each record gets.
    @param worker: the number of this worker; 0 without workers.
    @param signer: signs the records; C{None}: they have no signatures.
    @param now: returns the seconds since the epoch.
    @ivar checkpoint: the last block that this object signed; C{None} if it signed none.
    """

    selected = f"{SELECTED_COLUMNS}, exchanges.node, exchanges.worker"

    def __init__(
        self,
        database: Database,
        node: str = "",
        worker: int = 0,
        signer: Signer | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.checkpoint: Checkpoint | None = None
        self._database = database
        self._origin = Origin(storable(node), worker)
        self._signer = signer
        self._retention = Retention(signer)
        self._now = now
        # The days that have partitions, unless another process has dropped them.
        self._days: set[int] = set()
        self._cursors = 0
        self._opened: psycopg.Connection[Any] | None = None
        self._in_transaction = False
        self._closed = False
        self._lock = RLock()

    @property
    def dialect(self) -> Dialect:
        """The dialect of PostgreSQL."""
        return POSTGRESQL

    @property
    def name(self) -> str:
        """The URL of the database, which has no password."""
        return self._database.url

    # -- connections

    def connect(self) -> None:
        """Connect, unless there is a connection, and check the tables.

        @raise StoreUnreachable: if the server does not accept the connection.
        @raise StoreError: if the tables have another version.
        """
        with self._lock:
            self._connection()

    def _connection(self) -> psycopg.Connection[Any]:
        if self._closed:
            raise StoreError(f"{self.name}: is closed")
        if self._opened is not None and self._opened.closed:
            self._opened = None
        if self._opened is None:
            connection = self._database.connect(SCHEMA)
            try:
                with reported(self.name):
                    self._check_version(connection)
            except BaseException:
                connection.close()
                raise
            self._opened = connection
        return self._opened

    def _run(self, call: Callable[[psycopg.Connection[Any]], _T]) -> _T:
        """Call a function with the connection; again with a new one if the server has closed it meanwhile."""
        with self._lock:
            again, began = self._opened is not None and not self._in_transaction, time.monotonic()
            try:
                with reported(self.name):
                    return call(self._connection())
            except StoreUnreachable:
                broken = self._opened is None or self._opened.broken or self._opened.closed
                if broken:
                    self.release()
                # A server that does not respond is not given twice the time.
                if not (again and broken) or time.monotonic() - began > _AT_ONCE:
                    raise
            with reported(self.name):
                return call(self._connection())

    def release(self) -> None:
        """Close the connection until the next use, such as before a process becomes a daemon."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def close(self) -> None:
        """Close the connection; every later call fails (L{IAuditStore.close})."""
        with self._lock:
            self.release()
            self._closed = True

    # -- tables

    def missing_migrations(self) -> int:
        """Connect for a moment, and return the number of migrations that the tables lack.

        @raise StoreUnreachable: if the server does not accept the connection.
        @raise StoreError: if a newer version has written the tables.
        """
        with self._lock, self._database.connect(SCHEMA) as connection, reported(self.name):
            return self._missing(connection)

    def _missing(self, connection: psycopg.Connection[Any]) -> int:
        missing = len(MIGRATIONS) - _version(connection)
        if missing < 0:
            raise StoreError(f"{self.name}: {_NEWER}")
        return missing

    def _check_version(self, connection: psycopg.Connection[Any]) -> None:
        if self._missing(connection):
            if self._database.read_only:
                raise StoreError(f"{self.name}: is not an audit store of this version: start the proxy with it once")
            self._migrate(connection)

    def _migrate(self, connection: psycopg.Connection[Any]) -> None:
        """Apply the missing migrations, one process at a time, all of them or none."""
        driver = load_driver()
        try:
            with patient(connection, _MIGRATION_SECONDS), connection.transaction():
                connection.execute(f"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '{_MIGRATION_WAITS}'")
                connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (_KEY, _MIGRATING))
                if not _exists(connection, "to_regnamespace", SCHEMA):
                    connection.execute(f"CREATE SCHEMA {SCHEMA}")
                if not _exists(connection, "to_regclass", f"{SCHEMA}.migrations"):
                    connection.execute(
                        f"CREATE TABLE {SCHEMA}.migrations "
                        "(number integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())"
                    )
                for number, statements in enumerate(MIGRATIONS[_version(connection) :], _version(connection) + 1):
                    for statement in statements:
                        connection.execute(statement)
                    connection.execute(f"INSERT INTO {SCHEMA}.migrations (number) VALUES (%s)", (number,))
        except driver.errors.InsufficientPrivilege as error:
            raise StoreError(f"{self.name}: the role of the proxy cannot create the tables: {MIGRATE}") from error

    # -- writing

    def encode(self, record: ExchangeRecord) -> bytes:
        """Return a record as a line that L{append_encoded} stores."""
        return encode_row(record)

    def append(self, records: Sequence[ExchangeRecord]) -> None:
        """Store records; see L{IAuditStore.append}."""
        self.append_encoded(list(map(encode_row, records)))

    def append_encoded(self, lines: Sequence[bytes]) -> None:
        """Store the results of L{encode}; see L{IAuditStore.append}.

        @raise RecordRefused: if one of them cannot be stored; then none of them is.
        """
        days = days_of(lines)
        with self._lock:
            try:
                self._append(lines, days - self._days)
            except RecordRefused as error:
                if not isinstance(error.__cause__, load_driver().errors.CheckViolation):
                    raise
                # Another process has dropped a partition.
                self._days.clear()
                self._append(lines, days)
            if len(self._days) > _MAX_DAYS:
                self._days.clear()
            self._days |= days

    def _append(self, lines: Sequence[bytes], new_days: set[int]) -> None:
        """Store lines, and create partitions in the same transaction."""

        def prepare() -> None:
            if new_days:
                self.rows(LOCK)
                create_partitions(self, new_days)

        if self._signer is not None:
            own = self.checkpoint
            self.checkpoint = append_signed(self, self._signer, lines, self._origin, own, prepare=prepare)
            return
        document = "[" + ",".join(line.decode("ascii") for line in lines) + "]"
        with self.transaction():
            prepare()
            self.rows(LOCK)
            self.write(INSERT, [(self._origin.node, self._origin.worker, document, len(lines))])

    def prune(self, before: float, max_bytes: int) -> bool:
        """Delete old records, one process at a time; see L{IAuditStore.prune}.

        It also creates the partitions of today and of tomorrow.
        """
        with self.transaction(_PRUNING) as begun:
            if not begun:
                return False
            self.rows(LOCK)
            today = day_of(self._now())
            create_partitions(self, (day for day in (today, today + 1) if day >= day_of(before)))
            return self._retention.prune(self, before, max_bytes, today)

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Run statements that do not wait for readers; see L{PartitionedStore.impatient}."""
        connection = self._connection()
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = {_IMPATIENT_MS}")
                yield
                connection.execute("SET LOCAL lock_timeout = 0")
        except StoreUnreachable as error:
            if isinstance(error.__cause__, load_driver().errors.LockNotAvailable):
                raise Busy from error
            raise

    def record_policies(self, uses: Sequence[PolicyUse]) -> None:
        """Add entries to the history of policies; see L{IAuditStore.record_policies}."""
        with self.transaction():
            self.rows(LOCK)
            add_policies(self, self._origin.node, uses)

    def used(self) -> int:
        """Return the bytes of the records and of their part of the indexes."""
        return int(self.rows(SIZE)[0][0])

    def roll_up(self, now: float) -> bool:
        """Add records to the rollups, one process at a time; see L{IAuditStore.roll_up}."""
        with self.transaction(_ROLLING_UP) as begun:
            return begun and roll_up(self, now)

    def write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each row; see L{Transaction.write}."""
        with reported(self.name), self._connection().cursor() as cursor:
            cursor.executemany(_translated(statement), list(rows))

    @contextmanager
    def transaction(self, lock: int | None = None) -> Iterator[bool]:
        """Run statements in one transaction.

        @param lock: an advisory lock, which only one process has.
        @return: whether the lock was free.
        """
        with self._lock:
            # This connects again if the server has closed the connection.
            self._run(lambda connection: connection.execute("SELECT 1"))
            outside, self._in_transaction = self._in_transaction, True
            try:
                with reported(self.name), self._connection().transaction():
                    yield lock is None or bool(self.rows("SELECT pg_try_advisory_xact_lock(?, ?)", (_KEY, lock))[0][0])
            finally:
                self._in_transaction = outside

    # -- reading

    def document(self, row: Sequence[Any]) -> Mapping[str, Any]:
        """Return the fields of a record, with its node and its worker; see L{SqlStore.document}."""
        *values, node, worker = row
        fields = document_of(values)
        return {"time": fields["time"], "node": node, "worker": worker, **fields}

    def compiled(self, given: Filter) -> Query:
        """Compile a filter for a query of all records, which finds paths by the index of their words."""
        query = super().compiled(given)
        found = [words for words in map(path_words, given.conditions) if words is not None]
        if not found:
            return query
        where = " AND ".join([query.where.text, *["exchanges.words @@ ?::tsquery"] * len(found)])
        return attrs.evolve(query, where=Where(where, (*query.where.parameters, *found)))

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let queries see the same state; see L{SqlStore.snapshot}."""
        with self._lock:
            if self._in_transaction:
                yield
                return
            with self.transaction():
                # No partition is dropped between the begin of the snapshot and a query.
                self._connection().execute(
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; LOCK TABLE ONLY exchanges IN ACCESS SHARE MODE"
                )
                yield

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Sequence[Any]]:
        """Return all rows of a query; see L{SqlStore.rows}."""
        given = tuple(map(storable, values))
        return self._run(lambda connection: connection.execute(_translated(statement), given).fetchall())

    def stream(
        self, statement: str, values: Sequence[Any], size: int = FOLLOW_ROWS
    ) -> Generator[Sequence[Any], None, None]:
        """Yield the rows of a query, which remain on the server until they are needed; see L{SqlStore.stream}."""
        given = tuple(map(storable, values))
        with self.snapshot(), reported(self.name):
            # The verification reads records and blocks together.
            self._cursors += 1
            with self._connection().cursor(f"stream_{self._cursors}") as cursor:
                cursor.itersize = size
                yield from cursor.execute(_translated(statement), given)

    def stored(self) -> Iterator[Stored]:
        """Yield all records with their leaves; see L{SqlStore.stored}."""
        return map(stored_row, self.stream(RECORDS, ()))


def _translated(statement: str) -> Any:
    """Return a statement with the placeholders of psycopg."""
    return statement.replace("%", "%%").replace("?", "%s")


def _version(connection: psycopg.Connection[Any]) -> int:
    """Return the number of the last migration that was applied."""
    if not _exists(connection, "to_regclass", f"{SCHEMA}.migrations"):
        return 0
    found = connection.execute(f"SELECT coalesce(max(number), 0) FROM {SCHEMA}.migrations").fetchone()
    return 0 if found is None else int(found[0])


def _exists(connection: psycopg.Connection[Any], function: str, name: str) -> bool:
    found = connection.execute(f"SELECT {function}(%s) IS NOT NULL", (name,)).fetchone()
    return found is not None and bool(found[0])
