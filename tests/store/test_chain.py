"""Tests for L{egress.store.chain}."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from egress.store import chain as module
from egress.store.chain import FIRST, Anchor, Block, Checkpoint, Signer, Stored, Verification, leaf_of, verify

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))


def stored(seq: int, value: Any = "x") -> Stored:
    return Stored(seq, leaf_of(seq * 10, {"value": value, "seq": seq}), f"r{seq}")


class Chain:
    """A chain, and its records.

    @param sizes: the number of records in each block.
    """

    def __init__(self, sizes: Sequence[int], signer: Signer | None = None) -> None:
        signer = signer or Signer(KEY)
        self.anchor = signer.anchor(1, FIRST, -1, 1)
        self.blocks: list[Block] = []
        self.records: list[Stored] = []
        previous, seq = FIRST, 1
        for number, size in enumerate(sizes, 1):
            records = [stored(each) for each in range(seq, seq + size)]
            block = signer.block(number, previous, seq, [record.leaf for record in records])
            self.blocks.append(block)
            self.records += records
            previous, seq = block.digest, seq + size

    def verify(self, *checkpoints: Checkpoint) -> Verification:
        keys = [KEY.public_key()]
        return verify(self.anchor, self.blocks, self.records, keys=keys, checkpoints=checkpoints)

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.blocks[-1].number, self.blocks[-1].digest)


_SIZES = some.lists(some.integers(1, 4), min_size=1, max_size=6)


class SignerTests(SynchronousTestCase):
    """L{Signer}."""

    def test_passed_to_another_process(self) -> None:
        signer = pickle.loads(pickle.dumps(Signer(KEY, [OTHER.public_key()])))
        self.assertEqual(signer.block(1, FIRST, 1, [b"leaf"]), Signer(KEY).block(1, FIRST, 1, [b"leaf"]))
        # The key of another proxy is trusted.
        anchor = Signer(OTHER).anchor(1, FIRST, -1, 1)
        self.assertIsNotNone(signer.advance(anchor, [], 1))


class VerifyTests(SynchronousTestCase):
    """Each kind of tampering is detected."""

    @given(_SIZES)
    def test_untouched(self, sizes: list[int]) -> None:
        chain = Chain(sizes)
        found = chain.verify(chain.checkpoint())
        self.assertEqual((found.findings, found.verified, found.last), ([], sum(sizes), chain.checkpoint()))

    @given(_SIZES, some.data())
    def test_changed(self, sizes: list[int], data: Any) -> None:
        chain = Chain(sizes)
        index = data.draw(some.integers(0, len(chain.records) - 1))
        chain.records[index] = stored(index + 1, "y")
        found = chain.verify()
        self.assertEqual(found.findings, [f"record r{index + 1} was changed"])
        self.assertEqual(found.verified, len(chain.records) - 1)

    @given(_SIZES, some.data())
    def test_removed(self, sizes: list[int], data: Any) -> None:
        chain = Chain(sizes)
        index = data.draw(some.integers(0, len(chain.records) - 1))
        del chain.records[index]
        (finding,) = chain.verify().findings
        self.assertRegex(finding, r"\Aa record of block \d+ was removed\Z")

    @given(_SIZES, some.data())
    def test_inserted(self, sizes: list[int], data: Any) -> None:
        chain = Chain(sizes)
        seq = data.draw(some.integers(1, len(chain.records) + 3))
        chain.records.insert(min(seq, len(chain.records)), attrs.evolve(stored(seq, "z"), name="new"))
        (finding,) = chain.verify().findings
        self.assertIn("record new was inserted", finding)

    @given(_SIZES, some.data())
    def test_removed_blocks(self, sizes: list[int], data: Any) -> None:
        """A block that is removed with its records leaves a gap; at the end, only a checkpoint shows it."""
        chain = Chain(sizes)
        before, index = chain.checkpoint(), data.draw(some.integers(0, len(sizes) - 1))
        block = chain.blocks.pop(index)
        seqs = range(block.first_seq, block.first_seq + block.records)
        chain.records = [record for record in chain.records if record.seq not in seqs]
        self.assertEqual(len(chain.verify().findings), 0 if index == len(sizes) - 1 else 1)
        self.assertEqual(len(chain.verify(before).findings), 1)

    @given(_SIZES, some.integers(0, 5), some.binary(min_size=32, max_size=32).filter(any))
    def test_forged_blocks(self, sizes: list[int], index: int, digest: bytes) -> None:
        """A block with other contents, or of another key, has no valid signature."""
        chain, forged = Chain(sizes), Chain(sizes, Signer(OTHER))
        index %= len(sizes)
        for block in (
            attrs.evolve(chain.blocks[index], previous=digest),
            attrs.evolve(chain.blocks[index], leaves=chain.blocks[index].leaves[:-32] + digest),
            attrs.evolve(chain.blocks[index], first_seq=chain.blocks[index].first_seq + 1),
            attrs.evolve(chain.blocks[index], signature=chain.anchor.signature),
        ):
            chain.blocks[index] = block
            self.assertIn(f"block {index + 1} is not signed by this key", chain.verify().findings)
        found = verify(forged.anchor, forged.blocks, forged.records, keys=[KEY.public_key()])
        self.assertEqual(found.faults, len(sizes) + 1)

    def test_several_keys(self) -> None:
        """A key can be replaced: an earlier one has signed earlier blocks."""
        chain = Chain([1, 1])
        chain.blocks[1] = Signer(OTHER).block(2, chain.blocks[0].digest, 2, [chain.records[1].leaf])
        self.assertEqual(chain.verify().findings, ["block 2 is not signed by this key"])
        keys = [OTHER.public_key(), KEY.public_key()]
        self.assertEqual(verify(chain.anchor, chain.blocks, chain.records, keys=keys).findings, [])

    def test_replaced_history(self) -> None:
        """A chain that the owner of the key wrote again does not contain an earlier checkpoint."""
        before = Chain([2, 2]).checkpoint()
        self.assertEqual(Chain([2, 1]).verify(before).findings, ["block 2 is not that of the checkpoint"])

    def test_wrong_order(self) -> None:
        chain = Chain([1, 1])
        chain.blocks[1] = Signer(KEY).block(2, bytes(32), 2, [chain.records[1].leaf])
        self.assertEqual(chain.verify().findings, ["block 2 does not follow the block before it"])

    def test_repeated_block(self) -> None:
        """A second block with the same number is reported, and not compared with records."""
        chain = Chain([1, 1])
        chain.blocks.insert(1, chain.blocks[0])
        self.assertEqual(chain.verify().findings, ["block 1 was inserted"])

    def test_removed_anchor(self) -> None:
        """The other findings do not depend on the anchor."""
        chain = Chain([2])
        found = verify(None, chain.blocks, chain.records, keys=[KEY.public_key()])
        self.assertEqual((found.findings, found.verified), (["the anchor of the chain was removed"], 2))
        found = verify(None, (), chain.records, keys=[KEY.public_key()], checkpoints=[chain.checkpoint()])
        self.assertEqual((found.faults, found.verified), (4, 0))

    def test_writers(self) -> None:
        """The result has the number of records of each writer, and findings name the writer."""
        chain = Chain([2, 2])
        chain.records = [attrs.evolve(record, writer=f"node-{index % 2}") for index, record in enumerate(chain.records)]
        chain.records[3] = attrs.evolve(chain.records[3], leaf=bytes(40))
        found = chain.verify()
        self.assertEqual(found.findings, ["record r4 of node-1 was changed"])
        self.assertEqual(found.writers, {"node-0": 2, "node-1": 1})

    def test_many_findings(self) -> None:
        self.patch(module, "_MAX_FINDINGS", 2)
        chain = Chain([5])
        chain.records.clear()
        found = chain.verify()
        self.assertEqual((len(found.findings), found.faults), (2, 5))


class AnchorTests(SynchronousTestCase):
    """Deleted old records are not removed ones."""

    def pruned(self, chain: Chain, last: int) -> None:
        """Delete records up to a C{seq}, and the blocks that have no other ones."""
        chain.records = [record for record in chain.records if record.seq > last]
        number, previous = 1, FIRST
        while chain.blocks and chain.blocks[0].first_seq + chain.blocks[0].records <= last + 1:
            block = chain.blocks.pop(0)
            number, previous = block.number + 1, block.digest
        chain.anchor = Signer(KEY).anchor(number, previous, last * 10, 1)

    def test_pruned(self) -> None:
        chain = Chain([3, 3, 3])
        self.pruned(chain, 4)
        found = chain.verify()
        self.assertEqual((found.findings, found.pruned, found.verified), ([], 1, 5))
        del chain.records[0]
        self.assertEqual(chain.verify().findings, ["a record of block 2 was removed"])

    def test_everything_pruned(self) -> None:
        chain = Chain([3])
        before = chain.checkpoint()
        self.pruned(chain, 3)
        self.assertEqual((chain.verify().findings, chain.verify().last), ([], None))
        self.assertEqual(chain.verify(before).findings, [])

    def test_advance(self) -> None:
        """Blocks are deleted when all of their records were deleted."""
        chain = Chain([3, 3, 3])
        before = chain.checkpoint()
        for last, number in ((-1, 1), (29, 1), (30, 2), (65, 3), (60, 3)):
            rest = chain.blocks[chain.anchor.number - 1 :]
            anchor = Signer(KEY).advance(chain.anchor, rest, last)
            assert anchor is not None
            self.assertEqual(anchor.number, number)
            chain.anchor = anchor
        self.assertEqual(chain.anchor.pruned_id, 65)
        chain.blocks = chain.blocks[2:]
        chain.records = [record for record in chain.records if record.seq > 6]
        self.assertEqual(chain.verify(before).findings, [])
        self.assertEqual(Block(1, FIRST, 1, b"").last_id, -1)

    def test_advance_after_tampering(self) -> None:
        """No anchor is signed that would hide a change: neither of the anchor nor of the blocks."""
        chain = Chain([3, 3])
        for anchor in (attrs.evolve(chain.anchor, pruned_id=1000), Signer(OTHER).anchor(1, FIRST, 1000, 1)):
            self.assertIsNone(Signer(KEY).advance(anchor, chain.blocks, 60))
        first = chain.blocks[0]
        for block in (
            attrs.evolve(first, leaves=first.leaves[:-40]),
            attrs.evolve(first, number=2),
            Signer(KEY).block(1, bytes(range(32)), 1, [first.leaf(0)]),
            Signer(OTHER).block(1, FIRST, 1, [first.leaf(0)]),
        ):
            advanced = Signer(KEY).advance(chain.anchor, [block, chain.blocks[1]], 60)
            assert advanced is not None
            self.assertEqual(advanced.number, 1)

    def test_advance_with_other_keys(self) -> None:
        """A proxy deletes the blocks of the proxies whose keys it trusts."""
        chain = Chain([3, 3], Signer(OTHER))
        self.assertIsNone(Signer(KEY).advance(chain.anchor, chain.blocks, 30))
        anchor = Signer(KEY, [OTHER.public_key()]).advance(chain.anchor, chain.blocks, 30)
        assert anchor is not None
        self.assertEqual(anchor.number, 2)

    def test_forged(self) -> None:
        """Nobody else can state that records were deleted because of their age."""
        chain = Chain([3])
        chain.records.pop()
        forged = attrs.evolve(chain.anchor, pruned_id=1000)
        for anchor in (forged, Signer(OTHER).anchor(1, FIRST, 1000, 1)):
            chain.anchor = anchor
            self.assertEqual(chain.verify().findings, ["the anchor of the chain is not signed by this key"])

    def test_before_the_chain(self) -> None:
        """Records from before the first signature are not verified."""
        chain = Chain([2])
        chain.anchor = Signer(KEY).anchor(1, FIRST, -1, 1)
        chain.records.insert(0, stored(0))
        found = chain.verify()
        self.assertEqual((found.findings, found.unsigned), ([], 1))

    def test_purposes(self) -> None:
        """The signature of an anchor is not that of a block."""
        self.assertNotEqual(Anchor(1, FIRST, 0, 0).digest, Block(1, FIRST, 0, b"").digest)


class LeafTests(SynchronousTestCase):
    """Leaves and checkpoints."""

    def test_values(self) -> None:
        """The digest never changes, because stored chains contain it."""
        self.assertEqual(
            leaf_of(1, {"b": None, "a": "\u00e9", "c": [1.5]}).hex(),
            "0000000000000001" + "e8fd0d6a240601cfc63074bee3fbad1d07af2b2bd7d982f4372e82add1a8e98a",
        )

    @given(some.dictionaries(some.text(), some.none() | some.integers() | some.text()))
    def test_order(self, document: dict[str, Any]) -> None:
        other = dict(reversed(document.items()))
        self.assertEqual(leaf_of(5, document), leaf_of(5, other))
        self.assertNotEqual(leaf_of(5, document), leaf_of(6, document))

    @given(some.integers(0, 10**17), some.binary(min_size=32, max_size=32))
    def test_checkpoints(self, number: int, digest: bytes) -> None:
        checkpoint = Checkpoint(number, digest)
        self.assertEqual(Checkpoint.parse(str(checkpoint)), checkpoint)

    def test_invalid_checkpoints(self) -> None:
        for text in ("", "1", "1:ab", "x:" + "a" * 64, "1:" + "g" * 64, "-1:" + "a" * 64, "9" * 19 + ":" + "a" * 64):
            with self.subTest(text):
                self.assertRaises(ValueError, Checkpoint.parse, text)
