"""The audit store in a real PostgreSQL: its searches, its transactions, its roles and its failures."""

from __future__ import annotations

import io
import json
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.cli import main as cli
from egress.config.model import ConfigError, ProxyConfig
from egress.store.chain import Signer
from egress.store.filter_language import parse_filter
from egress.store.interfaces import StoreError, StoreUnreachable
from egress.store.location import configured_store, migrate, store_to_read
from egress.store.postgresql import PostgresqlStore
from egress.store.postgresql_connection import Database, RecordRefused
from egress.store.postgresql_partitions import TOTAL_SIZE
from egress.store.postgresql_schema import MIGRATIONS
from tests.files import make_directory
from tests.integration.postgresql import PASSWORD, Server, server
from tests.store.destination_cases import DestinationCases
from tests.store.history_cases import HistoryCases, use
from tests.store.search_cases import RECORDS, T0, SearchCases, record

ROLES = """
CREATE ROLE audit_owner LOGIN PASSWORD 'owner';
CREATE ROLE egress LOGIN PASSWORD 'writer';
CREATE ROLE auditor LOGIN PASSWORD 'reader'
"""
GRANTS = """
GRANT USAGE ON SCHEMA egress TO egress, auditor;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA egress TO egress;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA egress TO egress;
GRANT SELECT ON ALL TABLES IN SCHEMA egress TO auditor
"""


class PostgresqlTestCase(SynchronousTestCase):
    """Has a store in an empty database.

    @ivar server: the server.
    @ivar database: the database.
    """

    server: Server
    database: str

    def setUp(self) -> None:
        self.server = server()
        self.database = self.server.create_database()
        self.store: Any = self.open()

    def now(self) -> float:
        """Return the time of the stores, in seconds since the epoch."""
        return time.time()

    def open(self, node: str = "node-1", signer: Signer | None = None, **changes: Any) -> PostgresqlStore:
        """Open the store with another connection."""
        database = Database(url=self.server.url(self.database), password=PASSWORD)
        store = PostgresqlStore(attrs.evolve(database, **changes), node, 2, signer, now=self.now)
        self.addCleanup(store.close)
        return store

    def open_new(self) -> PostgresqlStore:
        """Open a store without records."""
        self.database = self.server.create_database()
        return self.open()

    def downgrade(self, version: int) -> None:
        """Let the tables be those of an earlier version, with the same records; no store may be open."""
        statements = ";\n".join(statement for migration in MIGRATIONS[:version] for statement in migration)
        self.server.run(
            "ALTER SCHEMA egress RENAME TO newer; CREATE SCHEMA egress; SET search_path TO egress; "
            "CREATE TABLE migrations (number integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now()); "
            f"{statements}; INSERT INTO migrations SELECT generate_series(1, {version})",
            self.database,
        )
        for table in ("exchanges", "last_seq", *(("blocks", "anchor") if version > 1 else ())):
            columns = self.server.run(
                "SELECT string_agg(column_name, ', ') FROM information_schema.columns "
                f"WHERE table_schema = 'egress' AND table_name = '{table}'",
                self.database,
            )[0][0]
            copy = f"INSERT INTO egress.{table} ({columns}) SELECT {columns} FROM newer.{table}"
            self.server.run(f"DELETE FROM egress.{table}; {copy}", self.database)
        self.server.run("DROP SCHEMA newer CASCADE", self.database)
        self.assertEqual(self.open().missing_migrations(), len(MIGRATIONS) - version)

    def names(self, text: str = "") -> list[str]:
        """Return the ids that a filter finds, the oldest first."""
        return [each["requestId"] for each in self.store.search(parse_filter(text, T0 + 3600), None, True)]


class PostgresqlSearchTests(SearchCases, PostgresqlTestCase):
    """Searches find the same records as in SQLite."""

    origin: ClassVar[dict[str, Any]] = {"node": "node-1", "worker": 2}


class PostgresqlHistoryTests(HistoryCases, PostgresqlTestCase):
    """The history of policies is the same as in SQLite."""

    node = "node-1"

    def test_fleet(self) -> None:
        """Each machine has its own entries, and they share the texts."""
        self.store.record_policies([use("a", 1)])
        self.open("node-2").record_policies([use("a", 2), use("b", 3)])
        found = [(each.time, each.node) for each in self.store.policy_uses(10)]
        self.assertEqual(found, [(3, "node-2"), (2, "node-2"), (1, "node-1")])
        self.assertEqual(self.store.rows("SELECT count(*) FROM policies"), [(2,)])


class PostgresqlDestinationTests(DestinationCases, PostgresqlTestCase):
    """Lists of destinations are the same as in SQLite."""


class WriteTests(PostgresqlTestCase):
    """Records are stored once, and become visible in the order of their numbers."""

    def test_origin_of_records(self) -> None:
        """Each record has the name of its machine and the number of its worker."""
        self.store.append(RECORDS[:1])
        self.assertEqual(
            self.store.rows("SELECT node, worker, host(client_inet) FROM exchanges"), [("node-1", 2, "127.0.0.1")]
        )

    def test_filters_of_origin(self) -> None:
        self.store.append([record("a")])
        self.open("node-2").append([record("b")])
        for text, expected in (
            ("node:node-1", ["a"]),
            ("node:node-1,node-2 worker:2", ["a", "b"]),
            ("-node:node-1", ["b"]),
            ("worker:1", []),
            ("-worker:1 node:node-2 allowed", ["b"]),
        ):
            self.assertEqual(self.names(text), expected, text)

    def test_fleet(self) -> None:
        """The commands show the records of all proxies, and name the proxy of each record."""
        self.store.append([record("a")])
        self.open("node-2").append([record("b", 1)])
        url = self.server.url(self.database)

        def logs(*arguments: str) -> str:
            output, errors = io.StringIO(), io.StringIO()
            environ = {"EGRESS_AUDIT_STORE": url, "EGRESS_AUDIT_STORE_PASSWORD": PASSWORD}
            status = cli.main(("logs", *arguments), environ, output, errors)
            self.assertEqual((status, errors.getvalue()), (0, ""))
            return output.getvalue()

        lines = logs("search").splitlines()
        self.assertEqual([line.split()[-3:] for line in lines], [["b", "via", "node-2"], ["a", "via", "node-1"]])
        self.assertEqual(len(logs("search", "node:node-2").splitlines()), 1)
        self.assertRegex(logs("show", "b"), "(?m)^node +node-2$")
        header, *rows = logs("export", "csv").splitlines()
        self.assertEqual(header.split(",")[-2:], ["node", "worker"])
        self.assertEqual([row.split(",")[-2:] for row in rows], [["node-1", "2"], ["node-2", "2"]])
        exported = [json.loads(line) for line in logs("export", "jsonl").splitlines()]
        self.assertEqual([(each["node"], each["worker"]) for each in exported], [("node-1", 2), ("node-2", 2)])
        events = [json.loads(line) for line in logs("export", "ocsf").splitlines()]
        self.assertEqual([each["unmapped"]["node"] for each in events], ["node-1", "node-2"])
        self.assertEqual(json.loads(logs("stats", "--json"))["records"], 2)

    def test_whole_batches(self) -> None:
        """A batch is stored as a whole, or not at all; the connection remains usable."""
        self.assertRaises(RecordRefused, self.store.append, [record("a"), record("b", 1, bytes_sent=1 << 70)])
        self.store.append([record("c")])
        self.assertEqual(self.names(), ["c"])

    def test_concurrent_writers(self) -> None:
        """A reader that follows several writers finds each record once."""
        writers, batches = 4, 25
        stores = [self.open() for _ in range(writers)]

        def write(number: int) -> None:
            for batch in range(batches):
                stores[number].append([record(f"{number}-{batch}-{each}", each) for each in range(3)])

        threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
        found: list[str] = []
        last = self.store.last_seq()
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 30
        while len(found) < writers * batches * 3 and time.monotonic() < deadline:
            last, part = self.store.written_after(parse_filter("", 0), last)
            found += [each["requestId"] for each in part]
        for thread in threads:
            thread.join()
        self.assertEqual(len(found), writers * batches * 3)
        self.assertEqual(len(set(found)), len(found))

    def test_slow_transaction(self) -> None:
        """A record of a transaction that began first, and ends last, is found by a reader that has seen the others."""
        self.store.append([record("a")])
        slow, other = self.open(), self.open()
        began, finish = threading.Event(), threading.Event()

        def write_slowly() -> None:
            with slow.transaction():
                slow.append([record("slow", 1)])
                began.set()
                finish.wait(20)

        threads = [threading.Thread(target=write_slowly), threading.Thread(target=lambda: other.append([record("b")]))]
        threads[0].start()
        self.assertTrue(began.wait(20))
        threads[1].start()
        last, found = self.store.written_after(parse_filter("", 0), 0)
        self.assertEqual([each["requestId"] for each in found], ["a"])
        finish.set()
        for thread in threads:
            thread.join()
        _, found = self.store.written_after(parse_filter("", 0), last)
        self.assertEqual([each["requestId"] for each in found], ["slow", "b"])

    def test_prune_by_age(self) -> None:
        self.store.append([record(f"r{number}", number) for number in range(2500)])
        self.assertEqual(self.prune(T0 + 2400), 2)
        self.assertEqual(len(self.names()), 100)
        self.assertEqual(self.prune(T0 + 2400), 0)

    def test_prune_by_size(self) -> None:
        """Deleting ends, although the files remain as large as they were."""
        for start in range(0, 8000, 1000):
            self.store.append([record(f"r{start + number}", start + number) for number in range(1000)])
        used = self.store.used()
        size = f"SELECT {TOTAL_SIZE}"
        self.assertAlmostEqual(used / int(self.store.rows(size)[0][0]), 1, 1)
        self.prune(0, used // 2)
        found = self.names()
        self.assertLessEqual(self.store.used(), used // 2)
        self.assertEqual(found, [f"r{number}" for number in range(8000 - len(found), 8000)])
        self.assertGreater(len(found), 2500)
        self.assertEqual(self.prune(0, used // 2), 0)
        self.prune(0, 1)
        self.assertEqual(self.names(), [])

    def prune(self, before: float, size: int = 1 << 40) -> int:
        steps = 0
        while self.store.prune(before, size):
            steps += 1
        return steps


class TableTests(PostgresqlTestCase):
    """The tables are created and updated by one process at a time."""

    def test_concurrent_migrations(self) -> None:
        stores = [self.open() for _ in range(5)]
        threads = [threading.Thread(target=store.append, args=([record(f"r{n}")],)) for n, store in enumerate(stores)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(self.names()), ["r0", "r1", "r2", "r3", "r4"])
        self.assertEqual(self.store.rows("SELECT count(*) FROM migrations"), [(len(MIGRATIONS),)])

    def test_newer_version(self) -> None:
        self.store.connect()
        self.store.rows("INSERT INTO migrations (number) VALUES (1000) RETURNING 1")
        for open_again in (self.open().connect, self.open(read_only=True).connect, self.open().missing_migrations):
            self.assertIn("a newer version", str(self.assertRaises(StoreError, open_again)))

    def test_reader_of_no_store(self) -> None:
        reader = self.open(read_only=True)
        self.assertIn("start the proxy with it once", str(self.assertRaises(StoreError, reader.last_seq)))
        self.assertEqual(self.store.missing_migrations(), len(MIGRATIONS))
        self.store.connect()
        self.assertEqual((reader.last_seq(), self.store.missing_migrations()), (0, 0))
        self.assertIn("read-only", str(self.assertRaises(StoreError, reader.append, RECORDS)))

    def test_roles(self) -> None:
        """The proxy needs no right to create tables, and a reader none to change them."""
        existing = self.server.run("SELECT 1 FROM pg_roles WHERE rolname = 'auditor'")
        if not existing:
            self.server.run(ROLES)
        self.server.run(f"ALTER DATABASE {self.database} OWNER TO audit_owner")
        url = {user: self.server.url(self.database, user=user) for user in ("audit_owner", "egress", "auditor")}
        writer = PostgresqlStore(Database(url=url["egress"], password="writer"))
        self.addCleanup(writer.close)
        error = str(self.assertRaises(StoreError, writer.append, RECORDS))
        self.assertIn("run egress logs migrate as the owner of the database", error)
        migrate(url["audit_owner"], "owner")
        error = str(self.assertRaises(StoreError, writer.append, RECORDS))
        self.assertIn("permission denied for schema egress: grant it to the role", error)
        self.server.run(GRANTS, self.database)
        writer.append(RECORDS)
        writer.roll_up(T0)
        writer.prune(T0 + 2.5, 1 << 40)
        writer.record_policies([use("a", 1)])
        reader = store_to_read(url["auditor"], "reader")
        self.addCleanup(reader.close)
        self.assertEqual(reader.statistics(parse_filter("", 0), 1)["records"], 4)
        self.assertEqual(len(reader.policy_uses(9)), 1)


class ConnectionTests(PostgresqlTestCase):
    """A server that is restarted, does not respond, or refuses a connection."""

    def test_restart(self) -> None:
        """A call after a restart of the server connects again."""
        self.store.append([record("a")])
        reader = self.open(read_only=True)
        reader.connect()
        self.server.kill()
        try:
            for call in (lambda: self.store.append([record("b")]), reader.last_seq):
                self.assertIn("Connection refused", str(self.assertRaises(StoreUnreachable, call)))
        finally:
            self.server.start()
        self.store.append([record("a"), record("b")])
        self.assertEqual((self.names(), reader.last_seq()), (["a", "b"], 3))
        self.server.kill()
        self.server.start()
        self.store.append([record("c")])
        self.assertEqual([each["requestId"] for each in reader.search(parse_filter("", 0), None)], ["c", "b", "a"])

    def test_hanging_server(self) -> None:
        """No call waits for a server that is stopped."""
        store = self.open(seconds=0.2)
        store.connect()
        self.server.signal(signal.SIGSTOP)
        try:
            error = self.assertRaises(StoreUnreachable, store.append, [record("a")])
        finally:
            self.server.signal(signal.SIGCONT)
        self.assertIn("the server did not respond within 1.2 seconds", str(error))
        store.append([record("a")])
        self.assertEqual(self.names(), ["a"])

    def test_slow_statement(self) -> None:
        store = self.open(seconds=0.2)
        error = self.assertRaises(StoreError, store.rows, "SELECT pg_sleep(30)")
        self.assertIn("statement timeout", str(error))
        self.assertEqual(store.last_seq(), 0)

    def test_wrong_password(self) -> None:
        """No error contains a password."""
        error = self.assertRaises(StoreUnreachable, self.open(password="not this: s3cret").connect)
        self.assertIn("password authentication failed", str(error))
        self.assertNotIn("s3cret", str(error) + repr(Database(url="postgresql://x", password="s3cret")))

    def test_parameters(self) -> None:
        """The URL has the parameters of libpq: a socket, a password file, and TLS."""
        path = make_directory(self).absolute() / "pgpass"
        path.write_text(f"*:*:{self.database}:postgres:{PASSWORD.replace(':', chr(92) + ':')}\n")
        path.chmod(0o600)
        url = f"postgresql://postgres@/{self.database}?host={self.server.directory}&port={self.server.port}&passfile={path}"
        store = self.open(url=url, password=None)
        store.append([record("a")])
        self.assertEqual(self.names(), ["a"])
        error = self.assertRaises(StoreUnreachable, self.open(url=f"{self.server.url()}&sslmode=require").connect)
        self.assertIn("server does not support SSL", str(error))
        error = self.assertRaises(StoreError, self.open(url=f"{self.server.url()}&no-such=1").connect)
        self.assertIn('invalid URI query parameter: "no-such"', str(error))

    def test_configuration(self) -> None:
        """A proxy starts while the server is away, but not with tables that it cannot use."""
        config = ProxyConfig(
            audit_store=self.server.url(self.database),
            audit_store_password=PASSWORD,
            ca_dir=make_directory(self).absolute(),
        )
        self.with_store(config, lambda store: self.assertIsNone(store.fault))
        wrong = attrs.evolve(config, audit_store_password="wrong")
        self.with_store(wrong, lambda store: self.assertIn("authentication failed", store.fault))
        self.store.rows("INSERT INTO migrations (number) VALUES (1000) RETURNING 1")
        error = self.assertRaises(ConfigError, configured_store, config)
        self.assertIn("a newer version of egressproxy has written it", str(error))

    def with_store(self, config: ProxyConfig, check: Callable[[Any], object]) -> None:
        store = configured_store(config)
        try:
            check(store)
        finally:
            store.close()
