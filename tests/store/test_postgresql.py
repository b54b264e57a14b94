"""Tests for L{egress.store.postgresql}, without a server; L{tests.integration.test_postgresql} has those with one."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.store.interfaces import IAuditStore, StoreError
from egress.store.postgresql import PostgresqlStore
from egress.store.postgresql_connection import Database


class PostgresqlStoreTests(SynchronousTestCase):
    """A store without a connection."""

    def setUp(self) -> None:
        self.store = PostgresqlStore(Database(url="postgresql://db.test/audit"))

    def test_interface(self) -> None:
        verifyObject(IAuditStore, self.store)

    def test_close(self) -> None:
        self.store.close()
        self.store.close()
        error = self.assertRaises(StoreError, self.store.last_seq)
        self.assertEqual(str(error), "postgresql://db.test/audit: is closed")
