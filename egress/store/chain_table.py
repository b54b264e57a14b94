"""The tables of the chain of an audit store in SQLite; see L{egress.store.chain}.

Several processes extend one chain: each of them does so in the transaction that stores its records, under the write
lock of the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from egress.store.chain import FIRST, LEAF_BYTES, Anchor, Block, Checkpoint, Signer, Stored, leaf_of
from egress.store.columns import INSERTED
from egress.store.row import document_of

# The columns of a row that only filters use.
_DERIVED: Final = ("client_address", "host", "path")
_ID_BYTES: Final = 8
_NAME: Final = INSERTED.index("request_id")
_RECORDS: Final = f"SELECT id, seq, {', '.join(INSERTED)} FROM exchanges ORDER BY seq"

assert INSERTED[1 : 1 + len(_DERIVED)] == _DERIVED


def leaf_of_row(row: Sequence[Any]) -> bytes:
    """Return the leaf of a record.

    @param row: the id, the C{seq} and the columns L{INSERTED}.
    """
    time_ms, *values = row[2:]
    derived = dict(zip(_DERIVED, values, strict=False))
    document: Mapping[str, Any] = document_of((time_ms, *values[len(_DERIVED) :]))
    return leaf_of(row[0], {**document, **derived})


def extend(connection: sqlite3.Connection, signer: Signer, rows: Sequence[Sequence[Any]]) -> Checkpoint:
    """Add a block for records, in their transaction.

    @param rows: the id, the C{seq} and the columns L{INSERTED} of each record, in the order of C{seq}, without gaps.
    @return: the checkpoint of the block.
    """
    last = connection.execute("SELECT number, digest FROM blocks ORDER BY number DESC LIMIT 1").fetchone()
    first_seq = rows[0][1]
    if last is None:
        anchor = read_anchor(connection)
        if anchor is None:
            anchor = signer.anchor(1, FIRST, -1, first_seq)
            _write_anchor(connection, anchor)
        number, previous = anchor.number, anchor.previous
    else:
        number, previous = last[0] + 1, last[1]
    block = signer.block(number, previous, first_seq, map(leaf_of_row, rows))
    connection.execute(
        "INSERT INTO blocks (number, previous, first_seq, leaves, signature, digest) VALUES (?, ?, ?, ?, ?, ?)",
        (number, previous, first_seq, block.leaves, block.signature, block.digest),
    )
    return Checkpoint(number, block.digest)


def prune_chain(connection: sqlite3.Connection, signer: Signer, last: int) -> None:
    """Delete the blocks of deleted records, and sign the anchor again, in the transaction that deletes the records.

    @param last: the id up to which records were deleted.
    """
    anchor = read_anchor(connection)
    if anchor is None:
        return
    number, previous = anchor.number, anchor.previous
    for block, digest in connection.execute("SELECT number, digest FROM blocks ORDER BY number").fetchall():
        (leaves,) = connection.execute("SELECT leaves FROM blocks WHERE number = ?", (block,)).fetchone()
        if max(_ids(leaves), default=0) > last:
            break
        number, previous = block + 1, digest
    connection.execute("DELETE FROM blocks WHERE number < ?", (number,))
    _write_anchor(connection, signer.anchor(number, previous, max(anchor.pruned_id, last), anchor.begin_seq))


def _ids(leaves: bytes) -> Iterator[int]:
    for start in range(0, len(leaves), LEAF_BYTES):
        yield int.from_bytes(leaves[start : start + _ID_BYTES], "big")


def _write_anchor(connection: sqlite3.Connection, anchor: Anchor) -> None:
    connection.execute("DELETE FROM anchor")
    connection.execute(
        "INSERT INTO anchor (number, previous, pruned_id, begin_seq, signature) VALUES (?, ?, ?, ?, ?)",
        (anchor.number, anchor.previous, anchor.pruned_id, anchor.begin_seq, anchor.signature),
    )


def read_anchor(connection: sqlite3.Connection) -> Anchor | None:
    """Return the anchor; C{None} if no record was signed."""
    row = connection.execute("SELECT number, previous, pruned_id, begin_seq, signature FROM anchor").fetchone()
    return None if row is None else Anchor(*row)


def read_blocks(connection: sqlite3.Connection) -> Iterator[Block]:
    """Yield the blocks, in the order of their numbers."""
    rows = connection.execute("SELECT number, previous, first_seq, leaves, signature FROM blocks ORDER BY number")
    return (Block(*row) for row in rows)


def read_records(connection: sqlite3.Connection) -> Iterable[Stored]:
    """Yield all records, in the order of C{seq}."""
    rows = connection.execute(_RECORDS)
    return (Stored(row[1], leaf_of_row(row), row[2 + _NAME]) for row in rows)
