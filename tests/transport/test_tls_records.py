"""Tests for L{egress.transport.tls_records}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.transport.tls_records import MAX_RECORDS, Records


def record(kind: int, size: int) -> bytes:
    """A TLS record with content of a given length."""
    return bytes((kind, 3, 3, size >> 8, size & 255)) + b"x" * size


class RecordsTests(SynchronousTestCase):
    """Detection of reads that are exactly one record."""

    def test_table(self) -> None:
        one, empty, large = record(23, 300), record(23, 0), record(23, 16401)
        for reads, wanted in (
            ((one,), [True]),
            ((one, one, large), [True, True, True]),
            ((one + one,), [False]),
            ((one + one, one), [False, True]),
            ((one[:-1], one[-1:], one), [False, False, True]),
            ((one[:3], one[3:], one), [False, False, True]),
            ((one + one[:4], one[4:], one), [False, False, True]),
            ((one[:5], one[5:], one), [False, False, True]),
            ((one[:-1], one[-1:] + one, one), [False, False, True]),
            ((one[:1], one[1:2], one[2:], one), [False, False, False, True]),
            ((large[:9000], large[9000:] + one[:2], one[2:], one), [False, False, False, True]),
            # No record with content is this short.
            ((empty, one), [False, True]),
            ((one, b"", one), [True, False, True]),
        ):
            with self.subTest([len(read) for read in reads]):
                records = Records()
                self.assertEqual([records.is_single_record(read) for read in reads], wanted)

    @given(st.lists(st.integers(0, 700), max_size=12), st.lists(st.integers(1, 400)))
    def test_splits(self, sizes: list[int], cuts: list[int]) -> None:
        data = b"".join(record(23, size) for size in sizes)
        ends = {0}
        at = 0
        for size in sizes:
            at += 5 + size
            ends.add(at)
        records, at = Records(), 0
        for cut in [*cuts, len(data)]:
            read = data[at : at + cut]
            whole = records.is_single_record(read)
            if whole:
                self.assertTrue({at, at + len(read)} <= ends)
                self.assertFalse(any(at < end < at + len(read) for end in ends))
            at += len(read)

    def test_records_per_turn_are_limited(self) -> None:
        records, one = Records(), record(23, 20)
        data = one[7:] + one * (2 * MAX_RECORDS)
        self.assertFalse(records.is_single_record(one[:7]))
        self.assertFalse(records.is_single_record(data))
        self.assertEqual(records.taken, len(one) - 7 + MAX_RECORDS * len(one))
        self.assertFalse(records.is_single_record(data[records.taken :]))
        self.assertEqual(records.taken, MAX_RECORDS * len(one))
        self.assertTrue(records.is_single_record(one))
