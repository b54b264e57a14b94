"""The partitions of the audit store in a real PostgreSQL, which several proxies create and drop at the same time."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import Any

import psycopg

from egress.store import chain_table
from egress.store import postgresql as module
from egress.store.chain import Signer
from egress.store.filter_language import parse_filter
from egress.store.interfaces import StoreError, StoreUnreachable
from egress.store.postgresql_connection import RecordRefused
from egress.store.postgresql_partitions import day_of, day_start
from tests.integration.postgresql import PASSWORD
from tests.integration.test_postgresql import GRANTS, ROLES, PostgresqlTestCase
from tests.store.history_cases import use
from tests.store.search_cases import T0, record
from tests.store.test_chain import KEY

DAY = 86400.0
# The begin of a day.
START = day_start(T0)
PARTITIONS = "SELECT partition_name FROM partitions ORDER BY first_id"
CHILDREN = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'exchanges'::regclass ORDER BY 1"
FAR = 1 << 40


def on(day: int, name: str, seconds: float = 60.0, **fields: Any) -> Any:
    """Make a record on the C{day}th day from L{START}."""
    return record(name, START + day * DAY + seconds - T0, **fields)


class PartitionTestCase(PostgresqlTestCase):
    """Has a store with a fixed time.

    @ivar time: the time of the stores.
    """

    time = START

    def now(self) -> float:
        return self.time

    def partitions(self) -> list[str]:
        """Return the days that have partitions; the catalog of the server has the same."""
        found = [name for (name,) in self.store.rows(PARTITIONS)]
        self.assertEqual([name for (name,) in self.store.rows(CHILDREN)], sorted(found))
        return [name.removeprefix("exchanges_") for name in found]

    def prune(self, before: float, size: int = FAR) -> int:
        """Delete old records, and return the number of steps that have more to delete."""
        steps = 0
        while self.store.prune(before, size):
            steps += 1
        return steps


class WriteTests(PartitionTestCase):
    """Records are stored once, on every day."""

    def test_days(self) -> None:
        """A batch creates the partitions of its days; searches find the records of all of them in their order."""
        self.store.append([on(2, "c"), on(0, "a"), on(1, "b", -0.001)])
        self.store.append([on(0, "a2", 90), on(1, "b2")])
        self.assertEqual(self.partitions(), ["20231114", "20231115", "20231116"])
        self.assertEqual(self.names(), ["a", "a2", "b", "b2", "c"])
        self.assertEqual([each["requestId"] for each in self.store.search(parse_filter("", 0), 2)], ["c", "b2"])
        last, found = self.store.written_after(parse_filter("", 0), 0)
        self.assertEqual((last, [each["requestId"] for each in found]), (5, ["c", "a", "b", "a2", "b2"]))

    def test_time_range(self) -> None:
        """A search of a time range reads only the partitions of its days."""
        self.store.append([on(day, f"r{day}") for day in range(5)])
        query = self.store.compiled(parse_filter("since:2023-11-15T08:00:00Z until:2023-11-16", 0))
        plan = self.store.rows(
            f"EXPLAIN SELECT url FROM exchanges WHERE {query.where.text} ORDER BY id DESC LIMIT 100",
            query.where.parameters,
        )
        text = "\n".join(line for (line,) in plan)
        self.assertIn("exchanges_20231115", text)
        for day in (14, 16, 17, 18):
            self.assertNotIn(f"exchanges_202311{day}", text)

    def test_sent_again(self) -> None:
        """A batch of several days is stored once, whichever process repeats it, with and without signatures."""
        batch = [on(day % 3, f"r{day}", day) for day in range(9)]
        self.store.append(batch)
        self.store.append(batch)
        self.open("node-2").append([*batch, on(4, "new")])
        self.assertEqual((len(self.names()), self.store.last_seq()), (10, 19))
        signing = self.open("node-3", Signer(KEY))
        signing.append(batch)
        signing.append([on(5, "signed"), *batch])
        self.assertEqual(len(self.names()), 11)

    def test_invalid_times(self) -> None:
        """A record that can have no id is refused; others are stored."""
        for seconds in (-START - 1, 1e10):
            self.assertRaises(ValueError, self.store.append, [on(0, "a", seconds)])
        self.store.append([on(0, "b")])
        self.assertRaises(ValueError, self.store.append, [on(day, f"r{day}") for day in range(31)])
        self.assertEqual(self.names(), ["b"])

    def test_refused_record(self) -> None:
        """A record that is refused leaves no partition behind, and the next record creates it."""
        self.assertRaises(RecordRefused, self.store.append, [on(0, "a", bytes_sent=1 << 70)])
        self.assertEqual(self.partitions(), [])
        self.store.append([on(0, "b")])
        self.assertEqual(self.names(), ["b"])

    def test_concurrent_writers(self) -> None:
        """Several proxies create the same partitions, while another one drops old ones; no record is lost."""
        writers, batches = 4, 12
        stores = [self.open(f"node-{n}", Signer(KEY) if n % 2 else None) for n in range(writers)]
        self.store.append([on(-5, "old")])
        finished = threading.Event()
        failures: list[BaseException] = []

        def write(number: int) -> None:
            try:
                for batch in range(batches):
                    # The expired day is dropped again and again.
                    late = on(-9, f"late-{number}-{batch}")
                    stores[number].append([late, *(on(batch + n, f"{number}-{batch}-{n}") for n in range(3))])
            except BaseException as error:
                failures.append(error)

        def prune() -> None:
            while not finished.is_set():
                self.store.prune(START - DAY, FAR)
                self.store.roll_up(START)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
        pruner = threading.Thread(target=prune)
        for thread in (*threads, pruner):
            thread.start()
        for thread in threads:
            thread.join()
        finished.set()
        pruner.join()
        self.assertEqual(failures, [])
        self.prune(START - DAY)
        expected = {f"{number}-{batch}-{n}" for number in range(writers) for batch in range(batches) for n in range(3)}
        found = [each["requestId"] for each in self.open().search(parse_filter("", START + 99 * DAY), None) if each]
        self.assertEqual((set(found), len(found)), (expected, len(expected)))
        self.assertEqual(len(self.partitions()), batches + 2)

    def test_partition_of_another(self) -> None:
        """A proxy whose partition another one has dropped creates it again."""
        self.store.append([on(0, "a"), on(3, "b")])
        self.open("node-2").prune(START + DAY, FAR)
        self.assertEqual(self.partitions(), ["20231115", "20231117"])
        self.store.append([on(0, "late"), on(3, "c")])
        self.assertEqual(self.names(), ["late", "b", "c"])

    def test_killed_server(self) -> None:
        """A batch whose transaction the server has lost is stored once."""
        self.store.append([on(0, "a")])
        for day in range(1, 4):
            batch = [on(day, f"b{day}"), on(0, f"c{day}")]
            with self.assertRaises(StoreUnreachable), self.store.transaction():
                self.store.append(batch)
                self.server.kill()
            self.server.start()
            self.store.append(batch)
            self.store.append(batch)
        self.assertEqual(sorted(self.names()), ["a", "b1", "b2", "b3", "c1", "c2", "c3"])
        self.assertEqual(len(self.partitions()), 4)


class RetentionTests(PartitionTestCase):
    """Old days are dropped as a whole."""

    def test_by_age(self) -> None:
        for day in range(4):
            self.store.append([on(day, f"r{day}-{number}", number) for number in range(1200)])
        self.store.roll_up(START)
        before = self.store.used()
        steps = self.prune(START + 2 * DAY)
        self.assertEqual((steps, self.partitions()), (0, ["20231116", "20231117"]))
        self.assertEqual(len(self.names()), 2400)
        self.assertAlmostEqual(self.store.used() / before, 0.5, 1)
        self.assertEqual(self.prune(START + 2 * DAY), 0)

    def test_by_size(self) -> None:
        """Whole days are dropped while the others have the maximum size; then, the oldest records are deleted."""
        for day in range(4):
            self.store.append([on(day, f"r{day}-{number}", number) for number in range(3000)])
        used = self.store.used()
        self.time = START + 3 * DAY
        self.prune(0, round(used * 0.6))
        self.assertLessEqual(self.store.used(), round(used * 0.6))
        self.assertEqual(self.partitions()[:3], ["20231115", "20231116", "20231117"])
        found = len(self.names())
        self.assertGreater(found, 5500)
        self.assertLess(found, 7500)
        self.prune(0, 1)
        self.assertEqual(self.names(), [])
        # Those of today and of tomorrow remain.
        self.assertEqual(self.partitions(), ["20231117", "20231118"])

    def test_ahead(self) -> None:
        """The maintenance creates the partitions of today and of tomorrow."""
        self.store.append([on(-9, "a")])
        self.assertFalse(self.store.prune(0, FAR))
        self.assertEqual(self.partitions(), ["20231105", "20231114", "20231115"])

    def test_reader(self) -> None:
        """A partition is dropped after the readers have finished; meanwhile, records are stored."""
        self.store.append([on(0, "a"), on(1, "b")])
        reader = self.open(read_only=True)
        found = reader.search(parse_filter("", 0), None)
        next(found)
        self.assertFalse(self.store.prune(START + DAY, FAR))
        self.store.append([on(2, "c")])
        self.assertEqual(self.names(), ["a", "b", "c"])
        self.assertEqual([each["requestId"] for each in found], ["a"])
        self.store.prune(START + DAY, FAR)
        self.assertEqual(self.names(), ["b", "c"])

    def test_signed(self) -> None:
        """The blocks of a dropped day are deleted in steps, and the verification reports nothing."""
        self.patch(chain_table, "_PRUNE_BLOCKS", 4)
        self.store = self.open("node-1", Signer(KEY))
        for number in range(11):
            self.store.append([on(0, f"a{number}", number)])
        self.store.append([on(1, "b")])
        before = self.store.checkpoint
        self.assertEqual(self.prune(START + DAY), 3)
        with closing(self.open(read_only=True)) as reader:
            found = reader.verify([KEY.public_key()], [before])
        self.assertEqual((found.findings, found.verified, found.pruned), ([], 1, 0))
        self.assertEqual(self.store.rows("SELECT count(*) FROM blocks"), [(1,)])


class UpgradeTests(PartitionTestCase):
    """The table of an earlier version becomes the first partition."""

    def upgraded(self, version: int, signer: Signer | None = None) -> None:
        """Let an earlier version store records of three days, and update the tables."""
        self.store = self.open("node-1", signer)
        for day in range(3):
            self.store.append([on(day, f"r{day}-{number}", number) for number in range(100)])
        self.store.close()
        self.downgrade(version)
        self.store = self.open("node-1", signer)

    def test_each_version(self) -> None:
        for version in (1, 2, 3, 4):
            with self.subTest(version):
                self.database = self.server.create_database()
                self.upgraded(version)
                self.assertEqual(len(self.names()), 300)
                (first,) = self.partitions()
                self.assertRegex(first, "before_2[0-9]{7}")
                # An earlier version that still runs gets an error, so its records wait.
                statement = "INSERT INTO exchanges SELECT * FROM exchanges ON CONFLICT (request_id) DO NOTHING"
                error = self.assertRaises(StoreError, self.store.rows, statement)
                self.assertNotIsInstance(error, StoreUnreachable)
                # A batch whose result the earlier version did not receive.
                self.store.append([on(2, f"r2-{number}", number) for number in range(50, 150)])
                self.assertEqual(len(self.names()), 350)
                now = day_of(self.server.run("SELECT extract(epoch FROM now())::float8")[0][0])
                self.store.append([on(now + 1 - day_of(START), "new")])
                self.assertEqual(len(self.partitions()), 2)
                self.assertEqual(self.prune(START + DAY), 0)
                self.assertEqual(self.names()[:1], ["r1-0"])
                self.prune(START + 30_000 * DAY)
                self.assertNotIn(first, self.partitions())

    def test_indexes(self) -> None:
        """No index of the existing table is built again, and all of them are used."""
        self.upgraded(4)
        self.store.connect()
        unused = (
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = ("
            "SELECT inhrelid FROM pg_inherits WHERE inhparent = 'exchanges'::regclass) "
            "AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = indexrelid)"
        )
        self.assertEqual(self.store.rows(unused), [("exchanges_request_id_key",)])

    def test_signed(self) -> None:
        """The chain continues."""
        self.upgraded(4, Signer(KEY))
        self.store.append([on(2, "next", 200)])
        with closing(self.open(read_only=True)) as reader:
            found = reader.verify([KEY.public_key()])
        self.assertEqual((found.findings, found.verified), ([], 301))

    def test_roles(self) -> None:
        """A role of the proxy, which owns no table, keeps its rights, and can create and drop partitions."""
        if not self.server.run("SELECT 1 FROM pg_roles WHERE rolname = 'auditor'"):
            self.server.run(ROLES)
        self.upgraded(4)
        self.server.run(GRANTS, self.database)
        self.store.connect()
        writer = self.open(url=self.server.url(self.database, user="egress"), password="writer")
        writer.append([on(40_000, "a")])
        writer.record_policies([use("a", 1)])
        writer.prune(START + 50_000 * DAY, FAR)
        writer.prune(START + 50_000 * DAY, FAR)
        self.assertEqual(self.names(), [])
        # The function of the owner drops only partitions.
        writer.rows("INSERT INTO partitions VALUES ('blocks', 1, 2, 0) RETURNING 1")
        writer.rows("SELECT drop_partition(1)")
        self.assertEqual(writer.rows("SELECT count(*) FROM blocks"), [(0,)])
        reader = self.open(url=self.server.url(self.database, user="auditor"), password="reader")
        error = self.assertRaises(StoreError, reader.rows, "SELECT create_partition(1)")
        self.assertIn("permission denied", str(error))
        self.assertEqual(reader.rows("SELECT count(*) FROM exchanges"), [(0,)])

    def test_reader(self) -> None:
        """The update does not wait long for a reader, which would delay all writers; a later attempt succeeds."""
        self.patch(module, "_MIGRATION_WAITS", "100ms")
        self.upgraded(4)
        with psycopg.connect(self.server.url(self.database), password=PASSWORD) as reader:
            reader.execute("SELECT count(*) FROM egress.exchanges")
            self.assertIn("lock timeout", str(self.assertRaises(StoreUnreachable, self.store.connect)))
        self.assertEqual(len(self.names()), 300)

    def test_killed_server(self) -> None:
        """An update that a killed server has lost is repeated from its begin."""
        self.upgraded(4)
        reader = psycopg.connect(self.server.url(self.database), password=PASSWORD)
        self.addCleanup(reader.close)
        reader.execute("SELECT count(*) FROM egress.exchanges")
        thread = threading.Thread(target=lambda: self.assertRaises(StoreUnreachable, self.store.connect))
        thread.start()
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'ALTER TABLE%'"
        deadline = time.monotonic() + 4
        while not self.server.run(waiting) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.server.kill()
        thread.join()
        self.server.start()
        self.assertEqual(len(self.names()), 300)
        self.assertEqual(len(self.partitions()), 1)
