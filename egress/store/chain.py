"""A chain of signed blocks, which shows whether stored audit records were changed, removed or inserted.

Each transaction that stores records writes one block.  The block has a leaf for each record, which is the id and the
digest of the record, and the digest of the block before it.  An Ed25519 key signs the digest of each block.  All
processes that write to a store extend one chain, so that no writer's records can be removed as a whole.

When old records are deleted, the anchor is signed again: it has the id up to which records were deleted, and the first
block that remains.  So deleted records and blocks are distinguished from removed ones.  A process signs a new anchor
only if trusted keys have signed the old one and each block that it deletes.  Otherwise, the retention would sign the
changes of someone else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

FIRST: Final = bytes(32)
"""The digest in place of that of the block before the first one."""

LEAF_BYTES: Final = 40
"""The length of a leaf."""

_ID_BYTES: Final = 8
# A signature for one purpose is not valid for the other.
_BLOCK: Final = b"egressproxy audit block 1\0"
_ANCHOR: Final = b"egressproxy audit anchor 1\0"
_MAX_FINDINGS: Final = 100

_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


def leaf_of(record_id: int, document: Mapping[str, Any]) -> bytes:
    """Return the leaf of a record.

    @param record_id: its id, which is not negative.
    @param document: its values, as JSON has them.
    """
    return leaf_of_digest(record_id, sha256(_encode(document).encode("ascii")).digest())


def leaf_of_digest(record_id: int, digest: bytes) -> bytes:
    """Return the leaf of a record.

    @param record_id: its id, which is not negative.
    @param digest: the digest of its values.
    @raise OverflowError: if the id is negative, or too large.
    """
    return record_id.to_bytes(_ID_BYTES, "big") + digest


@attrs.frozen
class Block:
    """A block of the chain.

    @ivar number: its number; the first block has 1.
    @ivar previous: the digest of the block before it.
    @ivar first_seq: the C{seq} of its first record.
    @ivar leaves: the leaves of its records, in the order of C{seq}, without gaps.
    @ivar signature: the signature of its digest.
    """

    number: int
    previous: bytes
    first_seq: int
    leaves: bytes
    signature: bytes = b""

    @property
    def digest(self) -> bytes:
        """The digest, which the next block contains."""
        numbers = self.number.to_bytes(8, "big") + self.first_seq.to_bytes(8, "big")
        return sha256(_BLOCK + numbers + self.previous + self.leaves).digest()

    @property
    def records(self) -> int:
        """The number of its records."""
        return len(self.leaves) // LEAF_BYTES

    def leaf(self, index: int) -> bytes:
        """Return one of the leaves."""
        return self.leaves[index * LEAF_BYTES : (index + 1) * LEAF_BYTES]

    @property
    def last_id(self) -> int:
        """The highest id of its records; -1 without records."""
        starts = range(0, len(self.leaves), LEAF_BYTES)
        return max((int.from_bytes(self.leaves[start : start + _ID_BYTES], "big") for start in starts), default=-1)


@attrs.frozen
class Anchor:
    """The beginning of the chain.

    @ivar number: the number of the first block that remains.
    @ivar previous: the digest of the block before it.
    @ivar pruned_id: the id up to which records were deleted because of their age or the size of the store; -1: none.
    @ivar begin_seq: the C{seq} of the first record that was signed.
    @ivar signature: the signature.
    """

    number: int
    previous: bytes
    pruned_id: int
    begin_seq: int
    signature: bytes = b""

    @property
    def digest(self) -> bytes:
        """The signed digest."""
        numbers = b"".join(
            value.to_bytes(8, "big", signed=True) for value in (self.number, self.pruned_id, self.begin_seq)
        )
        return sha256(_ANCHOR + numbers + self.previous).digest()


class Signer:
    """Signs blocks and anchors.

    @param key: the private key.
    @param trusted: the public keys of other proxies, and of earlier keys, whose blocks this one can delete when their
        records were deleted.
    """

    def __init__(self, key: Ed25519PrivateKey, trusted: Sequence[Ed25519PublicKey] = ()) -> None:
        self._key = key
        self._trusted = (key.public_key(), *trusted)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let C{pickle} pass the keys to another process."""
        return _signer, (self._key.private_bytes_raw(), [each.public_bytes_raw() for each in self._trusted[1:]])

    def block(self, number: int, previous: bytes, first_seq: int, leaves: Iterable[bytes]) -> Block:
        """Return a signed block."""
        block = Block(number, previous, first_seq, b"".join(leaves))
        return attrs.evolve(block, signature=self._key.sign(_BLOCK + block.digest))

    def anchor(self, number: int, previous: bytes, pruned_id: int, begin_seq: int) -> Anchor:
        """Return a signed anchor."""
        anchor = Anchor(number, previous, pruned_id, begin_seq)
        return attrs.evolve(anchor, signature=self._key.sign(_ANCHOR + anchor.digest))

    def advance(self, anchor: Anchor, blocks: Iterable[Block], last: int) -> Anchor | None:
        """Return the anchor after a deletion of records.

        @param anchor: the current anchor.
        @param blocks: the first blocks that remain, in the order of their numbers.
        @param last: the id up to which records were deleted.
        @return: the new anchor; C{None} if no trusted key has signed the current one.
        """
        if not _is_signed(_ANCHOR + anchor.digest, anchor.signature, self._trusted):
            return None
        number, previous = anchor.number, anchor.previous
        for block in blocks:
            digest = block.digest
            follows = (block.number, block.previous) == (number, previous)
            if block.last_id > last or not follows or not _is_signed(_BLOCK + digest, block.signature, self._trusted):
                break
            number, previous = number + 1, digest
        return self.anchor(number, previous, max(anchor.pruned_id, last), anchor.begin_seq)


@attrs.frozen
class Checkpoint:
    """A block that existed: its number and its digest."""

    number: int
    digest: bytes

    def __str__(self) -> str:
        """Return the text that L{Checkpoint.parse} accepts."""
        return f"{self.number}:{self.digest.hex()}"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Parse a checkpoint.

        @raise ValueError: if it is invalid.
        """
        number, _, digest = text.strip().partition(":")
        if not (number.isascii() and number.isdigit() and len(number) <= 18 and len(digest) == 64):
            raise ValueError("write a checkpoint as the log has it: NUMBER:DIGEST")
        return cls(int(number), bytes.fromhex(digest))


@attrs.frozen
class Stored:
    """A stored record.

    @ivar seq: its number in the order of writing.
    @ivar leaf: its leaf, computed from its values now.
    @ivar name: its request id, for findings.
    @ivar writer: the process that wrote it; empty if the store does not have it.
    """

    seq: int
    leaf: bytes
    name: str
    writer: str = ""

    def __str__(self) -> str:
        """Return how findings name it."""
        return f"{self.name} of {self.writer}" if self.writer else self.name


@attrs.define
class Verification:
    """The result of a verification.

    @ivar findings: the changes, removals and insertions; at most 100.
    @ivar faults: the number of all findings.
    @ivar verified: the number of records with the signed values.
    @ivar pruned: the number of records of the chain that were deleted because of their age or the size of the store.
    @ivar unsigned: the number of records from before the first signature.
    @ivar last: the checkpoint of the last block.
    @ivar writers: the number of records with the signed values by writer, if the store has writers.
    """

    findings: list[str] = attrs.field(factory=list)
    faults: int = 0
    verified: int = 0
    pruned: int = 0
    unsigned: int = 0
    last: Checkpoint | None = None
    writers: dict[str, int] = attrs.field(factory=dict)

    def add_verified(self, record: Stored) -> None:
        """Count a record with the signed values."""
        self.verified += 1
        if record.writer:
            self.writers[record.writer] = self.writers.get(record.writer, 0) + 1

    def add(self, finding: str) -> None:
        """Add a finding."""
        self.faults += 1
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append(finding)


def verify(
    anchor: Anchor | None,
    blocks: Iterable[Block],
    records: Iterable[Stored],
    *,
    keys: Sequence[Ed25519PublicKey],
    checkpoints: Sequence[Checkpoint] = (),
) -> Verification:
    """Compare stored records with their chain.

    @param anchor: the anchor; C{None} if the store has none, although there are blocks or checkpoints.
    @param blocks: the blocks, in the order of their numbers.
    @param records: all records, in the order of C{seq}.
    @param keys: the public keys, of which one must have signed each block and the anchor.
    @param checkpoints: blocks that existed earlier.
    """
    result = Verification()
    if anchor is None:
        result.add("the anchor of the chain was removed")
        anchor = Anchor(1, FIRST, -1, 0)
    elif not _is_signed(_ANCHOR + anchor.digest, anchor.signature, keys):
        result.add("the anchor of the chain is not signed by this key")
    known = {checkpoint.number: checkpoint for checkpoint in checkpoints}
    rest = _Records(records)
    expected, previous = anchor.number, anchor.previous
    for block in blocks:
        if block.number < expected:
            result.add(f"block {block.number} was inserted")
            continue
        if block.number > expected:
            result.add(f"blocks are missing: {expected} to {block.number - 1}")
        elif block.previous != previous:
            result.add(f"block {block.number} does not follow the block before it")
        digest = block.digest
        if not _is_signed(_BLOCK + digest, block.signature, keys):
            result.add(f"block {block.number} is not signed by this key")
        checkpoint = known.get(block.number)
        if checkpoint is not None and checkpoint.digest != digest:
            result.add(f"block {block.number} is not that of the checkpoint")
        _compare(block, rest, anchor, result)
        expected, previous = block.number + 1, digest
        result.last = Checkpoint(block.number, digest)
    for record in rest.before(None):
        _extra(record, anchor, result)
    for checkpoint in known.values():
        if checkpoint.number >= expected:
            result.add(f"the store ends before the checkpoint: blocks {expected} to {checkpoint.number} are missing")
    return result


class _Records:
    """Records that are read in their order."""

    def __init__(self, records: Iterable[Stored]) -> None:
        self._records = iter(records)
        self._next = next(self._records, None)

    def before(self, seq: int | None) -> Iterator[Stored]:
        """Yield the next records with a lower number; C{None}: all."""
        while self._next is not None and (seq is None or self._next.seq < seq):
            record, self._next = self._next, next(self._records, None)
            yield record


def _compare(block: Block, rest: _Records, anchor: Anchor, result: Verification) -> None:
    """Compare the records of a block."""
    for record in rest.before(block.first_seq):
        _extra(record, anchor, result)
    found: dict[int, Stored] = {}
    for record in rest.before(block.first_seq + block.records):
        if record.seq in found:
            result.add(f"record {record} was inserted")
        found.setdefault(record.seq, record)
    for index in range(block.records):
        leaf, stored = block.leaf(index), found.get(block.first_seq + index)
        if stored is not None and stored.leaf == leaf:
            result.add_verified(stored)
        elif stored is not None:
            result.add(f"record {stored} was changed")
        elif int.from_bytes(leaf[:_ID_BYTES], "big") <= anchor.pruned_id:
            result.pruned += 1
        else:
            result.add(f"a record of block {block.number} was removed")


def _extra(record: Stored, anchor: Anchor, result: Verification) -> None:
    """Count a record that is in no block."""
    if record.seq < anchor.begin_seq:
        result.unsigned += 1
    else:
        result.add(f"record {record} was inserted, or written without a signature")


def _signer(key: bytes, trusted: Sequence[bytes]) -> Signer:
    return Signer(
        Ed25519PrivateKey.from_private_bytes(key), [Ed25519PublicKey.from_public_bytes(each) for each in trusted]
    )


def _is_signed(data: bytes, signature: bytes, keys: Sequence[Ed25519PublicKey]) -> bool:
    for key in keys:
        try:
            key.verify(signature, data)
        except InvalidSignature:
            continue
        return True
    return False
