"""The audit store in a file of SQLite.

Several processes can write to one file.  They take turns: each transaction waits for the others.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from operator import itemgetter
from pathlib import Path
from threading import RLock
from typing import Any, Final

from zope.interface import implementer

from egress.model.policy_use import PolicyUse
from egress.model.record import ExchangeRecord
from egress.runtime.safe_files import heir_of, open_log
from egress.store.chain import Checkpoint, Signer, Stored
from egress.store.chain_table import RECORDS, extend, prune_chain, stored_row
from egress.store.filter_language import Filter
from egress.store.filter_sql import SQLITE, Dialect, Query
from egress.store.interfaces import IAuditStore, StoreError
from egress.store.keywords import index_query, keywords_of
from egress.store.parts import add_keywords, drop_parts, newest, part_for_records, with_index
from egress.store.policy_history import add_policies
from egress.store.rollups import prune_rollups, roll_up
from egress.store.row import INSERTED, document_of, row_of
from egress.store.schema import ID_BITS, MIGRATIONS, first_id, id_at
from egress.store.sql_store import FOLLOW_ROWS, SqlStore
from egress.store.sqlite_functions import FUNCTIONS

_NO_COLUMN: Final = ("no such column: exchanges.node", "no such column: exchanges.worker")
_BUSY_SECONDS: Final = 5.0
_PRUNE_ROWS: Final = 1000
# The number of ids of records that a store ignores when they are stored again, and of attempts to find other ids.
_RECENT: Final = 4096
_TRIES: Final = 100

_READ_ACCESS: Final = "run the command as the user of the proxy"

_ROW: Final = f"id, seq, {', '.join(INSERTED)}"
_PLACES: Final = ", ".join("?" * (len(INSERTED) + 2))
_INSERT: Final = f"INSERT INTO exchanges ({_ROW}) VALUES ({_PLACES})"
_REQUEST_ID: Final = INSERTED.index("request_id")
_OF_ID: Final = (1 << ID_BITS) - 1


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Report the errors of SQLite as L{StoreError}."""
    try:
        yield
    except sqlite3.Error as error:
        if str(error).startswith(_NO_COLUMN):
            raise StoreError(f"{path}: node: and worker: need an audit store in PostgreSQL") from error
        raise StoreError(f"{path}: {error}") from error


@implementer(IAuditStore)
class SqliteStore(SqlStore):
    """An audit store in a file.  Its methods can be called in any thread.

    @param path: the file.
    @param connect: connects to the file; L{open_store} and L{open_to_read} use this class.
    @param signer: signs the records; C{None}: they have no signatures.
    @ivar checkpoint: the last block that this object signed; C{None} if it signed none.
    """

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection], signer: Signer | None = None) -> None:
        self.checkpoint: Checkpoint | None = None
        self._signer = signer
        self._path = path
        self._connect = connect
        self._opened: sqlite3.Connection | None = None
        self._closed = False
        self._lock = RLock()
        # The ids of the last records, in the order of writing.
        self._recent: dict[str, None] = {}
        self._is_first = True

    @property
    def _connection(self) -> sqlite3.Connection:
        """The connection, which the first use opens."""
        if self._closed:
            raise StoreError(f"{self._path}: is closed")
        if self._opened is None:
            self._opened = self._connect()
            for name, arguments, function in FUNCTIONS:
                self._opened.create_function(name, arguments, function, deterministic=True)
        return self._opened

    def release(self) -> None:
        """Close the connection until the next use.

        A daemon is a child of the process that loads its configuration, and no connection may be used after C{fork(2)}
        (https://www.sqlite.org/howtocorrupt.html, section 2.6).
        """
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def migrate(self) -> None:
        """Apply the migrations that the file lacks, one process at a time.

        @raise StoreError: if a newer version has written the file, or if it cannot be written.
        """
        with self._transaction() as connection:
            run = connection.execute
            version = run("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise StoreError(
                    f"{self._path}: a newer version of egressproxy has written it: use that version, or another file"
                )
            for number, statements in enumerate(MIGRATIONS[version:], version + 1):
                for statement in statements:
                    run(statement)
                run(f"PRAGMA user_version = {number}")

    def check_readable(self) -> None:
        """Check that the file has the schema of this version.

        @raise StoreError: if it has another one.
        """
        with self._lock, _reported(self._path):
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise StoreError(f"{self._path}: a newer version of egressproxy has written it: use that version")
        if version < len(MIGRATIONS):
            raise StoreError(f"{self._path}: is not an audit store of this version: start the proxy with it once")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Run statements under the write lock of the file, all of them or none."""
        with self._lock, _reported(self._path):
            connection = self._connection
            run = connection.execute
            run("BEGIN IMMEDIATE")
            try:
                yield connection
                run("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    run("ROLLBACK")
                raise

    def append(self, records: Sequence[ExchangeRecord]) -> None:
        """Store records; see L{IAuditStore.append}.

        SQLite either stores a whole batch or reports an error, so that a batch that is stored again is usually not in
        the file.  The sink that closes can repeat the records of the last batches.  A process can repeat, as its first
        batch, the last one of another process, which ended before it reported the result.  This store ignores them.
        """
        # The index of keywords is faster in the order of ids.
        rows = sorted(map(row_of, records), key=itemgetter(0))
        # The id of an earlier record can be taken: then other numbers make other ids.
        for skipped in range(_TRIES):
            try:
                self._append(rows, skipped)
            except StoreError as error:
                if skipped + 1 == _TRIES or not isinstance(error.__cause__, sqlite3.IntegrityError):
                    raise
            else:
                return

    def _append(self, rows: Sequence[tuple[Any, ...]], skipped: int) -> None:
        with self._transaction() as connection:
            # With the lock, because another thread may have stored them.
            fresh = {row[_REQUEST_ID]: row for row in reversed(rows) if row[_REQUEST_ID] not in self._recent}
            if self._is_first:
                fresh = {name: row for name, row in fresh.items() if not _has(connection, row[0], name)}
            if not fresh:
                return
            seq = connection.execute("SELECT seq FROM last_seq").fetchone()[0] + skipped
            part = part_for_records(connection)
            numbered = [
                (first_id(row[0]) | number & _OF_ID, number, *row)
                for number, row in enumerate(reversed(fresh.values()), seq + 1)
            ]
            connection.executemany(_INSERT, numbered)
            add_keywords(connection, part, [(row[0], keywords_of(row[2:])) for row in numbered])
            connection.execute("UPDATE last_seq SET seq = ?", (seq + len(numbered),))
            checkpoint = None if self._signer is None else extend(self, self._signer, numbered, self.checkpoint)
        self._is_first = False
        self.checkpoint = checkpoint or self.checkpoint
        self._remember(fresh)

    def _remember(self, names: Iterable[str]) -> None:
        self._recent.update(dict.fromkeys(names))
        for name in list(islice(self._recent, max(0, len(self._recent) - _RECENT))):
            del self._recent[name]

    def prune(self, before: float, max_bytes: int) -> bool:
        """Delete old records; see L{IAuditStore.prune}."""
        with self._transaction() as connection:
            where, values = "WHERE id < ?", [id_at(before)]
            if connection.execute(f"SELECT 1 FROM exchanges {where} LIMIT 1", values).fetchone() is None:
                if self.used() <= max_bytes:
                    return False
                where, values = "", []
            last, number = connection.execute(
                f"SELECT max(id), count(*) FROM (SELECT id FROM exchanges {where} ORDER BY id LIMIT {_PRUNE_ROWS})",
                values,
            ).fetchone()
            connection.execute("DELETE FROM exchanges WHERE id <= ?", (last,))
            drop_parts(connection, last)
            if self._signer is not None:
                prune_chain(self, self._signer, last)
            oldest = connection.execute("SELECT time_ms FROM exchanges ORDER BY id LIMIT 1").fetchone()
            prune_rollups(self, round(before * 1000) if oldest is None else oldest[0])
            return bool(number == _PRUNE_ROWS)

    def record_policies(self, uses: Sequence[PolicyUse]) -> None:
        """Add entries to the history of policies; see L{IAuditStore.record_policies}."""
        with self._transaction():
            add_policies(self, "", uses)

    def stored(self) -> Iterator[Stored]:
        """Yield all records with their leaves; see L{SqlStore.stored}."""
        return map(stored_row, self.stream(RECORDS, ()))

    @property
    def name(self) -> str:
        """The file."""
        return str(self._path)

    def used(self) -> int:
        """Return the bytes of the pages that are in use."""
        size, pages, free = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_size", "page_count", "freelist_count")
        )
        return size * (pages - free)

    @property
    def dialect(self) -> Dialect:
        """The dialect of SQLite."""
        return SQLITE

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let queries see the same state; see L{SqlStore.snapshot}."""
        with self._lock, _reported(self._path):
            connection = self._connection
            if connection.in_transaction:
                yield
                return
            connection.execute("BEGIN")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Sequence[Any]]:
        """Return all rows of a query; see L{SqlStore.rows}."""
        with self._lock, _reported(self._path):
            return self._connection.execute(statement, values).fetchall()

    def stream(
        self, statement: str, values: Sequence[Any], size: int = FOLLOW_ROWS
    ) -> Generator[Sequence[Any], None, None]:
        """Yield the rows of a query; see L{SqlStore.stream}."""
        with self._lock, _reported(self._path):
            yield from self._connection.execute(statement, values)

    def write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each row; see L{Transaction.write}."""
        self._connection.executemany(statement, rows)

    def roll_up(self, now: float) -> bool:
        """Add records to the rollups; see L{IAuditStore.roll_up}."""
        with self._transaction():
            return roll_up(self, now)

    def search(self, given: Filter, limit: int | None, oldest_first: bool = False) -> Iterator[Mapping[str, Any]]:
        """Find records; see L{IAuditStore.search}."""
        query = index_query(given)
        if query is None:
            return super().search(given, limit, oldest_first)
        if limit is None or limit > FOLLOW_ROWS:
            return self._all(given, limit, oldest_first)
        with self.snapshot():
            return map(document_of, newest(self.rows, given, query, limit, oldest_first=oldest_first))

    def _all(self, given: Filter, limit: int | None, oldest_first: bool) -> Iterator[Mapping[str, Any]]:
        # No part of the index is dropped meanwhile.
        with self.snapshot():
            yield from super().search(given, limit, oldest_first)

    def compiled(self, given: Filter) -> Query:
        """Compile a filter for a query of all records; see L{SqlStore.compiled}."""
        return with_index(self.rows, given)

    def close(self) -> None:
        """Close the file; every later call fails."""
        with self._lock:
            self.release()
            self._closed = True


def _has(connection: sqlite3.Connection, time_ms: int, request_id: str) -> bool:
    """Tell whether a record is stored, among the records of the same millisecond."""
    first = first_id(time_ms)
    found = connection.execute(
        "SELECT 1 FROM exchanges WHERE id BETWEEN ? AND ? AND request_id = ? LIMIT 1",
        (first, first | _OF_ID, request_id),
    )
    return found.fetchone() is not None


def _create(path: Path) -> None:
    """Create the file for the owner of its directory, if it does not exist: root works there for that user."""
    descriptor = open_log(path)
    try:
        owner, state = heir_of(path.parent.stat()), os.fstat(descriptor)
        if owner is not None and (state.st_uid, state.st_size, state.st_nlink) == (0, 0, 1):
            os.fchown(descriptor, *owner)
    finally:
        os.close(descriptor)


def open_store(path: Path, signer: Signer | None = None) -> SqliteStore:
    """Open an audit store to write to it, and create it if it does not exist, with permissions for only its owner.

    The file is checked now, and connected to again by the first use (L{SqliteStore.release}).

    @raise StoreError: if it cannot be written.
    @raise OSError: if the file cannot be created.
    """
    _create(path)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, _BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        # Readers do not wait for writers.  A record that was written survives the end of the process.
        for setting in (
            *("journal_mode = WAL", "synchronous = NORMAL"),
            # Pages that change often are written to the file less often.
            *("wal_autocheckpoint = 4000", "journal_size_limit = 16777216"),
        ):
            connection.execute(f"PRAGMA {setting}")
        return connection

    store = SqliteStore(path, connect, signer)
    try:
        store.migrate()
    finally:
        store.release()
    return store


def open_to_read(path: Path) -> SqliteStore:
    """Open an audit store only to read it, also while a proxy writes to it.

    @raise StoreError: if it does not exist, or is not an audit store of this version.
    """
    # The file is not opened: closing it would release the locks of other connections of this process
    # (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    try:
        path.stat()
    except FileNotFoundError as error:
        raise StoreError(f"{path}: does not exist: specify the file of --audit-store") from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}: {_READ_ACCESS}") from error
    if not os.access(path, os.R_OK):
        raise StoreError(f"{path}: {os.strerror(errno.EACCES)}: {_READ_ACCESS}")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            _BUSY_SECONDS,
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )

    store = SqliteStore(path, connect)
    try:
        store.check_readable()
    except StoreError as error:
        store.close()
        if isinstance(error.__cause__, sqlite3.OperationalError):
            # The files next to it, which readers and writers share, cannot be opened.
            raise StoreError(f"{error}: {_READ_ACCESS}") from error
        raise
    return store
