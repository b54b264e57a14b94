"""The chain of signed records in a real PostgreSQL, which several proxies extend."""

from __future__ import annotations

import threading
from contextlib import closing

from egress.store.chain import Checkpoint, Signer, Verification
from egress.store.interfaces import StoreError
from egress.store.postgresql import PostgresqlStore
from egress.store.postgresql_schema import SIGNED
from tests.integration.test_postgresql import PostgresqlTestCase
from tests.store.chain_cases import RetentionCases
from tests.store.search_cases import RECORDS, T0, record
from tests.store.test_chain import KEY, OTHER


class ChainTests(RetentionCases, PostgresqlTestCase):
    """Each kind of tampering is detected, whichever proxy has written the record."""

    def setUp(self) -> None:
        super().setUp()
        self.store = self.signing()

    def signing(self, node: str = "node-1", signer: Signer | None = None) -> PostgresqlStore:
        return self.open(node, signer or Signer(KEY))

    def verify(self, *checkpoints: Checkpoint) -> Verification:
        # A test verifies more often than the server has connections.
        with closing(self.open(read_only=True)) as store:
            found: Verification = store.verify([KEY.public_key(), OTHER.public_key()], checkpoints)
        return found

    def tamper(self, statement: str) -> list[str]:
        """Run statements as the owner of the database, and return the findings."""
        self.server.run(f"SET search_path TO egress; {statement}", self.database)
        return self.verify().findings

    def test_all_fields(self) -> None:
        """Records of each kind are verified, and each column of them."""
        self.store.append(RECORDS)
        # For a changed id.
        self.store.rows("SELECT create_partition(0)")
        found = self.verify()
        self.assertEqual((found.findings, found.verified, found.last), ([], len(RECORDS), self.store.checkpoint))
        self.assertEqual(found.writers, {"node-1 worker 2": len(RECORDS)})
        others = {"client_inet": "'10.9.8.7'", "request_id": "'other'"}
        for name in ("id", "seq", "node", "worker", *SIGNED):
            types = "SELECT data_type FROM information_schema.columns WHERE column_name = ?"
            kind = self.store.rows(types, (name,))[0][0]
            value = others.get(name, f"CASE WHEN {name}::text = '77' THEN '78' ELSE '77' END::{kind}")
            copy = "CREATE TABLE copied AS SELECT * FROM egress.exchanges WHERE request_id = 'a'"
            self.server.run(copy, self.database)
            with self.subTest(name):
                self.assertTrue(self.tamper(f"UPDATE exchanges SET {name} = {value} WHERE request_id = 'a'"))
            self.server.run(
                "DELETE FROM egress.exchanges WHERE seq NOT IN (2, 3, 4, 5, 6); "
                "INSERT INTO egress.exchanges SELECT * FROM copied; DROP TABLE copied",
                self.database,
            )
        self.assertEqual(self.verify().findings, [])

    def test_tampering(self) -> None:
        """Three proxies write; records are changed, removed and inserted, and the end of the chain is removed."""
        stores = [self.signing(f"node-{number}") for number in range(3)]
        for batch in range(2):
            for number, store in enumerate(stores):
                store.append([record(f"r{batch}{number}{index}", batch * 10 + index) for index in range(3)])
        last = stores[2].checkpoint
        assert last is not None
        found = self.verify(last)
        self.assertEqual((found.findings, found.verified), ([], 18))
        self.assertEqual(found.writers, {f"node-{number} worker 2": 6 for number in range(3)})
        self.assertEqual(
            self.tamper("UPDATE exchanges SET verdict = 'deny' WHERE request_id = 'r011'"),
            ["record r011 of node-1 worker 2 was changed"],
        )
        self.assertEqual(
            self.tamper("DELETE FROM exchanges WHERE request_id = 'r011'"), ["a record of block 2 was removed"]
        )
        self.assertEqual(
            self.tamper(
                "CREATE TEMP TABLE copied AS SELECT * FROM exchanges WHERE request_id = 'r122'; "
                "UPDATE copied SET seq = seq + 1, request_id = 'new'; INSERT INTO exchanges SELECT * FROM copied"
            )[1:],
            ["record new of node-2 worker 2 was inserted, or written without a signature"],
        )
        # All records of one proxy, with its blocks.
        findings = self.tamper(
            "DELETE FROM exchanges WHERE request_id IN ('new', 'r011') OR node = 'node-0'; "
            "DELETE FROM blocks WHERE number IN (1, 4)"
        )
        self.assertEqual(findings[:1], ["blocks are missing: 1 to 1"])
        self.assertIn("blocks are missing: 4 to 4", findings)
        # The newest blocks with their records, also from the row with the number of the last one.
        self.assertEqual(
            self.tamper(
                "DELETE FROM exchanges WHERE seq > 6; DELETE FROM blocks WHERE number > 2; "
                "UPDATE last_seq SET seq = 6, block = 2, digest = (SELECT digest FROM blocks WHERE number = 2)"
            ),
            ["blocks are missing: 1 to 1", "a record of block 2 was removed"],
        )
        self.assertIn(
            f"the store ends before the checkpoint: blocks 3 to {last.number} are missing", self.verify(last).findings
        )
        # A proxy that runs continues after the last block that it has signed.
        stores[2].append([record("next", 30)])
        self.assertIn(f"blocks are missing: 3 to {last.number}", self.verify().findings)

    def test_removed_chain(self) -> None:
        self.assertIn("has no signatures", str(self.assertRaises(StoreError, self.unsigned)))
        self.store.append([record("a")])
        before = self.store.checkpoint
        assert before is not None
        self.server.run(
            "SET search_path TO egress; DELETE FROM blocks; DELETE FROM anchor; "
            "UPDATE last_seq SET block = NULL, digest = NULL",
            self.database,
        )
        self.assertIn("has no signatures", str(self.assertRaises(StoreError, self.verify)))
        self.assertEqual(self.verify(before).findings[0], "the anchor of the chain was removed")
        self.store.append([record("b")])
        self.assertEqual(
            self.verify().findings[:2], ["the anchor of the chain was removed", "blocks are missing: 1 to 1"]
        )

    def unsigned(self) -> None:
        self.store.connect()
        self.verify()

    def test_concurrent_writers(self) -> None:
        """Several proxies, two of them with another key, extend one chain, while old records are deleted."""
        writers, batches = 4, 15
        both = [KEY.public_key(), OTHER.public_key()]
        stores = [self.signing(f"node-{n}", Signer(OTHER if n % 2 else KEY, both)) for n in range(writers)]
        self.store.append([record(f"old-{number}", -1000) for number in range(50)])

        def write(number: int) -> None:
            for batch in range(batches):
                records = [record(f"{number}-{batch}-{each}", each) for each in range(3)]
                stores[number].append(records)
                # The result of a commit can be unknown: the records are repeated.
                stores[number].append([*records, record(f"{number}-{batch}-x", 5)])
                stores[number].prune(T0 - 10, 1 << 40)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = self.verify()
        self.assertEqual((found.findings, found.verified), ([], writers * batches * 4))
        self.assertEqual(set(found.writers.values()), {batches * 4})
        assert found.last is not None
        self.assertEqual(found.last.number, 1 + 2 * writers * batches)
        self.assertEqual(self.store.rows("SELECT min(number) FROM blocks"), [(2,)])

    def test_retention(self) -> None:
        """The deletion of old records is no tampering, also of records that waited in a spool."""
        before = self.store_and_delete()
        self.assertEqual(len(self.tamper("DELETE FROM exchanges WHERE request_id = 'r1300'")), 1)
        self.delete_all(before, 0, 1)
        # No proxy signs an anchor that someone else has changed.
        self.tamper("UPDATE anchor SET pruned_id = 9223372036854775807; DELETE FROM exchanges")
        self.store.append([record("old", 1)])
        self.store.prune(T0 + 100, 1 << 40)
        self.assertEqual(self.verify().findings[0], "the anchor of the chain is not signed by this key")

    def test_restart(self) -> None:
        """A server that was killed continues the chain with the next block."""
        self.store.append([record("a")])
        self.server.kill()
        self.server.start()
        self.store.append([record("a"), record("b")])
        found = self.verify()
        self.assertEqual((found.findings, found.verified, self.store.last_seq()), ([], 2, 2))

    def test_upgrade(self) -> None:
        """The records of a store from before the chain are not verified."""
        self.open_before_the_chain()
        self.store = self.signing()
        self.store.append([record("b")])
        found = self.verify()
        self.assertEqual((found.findings, found.unsigned, found.verified), ([], 1, 1))
        unsigned = self.open("node-9")
        unsigned.append([record("c")])
        self.assertEqual(
            self.verify().findings, ["record c of node-9 worker 2 was inserted, or written without a signature"]
        )

    def open_before_the_chain(self) -> None:
        """Let the tables be those of the first version."""
        self.store = self.open_new()
        self.store.append([record("a")])
        self.store.close()
        self.downgrade(1)
