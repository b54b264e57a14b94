"""Steps of tests about the chain of an audit store, which are the same for each kind of database."""

from __future__ import annotations

from typing import Any

from egress.store.chain import Checkpoint
from tests.store.search_cases import T0, record


class RetentionCases:
    """The retention of a signed store: a part of test cases.

    @ivar store: the store, which C{setUp} creates; it is empty and signs its records.
    """

    store: Any
    verify: Any

    @property
    def case(self) -> Any:
        """The test case."""
        return self

    def store_and_delete(self) -> Checkpoint:
        """Store 2001 records, delete the older ones, and verify the rest; return the checkpoint before the deletion."""
        for start in range(0, 2000, 500):
            self.store.append([record(f"r{start + number}", start + number) for number in range(500)])
        self.store.append([record("late", 10)])
        before = self.store.checkpoint
        assert isinstance(before, Checkpoint)
        while self.store.prune(T0 + 1250, 1 << 40):
            pass
        found = self.verify(before)
        self.case.assertEqual((found.findings, found.verified, found.pruned), ([], 750, 251))
        return before

    def delete_all(self, before: Checkpoint, end: float, max_bytes: int) -> None:
        """Delete all records, verify the empty store, and store another record."""
        while self.store.prune(end, max_bytes):
            pass
        found = self.verify(before)
        self.case.assertEqual((found.findings, found.verified, found.last), ([], 0, None))
        self.store.append([record("again", 6000)])
        self.case.assertEqual((self.verify(before).findings, self.verify().verified), ([], 1))
