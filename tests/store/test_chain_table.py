"""Tests for L{egress.store.chain_table}, with real files."""

from __future__ import annotations

import sqlite3
from typing import Any

from egress.model.grpc_result import GrpcResult
from egress.store.chain import FIRST, Checkpoint, Signer, Verification, leaf_of
from egress.store.chain_table import INSERT_BLOCK, block_values
from egress.store.columns import INSERTED
from egress.store.filter_language import parse_filter
from egress.store.interfaces import StoreError
from egress.store.row import row_of
from egress.store.schema import MIGRATIONS, first_id
from egress.store.sqlite import SqliteStore, open_store, open_to_read
from tests.store.chain_cases import RetentionCases
from tests.store.search_cases import RECORDS, T0, record
from tests.store.test_chain import KEY, OTHER
from tests.store.test_sqlite import StoreTestCase


class ChainTableTests(RetentionCases, StoreTestCase):
    """The chain of a store in a file."""

    def open(self, signer: Signer | None = None) -> SqliteStore:
        store = open_store(self.path, signer or Signer(KEY))
        self.addCleanup(store.close)
        return store

    def verify(self, *checkpoints: Checkpoint, key: Any = KEY) -> Verification:
        store = open_to_read(self.path)
        try:
            return store.verify([key.public_key()], checkpoints)
        finally:
            store.close()

    def tamper(self, *statements: str) -> Verification:
        """Change the file, and return the result of its verification."""
        connection = sqlite3.connect(self.path)
        try:
            for statement in statements:
                connection.execute(statement)
            connection.commit()
        finally:
            connection.close()
        return self.verify()

    def test_a_file_of_an_earlier_version(self) -> None:
        """New columns are added, and the signatures of earlier records remain valid."""
        path = self.path.with_name("earlier.db")
        columns = INSERTED[: INSERTED.index("client_http")]
        row = row_of(record("a"))[: len(columns)]
        signer, record_id = Signer(KEY), first_id(row[0]) + 1
        leaf = leaf_of(record_id, {name: value for name, value in zip(columns, row, strict=True) if value is not None})
        anchor = signer.anchor(1, FIRST, -1, 1)
        connection = sqlite3.connect(path)
        for statement in (each for migration in MIGRATIONS[:3] for each in migration):
            connection.execute(statement)
        connection.execute("PRAGMA user_version = 3")
        connection.execute(
            f"INSERT INTO exchanges (id, seq, {', '.join(columns)}) VALUES (?, ?, {', '.join('?' * len(columns))})",
            (record_id, 1, *row),
        )
        connection.execute("UPDATE last_seq SET seq = 1")
        connection.execute(INSERT_BLOCK, block_values(signer.block(1, FIRST, 1, [leaf])))
        connection.execute("INSERT INTO anchor VALUES (1, ?, -1, 1, ?)", (FIRST, anchor.signature))
        connection.commit()
        connection.close()
        self.path = path
        store = self.open()
        store.append([record("b", 1, grpc=GrpcResult("a.B", "C", "OK"))])
        found = self.verify()
        self.assertEqual((found.findings, found.verified), ([], 2))
        new, old = store.search(parse_filter("", T0), None)
        self.assertEqual((old["clientHttp"], old.get("grpc"), new["clientHttp"]), (None, None, "2"))
        self.assertEqual(new["grpc"], {"service": "a.B", "method": "C", "status": "OK"})

    def test_all_fields(self) -> None:
        """The records of each kind are verified, and each column of them."""
        self.store.append(RECORDS)
        found = self.verify()
        self.assertEqual((found.findings, found.verified, found.pruned, found.unsigned), ([], len(RECORDS), 0, 0))
        assert self.store.checkpoint is not None
        self.assertEqual(found.last, self.store.checkpoint)
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        names = [name for _, name, *_ in connection.execute("PRAGMA table_info(exchanges)")]
        for name in names:
            if name == "seq":
                continue
            connection.execute("SAVEPOINT before")
            connection.execute(f"UPDATE exchanges SET {name} = 77 WHERE request_id = 'a'")
            connection.commit()
            with self.subTest(name):
                self.assertEqual(len(self.verify().findings), 1)
            self.restore(connection)
        self.assertEqual(self.verify().findings, [])

    def restore(self, connection: sqlite3.Connection) -> None:
        """Store the first record again as it was."""
        connection.execute("DELETE FROM exchanges WHERE seq = 1")
        other = open_store(self.path.with_name("other"), Signer(KEY))
        other.append(RECORDS)
        other.close()
        connection.execute("ATTACH ? AS other", (str(self.path.with_name("other")),))
        connection.execute("INSERT INTO exchanges SELECT * FROM other.exchanges WHERE seq = 1")
        connection.commit()
        connection.execute("DETACH other")
        for path in self.path.parent.glob("other*"):
            path.unlink()

    def test_tampering(self) -> None:
        for number in range(3):
            self.store.append([record(f"r{number}{index}", number * 10 + index) for index in range(3)])
        before = self.store.checkpoint
        assert before is not None
        self.assertEqual(self.verify(before).findings, [])
        changed = self.tamper("UPDATE exchanges SET verdict = 'deny' WHERE request_id = 'r01'")
        self.assertEqual(changed.findings, ["record r01 was changed"])
        removed = self.tamper("DELETE FROM exchanges WHERE request_id = 'r01'")
        self.assertEqual(removed.findings, ["a record of block 1 was removed"])
        inserted = self.tamper(
            "CREATE TEMP TABLE copied AS SELECT * FROM exchanges WHERE request_id = 'r22'",
            "UPDATE copied SET id = id + 1, seq = seq + 1, request_id = 'new'",
            "INSERT INTO exchanges SELECT * FROM copied",
        )
        self.assertEqual(inserted.findings[1:], ["record new was inserted, or written without a signature"])
        end = self.tamper(
            "DELETE FROM exchanges WHERE seq > 6 OR request_id = 'r01'",
            "DELETE FROM blocks WHERE number = 3",
            "UPDATE last_seq SET seq = 6",
        )
        self.assertEqual(end.findings, ["a record of block 1 was removed"])
        self.assertEqual(
            self.verify(before).findings[1:],
            ["the store ends before the checkpoint: blocks 3 to 3 are missing"],
        )

    def test_several_writers(self) -> None:
        """Two processes extend one chain."""
        other = self.open()
        for number in range(3):
            self.store.append([record(f"a{number}", number)])
            other.append([record(f"b{number}", number)])
        found = self.verify()
        self.assertEqual((found.findings, found.verified), ([], 6))
        self.assertEqual(found.last, other.checkpoint)

    def test_retention(self) -> None:
        """The deletion of old records is no tampering."""
        before = self.store_and_delete()
        self.store.append([record("new", 3000)])
        self.assertEqual(self.verify(before).findings, [])
        self.assertEqual(self.tamper("DELETE FROM exchanges WHERE request_id = 'r1300'").faults, 1)
        self.delete_all(before, T0 + 5000, 1 << 40)

    def test_retention_signs_no_change(self) -> None:
        """The deletion of old records does not sign an anchor that someone has changed, nor deletes other blocks."""
        for start in range(0, 40, 10):
            self.store.append([record(f"r{start + number}", start + number) for number in range(10)])
        self.tamper("UPDATE anchor SET pruned_id = 1 << 62", "DELETE FROM exchanges WHERE request_id = 'r35'")
        while self.store.prune(T0 + 15, 1 << 40):
            pass
        self.assertEqual(self.verify().findings[0], "the anchor of the chain is not signed by this key")

    def test_retention_after_a_new_key(self) -> None:
        """The blocks of a trusted earlier key are deleted."""
        self.store.append([record(f"r{number}", number) for number in range(10)])
        other = self.open(Signer(OTHER, [KEY.public_key()]))
        other.append([record("late", 100)])
        while other.prune(T0 + 50, 1 << 40):
            pass
        found = self.verify(key=OTHER)
        self.assertEqual((found.findings, found.verified), ([], 1))

    def test_removed_chain(self) -> None:
        """Without a checkpoint, a removed chain looks like an unsigned store; a proxy that runs shows it later."""
        self.store.append([record("a")])
        before = self.store.checkpoint
        assert before is not None
        self.tamper_with_chain("DELETE FROM anchor", "DELETE FROM blocks")
        self.assertIn("no signatures", str(self.assertRaises(StoreError, self.verify)))
        self.assertEqual(self.verify(before).findings[0], "the anchor of the chain was removed")
        self.store.append([record("b")])
        self.assertEqual(
            self.verify().findings,
            [
                "the anchor of the chain was removed",
                "blocks are missing: 1 to 1",
                "record a was inserted, or written without a signature",
            ],
        )

    def test_removed_end(self) -> None:
        """A proxy that runs continues after the last block that it has signed, so that removed ones are missing."""
        for number in range(3):
            self.store.append([record(f"r{number}", number)])
        self.tamper_with_chain("DELETE FROM blocks WHERE number > 1", "DELETE FROM exchanges WHERE seq > 1")
        self.assertEqual(self.verify().findings, [])
        self.store.append([record("next", 5)])
        self.assertEqual(self.verify().findings, ["blocks are missing: 2 to 3"])

    def tamper_with_chain(self, *statements: str) -> None:
        """Change the file."""
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        for statement in statements:
            connection.execute(statement)
        connection.commit()

    def test_signatures_begin_and_end(self) -> None:
        """Records from before the first signature are counted; later ones without a signature are findings."""
        unsigned = open_store(self.path)
        self.addCleanup(unsigned.close)
        unsigned.append([record("a")])
        self.assertIsNone(unsigned.checkpoint)
        self.assertIn("no signatures", str(self.assertRaises(StoreError, self.verify)))
        self.store.append([record("b")])
        self.assertEqual((self.verify().findings, self.verify().unsigned), ([], 1))
        unsigned.append([record("c")])
        self.assertEqual(self.verify().findings, ["record c was inserted, or written without a signature"])

    def test_other_key(self) -> None:
        self.store.append([record("a")])
        self.assertEqual(self.verify(key=OTHER).faults, 2)

    def test_failed_batch(self) -> None:
        """A batch that is not stored adds no block."""
        self.assertRaises(OverflowError, self.store.append, [record("a", bytes_sent=1 << 70)])
        self.assertIsNone(self.store.checkpoint)
        self.store.append([record("b")])
        self.assertEqual((self.verify().findings, self.verify().verified), ([], 1))
