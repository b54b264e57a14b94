"""Tests for L{egress.store.sqlite}, with real files."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import unittest
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from egress.store import sqlite as module
from egress.store.filter_language import parse_filter
from egress.store.interfaces import StoreError
from egress.store.schema import ID_BITS, MIGRATIONS
from egress.store.sqlite import SqliteStore, open_store, open_to_read
from tests.files import make_directory
from tests.store.search_cases import T0, record


class StoreTestCase(SynchronousTestCase):
    """Has a store."""

    def setUp(self) -> None:
        self.path = make_directory(self) / "audit #1?.db"
        self.store = self.open()

    def open(self) -> SqliteStore:
        store = open_store(self.path)
        self.addCleanup(store.close)
        return store

    def found(self, text: str, limit: int | None = None, *, oldest_first: bool = False) -> list[str]:
        """Return the ids that a filter finds."""
        found = self.store.search(parse_filter(text, T0 + 3600), limit, oldest_first)
        return [each["requestId"] for each in found]


class WriteTests(StoreTestCase):
    """Records are stored once, in files that only their owner can read."""

    def test_first_batch_of_a_process(self) -> None:
        """It can be the last batch of another process, which stored it but did not report it."""
        self.store.append([record("a"), record("b"), record("c", 5)])
        other = self.open()
        other.append([record("b"), record("d"), record("c", 5)])
        other.append([record("d"), record("e")])
        self.assertEqual(sorted(self.found("")), ["a", "b", "c", "d", "e"])
        self.assertEqual(self.store.last_seq(), 5)

    def test_no_duplicates(self) -> None:
        self.store.append([record("a"), record("a", 5), record("b")])
        self.store.append([record("b"), record("c")])
        self.assertEqual(sorted(self.found("")), ["a", "b", "c"])
        self.assertEqual(self.store.last_seq(), 3)

    def test_same_millisecond(self) -> None:
        names = [f"r{number}" for number in range(50)]
        for name in names:
            self.store.append([record(name)])
        self.assertEqual(self.found("", oldest_first=True), names)

    def test_whole_batches(self) -> None:
        """A batch is stored as a whole, or not at all."""
        self.assertRaises(OverflowError, self.store.append, [record("a"), record("b", 1, bytes_sent=1 << 70)])
        self.assertEqual(self.found(""), [])
        self.store.append([record("c")])
        self.assertEqual(self.found(""), ["c"])

    def test_two_processes(self) -> None:
        other = self.open()
        self.store.append([record("a")])
        other.append([record("b"), record("c", 1)])
        self.store.append([record("d")])
        self.assertEqual((self.found("", oldest_first=True), self.store.last_seq()), (["a", "b", "d", "c"], 4))

    def test_recent_records(self) -> None:
        """A closing sink repeats the records of a batch that a thread has written meanwhile."""
        names = [f"r{number}" for number in range(1500)]
        self.store.append([record(name) for name in names])
        self.store.append([record(name) for name in names])
        self.assertEqual((len(self.found("")), self.store.last_seq()), (1500, 1500))
        self.patch(module, "_RECENT", 1)
        self.store.append([record("a"), record("b")])
        self.store.append([record("b"), record("a")])
        self.assertEqual(self.store.last_seq(), 1503, "only the id of b was remembered")

    def test_taken_id(self) -> None:
        """A record of the same millisecond gets another id, whatever the numbers of the records are."""
        self.store.append([record("a"), record("b")])
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        connection.execute("UPDATE last_seq SET seq = ?", (1 << ID_BITS,))
        connection.commit()
        self.store.append([record("c"), record("d")])
        self.assertEqual(sorted(self.found("")), ["a", "b", "c", "d"])
        self.assertEqual(sorted(self.found("api.example.com")), ["a", "b", "c", "d"])
        connection.execute("UPDATE last_seq SET seq = ?", (1 << ID_BITS,))
        connection.commit()
        with mock.patch.object(module, "_TRIES", 2):
            self.assertRaises(StoreError, self.store.append, [record("e")])

    def test_permissions(self) -> None:
        self.store.append([record("a")])
        files = sorted(self.path.parent.iterdir())
        self.assertGreater(len(files), 1)
        self.assertEqual({stat.S_IMODE(path.stat().st_mode) for path in files}, {0o600})

    def test_disk_full(self) -> None:
        connection = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(connection.close)
        store = SqliteStore(self.path, lambda: connection)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        many = [record(f"r{number}", number) for number in range(500)]
        error = self.assertRaises(StoreError, store.append, many)
        self.assertIn("full", str(error))
        connection.execute("PRAGMA max_page_count = 100000")
        store.append(many)
        self.assertEqual(len(self.found("")), 500)


class PruneTests(StoreTestCase):
    """Old records are deleted in steps."""

    def prune(self, before: float, size: int = 1 << 40) -> int:
        steps = 0
        while self.store.prune(before, size):
            steps += 1
        return steps

    def test_age(self) -> None:
        self.store.append([record(f"r{number}", number, reason="pruned") for number in range(2200)])
        self.assertEqual(self.prune(T0 + 2100), 2)
        self.assertEqual(len(self.found("")), 100)
        self.assertEqual(len(self.found("pruned")), 100)
        self.assertEqual(self.prune(T0 + 2100), 0)

    def test_size(self) -> None:
        for start in range(0, 5000, 500):
            self.store.append([record(f"r{start + number}", start + number) for number in range(500)])
        used = self.store.used()
        self.prune(0, used // 2)
        found = self.found("")
        self.assertLessEqual(self.store.used(), used // 2)
        self.assertGreaterEqual(len(found), 1000)
        self.assertEqual(found[0], "r4999", "the newest records remain")

    def test_size_below_the_schema(self) -> None:
        """A limit that no file can meet ends."""
        self.store.append([record("a")])
        self.prune(0, 1)
        self.assertEqual(self.found(""), [])


class OpenTests(StoreTestCase):
    """Opening a file."""

    def test_origin(self) -> None:
        """A file does not have the machine and the worker of a record."""
        for text in ("node:a", "-worker:2"):
            found = self.assertRaises(StoreError, lambda text=text: list(self.store.search(parse_filter(text, 0), 1)))
            self.assertIn("node: and worker: need an audit store in PostgreSQL", str(found))

    def test_migrations(self) -> None:
        """The migrations that a file lacks are applied, each one once."""
        self.store.append([record("a")])
        with mock.patch.object(module, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE more (x)",))):
            self.assertRaises(StoreError, open_to_read, self.path)
            self.open()
            self.open()
        error = self.assertRaises(StoreError, open_store, self.path)
        self.assertIn("newer version", str(error))
        self.assertIn("newer version", str(self.assertRaises(StoreError, open_to_read, self.path)))

    def test_failed_migration(self) -> None:
        """A migration is applied as a whole, or not at all."""
        broken = (*MIGRATIONS, ("CREATE TABLE more (x)", "no SQL"))
        with mock.patch.object(module, "MIGRATIONS", broken):
            self.assertRaises(StoreError, open_store, self.path)
        self.store.append([record("a")])
        tables = sqlite3.connect(self.path).execute("SELECT name FROM sqlite_master WHERE name = 'more'").fetchall()
        self.assertEqual(tables, [])

    def test_not_a_database(self) -> None:
        path = self.path.with_name("text")
        path.write_bytes(b"no database" * 100)
        self.assertIn("not a database", str(self.assertRaises(StoreError, open_store, path)))
        self.assertIn("not a database", str(self.assertRaises(StoreError, open_to_read, path)))

    def test_missing_directory(self) -> None:
        self.assertRaises(FileNotFoundError, open_store, self.path.parent / "no" / "file")

    def test_owner(self) -> None:
        """In a directory of another user, root creates the file for that user."""
        if os.getuid() != 0:
            raise unittest.SkipTest("only root creates files for other users")
        directory = make_directory(self)
        os.chown(directory, 65534, 65534)
        store = open_store(directory / "audit.db")
        self.addCleanup(store.close)
        store.append([record("a")])
        owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in directory.iterdir()}
        names = ("audit.db", "audit.db-wal", "audit.db-shm")
        self.assertEqual(owners, dict.fromkeys(names, (65534, 65534)))

    def test_release(self) -> None:
        """Until the first use, the process has no open file, so that it can become a daemon."""
        store = open_store(self.path)
        self.assertEqual(self.open_files(), [])
        store.append([record("a")])
        self.assertNotEqual(self.open_files(), [])
        store.release()
        store.release()
        self.assertEqual(store.last_seq(), 1)
        store.close()
        self.assertEqual(self.open_files(), [])
        self.assertIn("is closed", str(self.assertRaises(StoreError, store.last_seq)))

    def open_files(self) -> list[str]:
        """Return the open files of this process that belong to the store."""
        names = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return [name for name in names if name.startswith(str(self.path.absolute()))]

    def test_reader(self) -> None:
        self.store.append([record("a")])
        reader = open_to_read(self.path)
        self.addCleanup(reader.close)
        self.store.append([record("b")])
        self.assertEqual(reader.last_seq(), 2)
        self.assertIn("readonly", str(self.assertRaises(StoreError, reader.append, [record("c")])))

    def test_readers_in_one_process(self) -> None:
        """Opening a reader does not release the locks of others: they still see what another process writes."""
        self.store.append([record("a")])
        readers = [open_to_read(self.path) for _ in range(2)]
        for reader in readers:
            self.addCleanup(reader.close)
        script = (
            "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1], isolation_level=None); "
            "connection.execute('UPDATE last_seq SET seq = ?', (sys.argv[2],)); connection.close()"
        )
        # If no lock is left, a process believes that its connection is the last one, and removes the log.
        for number in (7, 8):
            subprocess.run([sys.executable, "-c", script, str(self.path), str(number)], check=True)
            self.assertEqual([each.last_seq() for each in (self.store, *readers)], [number] * 3)

    def test_reader_without_access(self) -> None:
        """The error names the fix, for the file and for the files next to it."""
        expected = f"{self.path}: Permission denied: run the command as the user of the proxy"
        with mock.patch.object(Path, "stat", side_effect=PermissionError(13, "Permission denied")):
            self.assertEqual(str(self.assertRaises(StoreError, open_to_read, self.path)), expected)
        with mock.patch.object(os, "access", return_value=False):
            self.assertEqual(str(self.assertRaises(StoreError, open_to_read, self.path)), expected)
        with mock.patch.object(sqlite3, "connect", side_effect=sqlite3.OperationalError("unable to open")):
            error = self.assertRaises(StoreError, open_to_read, self.path)
        self.assertEqual(str(error), f"{self.path}: unable to open: run the command as the user of the proxy")

    def test_reader_of_no_store(self) -> None:
        missing = self.path.with_name("missing")
        self.assertIn("does not exist", str(self.assertRaises(StoreError, open_to_read, missing)))
        self.assertFalse(missing.exists())
        empty = Path(self.path.with_name("empty"))
        sqlite3.connect(empty).close()
        empty.touch()
        self.assertIn("start the proxy with it", str(self.assertRaises(StoreError, open_to_read, empty)))
