"""Tests for L{egress.store.policy_history}; L{tests.integration.test_postgresql} has those with PostgreSQL."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.store.sqlite import SqliteStore, open_store
from tests.files import make_directory
from tests.store.history_cases import HistoryCases


class HistoryTests(HistoryCases, SynchronousTestCase):
    """The history in SQLite."""

    def setUp(self) -> None:
        self.path = make_directory(self) / "audit.db"
        self.store = self.open()

    def open(self) -> SqliteStore:
        store = open_store(self.path)
        self.addCleanup(store.close)
        return store
