"""Tests for L{egress.store.sql_store}, with SQLite; L{tests.integration.test_postgresql} has those with PostgreSQL."""

from __future__ import annotations

from tests.store.search_cases import SearchCases
from tests.store.test_sqlite import StoreTestCase


class SqliteSearchTests(SearchCases, StoreTestCase):
    """Searches in SQLite."""

    def test_redacted(self) -> None:
        """No part of the file contains a secret of a URL."""
        for path in self.path.parent.iterdir():
            self.assertNotIn(b"hunter2", path.read_bytes())
