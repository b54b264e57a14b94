"""Tests for L{egress.store.postgresql_schema}; L{tests.integration.test_postgresql} has those of its results."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.store.postgresql_partitions import DELETE
from egress.store.postgresql_schema import ENCODED, INSERT, MIGRATIONS
from egress.store.row import INSERTED


class SchemaTests(SynchronousTestCase):
    """Statements and their placeholders."""

    def test_columns(self) -> None:
        """Each column of a row is in the table."""
        self.assertLess(set(INSERTED), set(ENCODED))
        for name in ENCODED:
            added = f"ALTER TABLE exchanges ADD COLUMN {name} "
            in_migrations = [each for migration in MIGRATIONS for each in migration if each.startswith(added)]
            self.assertEqual(len(in_migrations) + MIGRATIONS[0][0].count(f", {name} "), 1, name)

    def test_placeholders(self) -> None:
        self.assertEqual((INSERT.count("?"), DELETE.count("?")), (4, 2))
        self.assertFalse([each for migration in MIGRATIONS for each in migration if "?" in each])

    def test_collation(self) -> None:
        """The order of texts does not depend on the locale of the server."""
        for statement in (each for migration in MIGRATIONS for each in migration):
            columns = statement.lower().count(" text ") - statement.lower().count("node text ")
            self.assertEqual(columns, statement.count(' COLLATE "C"'), statement)
