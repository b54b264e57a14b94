"""Tests for L{egress.console.reads}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.console.reads import StoreReads
from egress.store.filter_language import Filter
from egress.store.interfaces import StoreError
from tests.console.browser import FakeStore, in_thread, record


class ReadsTests(SynchronousTestCase):
    """The store is opened by the first read, and closed once."""

    def test_search(self) -> None:
        store, opened = FakeStore([record(), record(requestId="b")]), []

        def connect() -> Any:
            opened.append(store)
            return store

        reads = StoreReads(connect, in_thread)
        self.assertEqual(opened, [])
        self.assertEqual(len(self.successResultOf(reads.search(Filter(), 1))), 1)
        self.assertEqual(len(self.successResultOf(reads.search(Filter(), 5))), 2)
        self.assertEqual(opened, [store])

    def test_a_store_that_cannot_be_opened(self) -> None:
        """The next read tries again."""
        outcomes: list[Any] = [StoreError("gone"), FakeStore()]

        def connect() -> Any:
            outcome = outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        reads = StoreReads(connect, in_thread)
        self.failureResultOf(reads.search(Filter(), 1), StoreError)
        self.assertEqual(self.successResultOf(reads.search(Filter(), 1)), [])

    def test_stop(self) -> None:
        closed: list[str] = []

        class Store(FakeStore):
            def statistics(self, given: Any, top: int) -> Any:
                return {"records": top}

            def close(self) -> None:
                closed.append("closed")

        connect: Any = Store
        reads = StoreReads(connect, in_thread)
        self.successResultOf(reads.stop())
        self.assertEqual(closed, [])
        self.assertEqual(self.successResultOf(reads.statistics(Filter(), 7)), {"records": 7})
        self.successResultOf(reads.stop())
        self.successResultOf(reads.stop())
        self.assertEqual(closed, ["closed"])
