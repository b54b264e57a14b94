"""The tables of the chain of an audit store; see L{egress.store.chain}.

Several processes extend one chain: each of them does so in the transaction that stores its records, under the write
lock of the store.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from itertools import chain, islice
from typing import Any, Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from egress.store.chain import FIRST, Anchor, Block, Checkpoint, Signer, Stored, Verification, leaf_of, verify
from egress.store.columns import INSERTED
from egress.store.interfaces import StoreError

_NAME: Final = INSERTED.index("request_id")
# The maximum numbers of blocks that are deleted together, and that are read together: a block can have 40 KB.
_PRUNE_BLOCKS: Final = 1000
_READ_BLOCKS: Final = 50

RECORDS: Final = f"SELECT id, seq, {', '.join(INSERTED)} FROM exchanges ORDER BY seq"
"""The rows that L{stored_row} takes."""

INSERT_BLOCK: Final = (
    "INSERT INTO blocks (number, previous, first_seq, leaves, signature, digest) VALUES (?, ?, ?, ?, ?, ?)"
)
"""Stores a block; see L{block_values}."""


class ChainStore(Protocol):
    """A store with the tables of a chain, during a transaction."""

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Sequence[Any]]:
        """Return all rows of a query."""

    def stream(self, statement: str, values: Sequence[Any], size: int = 1000) -> Generator[Sequence[Any], None, None]:
        """Yield the rows of a query, of which C{size} are read together."""

    def write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each row."""


class SnapshotStore(ChainStore, Protocol):
    """A store whose chain can be verified."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Let queries see the same state."""


def leaf_of_row(row: Sequence[Any]) -> bytes:
    """Return the leaf of a record.

    @param row: the id, the C{seq} and the columns L{INSERTED}.
    """
    # A column of a later version is NULL in earlier records, and so does not change their digests.
    return leaf_of(row[0], {name: value for name, value in zip(INSERTED, row[2:], strict=True) if value is not None})


def stored_row(row: Sequence[Any]) -> Stored:
    """Return a record as its verification takes it; see L{leaf_of_row}."""
    return Stored(row[1], leaf_of_row(row), row[2 + _NAME])


def next_block(
    store: ChainStore,
    signer: Signer,
    head: Checkpoint | None,
    own: Checkpoint | None,
    *,
    first_seq: int,
    leaves: Iterable[bytes],
) -> Block:
    """Return the next block, which the transaction must store, and write the anchor before the first one.

    @param head: the last block of the store.
    @param own: the last block that this process has signed.  The new block follows it if the store ends before it: then
        the chain shows that blocks were removed, also without a checkpoint.
    @param first_seq: the C{seq} of the first record.
    @param leaves: the leaves of the records, in the order of C{seq}, without gaps.
    """
    if own is not None and (head is None or head.number < own.number):
        head = own
    if head is None:
        anchor = read_anchor(store)
        if anchor is None:
            anchor = signer.anchor(1, FIRST, -1, first_seq)
            _write_anchor(store, anchor)
        head = Checkpoint(anchor.number - 1, anchor.previous)
    return signer.block(head.number + 1, head.digest, first_seq, leaves)


def block_values(block: Block) -> tuple[Any, ...]:
    """Return the values of L{INSERT_BLOCK}."""
    return (block.number, block.previous, block.first_seq, block.leaves, block.signature, block.digest)


def extend(
    store: ChainStore, signer: Signer, rows: Sequence[Sequence[Any]], own: Checkpoint | None = None
) -> Checkpoint:
    """Add a block for records, in their transaction.

    @param rows: the id, the C{seq} and the columns L{INSERTED} of each record, in the order of C{seq}, without gaps.
    @param own: the last block that this process has signed.
    @return: the checkpoint of the block.
    """
    last = store.rows("SELECT number, digest FROM blocks ORDER BY number DESC LIMIT 1")
    head = Checkpoint(*last[0]) if last else None
    block = next_block(store, signer, head, own, first_seq=rows[0][1], leaves=map(leaf_of_row, rows))
    store.write(INSERT_BLOCK, [block_values(block)])
    return Checkpoint(block.number, block.digest)


def prune_chain(store: ChainStore, signer: Signer, last: int) -> bool:
    """Delete blocks of deleted records, and sign the anchor again, in the transaction that deletes the records.

    @param last: the id up to which records were deleted.
    @return: whether there can be more such blocks.
    """
    anchor = read_anchor(store)
    if anchor is None:
        return False
    before = anchor.number
    with closing(read_blocks(store)) as blocks:
        anchor = signer.advance(anchor, islice(blocks, _PRUNE_BLOCKS), last)
    if anchor is None:
        return False
    store.write("DELETE FROM blocks WHERE number < ?", [(anchor.number,)])
    _write_anchor(store, anchor)
    return anchor.number - before == _PRUNE_BLOCKS


def _write_anchor(store: ChainStore, anchor: Anchor) -> None:
    store.write("DELETE FROM anchor", [()])
    store.write(
        "INSERT INTO anchor (number, previous, pruned_id, begin_seq, signature) VALUES (?, ?, ?, ?, ?)",
        [(anchor.number, anchor.previous, anchor.pruned_id, anchor.begin_seq, anchor.signature)],
    )


def read_anchor(store: ChainStore) -> Anchor | None:
    """Return the anchor; C{None} if no record was signed."""
    rows = store.rows("SELECT number, previous, pruned_id, begin_seq, signature FROM anchor")
    return Anchor(*rows[0]) if rows else None


def read_blocks(store: ChainStore) -> Generator[Block, None, None]:
    """Yield the blocks, in the order of their numbers."""
    statement = "SELECT number, previous, first_seq, leaves, signature FROM blocks ORDER BY number"
    with closing(store.stream(statement, (), _READ_BLOCKS)) as rows:
        for row in rows:
            yield Block(*row)


def verify_chain(
    store: SnapshotStore,
    name: str,
    records: Iterable[Stored],
    keys: Sequence[Ed25519PublicKey],
    checkpoints: Sequence[Checkpoint] = (),
) -> Verification:
    """Compare the records of a store with their signatures.

    @param name: the location of the store, for errors.
    @param records: all records, in the order of C{seq}.
    @param keys: the public keys, of which one must have signed each block.
    @param checkpoints: blocks that existed earlier.
    @raise StoreError: if there are no signatures, and no checkpoint shows that there were.
    """
    with store.snapshot():
        anchor, blocks = read_anchor(store), read_blocks(store)
        first = next(blocks, None)
        if anchor is None and first is None and not checkpoints:
            raise StoreError(f"{name}: has no signatures: start the proxy with --audit-signing-key")
        rest = () if first is None else chain((first,), blocks)
        return verify(anchor, rest, records, keys=keys, checkpoints=checkpoints)
