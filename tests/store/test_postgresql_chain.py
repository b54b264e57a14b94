"""Tests for L{egress.store.postgresql_chain}; L{tests.integration.test_postgresql_chain} has those with a server."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.store.chain import Signer, Stored, verify
from egress.store.chain_table import INSERT_BLOCK, read_anchor, read_blocks
from egress.store.postgresql_chain import Origin, append_signed, line_digest, stored_row
from egress.store.postgresql_row import encode_row
from egress.store.postgresql_schema import INSERT_SIGNED, KNOWN, LOCK_CHAIN, SIGNED
from egress.store.schema import ID_BITS
from tests.store.search_cases import RECORDS, record
from tests.store.test_chain import KEY

ORIGIN = Origin("node-1", 2)


class FakeDatabase:
    """Has the tables in memory, for the few statements of a chain.

    @ivar exchanges: the rows that L{stored_row} takes, by request id.
    """

    def __init__(self) -> None:
        self.exchanges: dict[str, tuple[Any, ...]] = {}
        self.seq, self.head = 0, (None, None)
        self.blocks: list[tuple[Any, ...]] = []
        self.anchor: list[tuple[Any, ...]] = []

    @contextmanager
    def transaction(self) -> Generator[bool, None, None]:
        before = dict(self.exchanges), self.seq, self.head, list(self.blocks), list(self.anchor)
        try:
            yield True
        except BaseException:
            self.exchanges, self.seq, self.head, self.blocks, self.anchor = before
            raise

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Sequence[Any]]:
        if statement == LOCK_CHAIN:
            return [(self.seq, *self.head)]
        if statement == KNOWN:
            return [(name,) for name in values[0] if name in self.exchanges]
        if statement == INSERT_SIGNED:
            return [(self._insert(*values),)]
        assert "FROM anchor" in statement
        return list(self.anchor)

    def _insert(self, node: str, worker: int, document: str, *rest: Any) -> int:
        given = json.loads(document)
        *block, number, head, digest = rest
        assert number == len(given)
        added = 0
        for seq, row in enumerate(given, self.seq + 1):
            if row["request_id"] not in self.exchanges:
                added += 1
                key = (row["time_ms"] << ID_BITS) | seq
                values = (row.get(name) for name in SIGNED)
                self.exchanges[row["request_id"]] = (key, seq, row["request_id"], node, worker, *values)
        self.blocks.append(tuple(block))
        self.seq, self.head = self.seq + number, (head, digest)
        return added

    def stream(self, statement: str, values: Sequence[Any], size: int = 1000) -> Generator[Sequence[Any], None, None]:
        assert "FROM blocks" in statement
        yield from (block[:5] for block in self.blocks)

    def write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        assert statement != INSERT_BLOCK
        if statement.startswith("INSERT"):
            self.anchor = [tuple(row) for row in rows]

    def stored(self) -> list[Stored]:
        return sorted(map(stored_row, self.exchanges.values()), key=lambda each: each.seq)


class AppendTests(SynchronousTestCase):
    """Records are stored with their blocks."""

    def setUp(self) -> None:
        self.database = FakeDatabase()
        self.own: Any = None

    def append(self, *names: str) -> None:
        lines = [encode_row(record(name)) for name in names]
        self.own = append_signed(self.database, Signer(KEY), lines, ORIGIN, self.own)

    def verify(self) -> Any:
        anchor, blocks = read_anchor(self.database), read_blocks(self.database)
        return verify(anchor, blocks, self.database.stored(), keys=[KEY.public_key()])

    def test_append(self) -> None:
        self.append("a", "b")
        self.append("c")
        found = self.verify()
        self.assertEqual((found.findings, found.verified, found.last), ([], 3, self.own))
        self.assertEqual(found.writers, {"node-1 worker 2": 3})

    def test_stored_already(self) -> None:
        """A batch that is repeated gets a block only for the records that were not stored."""
        self.append("a", "b")
        before = self.own
        self.append("a", "b")
        self.assertEqual((self.own, len(self.database.blocks)), (before, 1))
        self.append("b", "c", "d", "c")
        found = self.verify()
        self.assertEqual((found.findings, found.verified, len(self.database.blocks)), ([], 4, 2))
        self.assertEqual(self.database.seq, 4)

    def test_invalid_line(self) -> None:
        """No block is added for an invalid line."""
        good = encode_row(record("a"))
        for line in (b"{}", b"\n", good.replace(b'{"time_ms":', b'{"x":'), good.replace(b'"words"', b'"x"')):
            self.assertRaises(ValueError, append_signed, self.database, Signer(KEY), [good, line], ORIGIN, None)
        negative = b'{"time_ms":-5,' + good.partition(b",")[2]
        self.assertRaises(OverflowError, append_signed, self.database, Signer(KEY), [negative], ORIGIN, None)
        self.assertEqual((self.database.blocks, self.database.anchor), ([], []))


class ContentTests(SynchronousTestCase):
    """The digest of a line is that of its row."""

    def test_all_columns(self) -> None:
        """A change of any signed column changes the digest."""
        for each in (*RECORDS, record("x", reason='a ,"words": b', url="http://h.test/\u00e9?,%22words%22:")):
            line = encode_row(each)
            row = json.loads(line)
            values = [row.get(name) for name in SIGNED]
            time_ms, digest = line_digest(line, ORIGIN)
            self.assertEqual(time_ms, row["time_ms"])
            self.assertEqual(stored_row((7, 1, each.request_id, "node-1", 2, *values)).leaf[8:], digest)
            for index, value in enumerate(values):
                other = "10.9.8.7" if SIGNED[index] == "client_inet" else 77 if value is None else f"{value}x"
                changed = (*values[:index], other, *values[index + 1 :])
                self.assertNotEqual(stored_row((7, 1, "", "node-1", 2, *changed)).leaf[8:], digest, SIGNED[index])
            for node, worker in (("node-2", 2), ("node-1", 3)):
                self.assertNotEqual(stored_row((7, 1, "", node, worker, *values)).leaf[8:], digest)

    def test_addresses(self) -> None:
        """The server writes some addresses in another form."""
        each = attrs.evolve(RECORDS[0], client=attrs.evolve(RECORDS[0].client, address="::ffff:10.0.0.1"))
        row = json.loads(encode_row(each))
        values = ["::ffff:10.0.0.1" if name == "client_inet" else row.get(name) for name in SIGNED]
        _, digest = line_digest(encode_row(each), ORIGIN)
        self.assertEqual(stored_row((7, 1, "x", "node-1", 2, *values)).leaf[8:], digest)

    def test_origins(self) -> None:
        self.assertEqual((str(Origin("a", 0)), str(Origin("a", 3))), ("a", "a worker 3"))
