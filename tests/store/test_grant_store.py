"""Tests for L{egress.store.grant_store}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.stored_revocations import covers, in_force
from egress.config.model import ConfigError, ProxyConfig
from egress.model.approval import Grant
from egress.store.grant_key import KEY_FILE
from egress.store.grant_rows import GrantSeals
from egress.store.grant_store import CHANGED, GrantStore, configured_grant_store
from egress.store.grant_table import add_revocations
from egress.store.interfaces import StoreError, StoreUnreachable
from tests.files import make_directory
from tests.store.grant_cases import NOW, SECRET, MemoryDatabase, grant, matching, revocation, store_of


class GrantStoreTests(SynchronousTestCase):
    """Grants and revocations in a database."""

    def setUp(self) -> None:
        self.database = MemoryDatabase()
        self.store = store_of(self.database)

    def current(self, store: GrantStore | None = None) -> list[Grant]:
        return in_force((store or self.store).read(NOW))

    def test_grants(self) -> None:
        """The columns are for people, and the proxy gets the same grant back."""
        self.store.write([grant(), grant("h", NOW + 1, by="", reason="")], [], NOW)
        self.assertEqual({each.grant_id: each for each in self.current()}["g"], grant())
        found = self.database.rows("SELECT id, created, until, approver, reason, revoked_at FROM grants ORDER BY id")
        self.assertEqual(found[0], ("g", NOW, NOW + 3600, "ann", "a release", None))
        self.assertEqual(self.current(store_of(self.database, b"t" * 32)), [])
        self.assertEqual(self.database.released, 3)

    def test_revoked(self) -> None:
        """In any order, also when the grant is written after its revocation."""
        self.assertEqual(self.store.write([grant()], [revocation()], NOW), {"g"})
        self.assertEqual(self.store.write([grant("h")], [], NOW), set())
        self.assertEqual(self.store.write([], [matching("rule", "rule", revocation_id="r2")], NOW), {"h"})
        self.assertEqual(self.store.write([grant("late")], [], NOW), set())
        self.assertEqual(self.current(), [])
        self.store.write([grant("later", NOW + 10), grant("knows", after=("r2",))], [], NOW)
        self.assertEqual(sorted(each.grant_id for each in self.current()), ["knows", "later"])
        # One that is written again changes nothing.
        self.assertEqual(self.store.write([], [revocation()], NOW), set())
        found = self.database.rows("SELECT id, revoked_by FROM grants WHERE revoked_at = ? ORDER BY id", (NOW + 1,))
        self.assertEqual(found, [("g", ""), ("h", "bob")])

    def test_unreachable(self) -> None:
        self.database.is_reached = False
        for call in (lambda: self.store.write([grant()], [], NOW), lambda: self.store.read(NOW)):
            self.assertRaises(StoreUnreachable, call)
        self.database.is_reached = True
        self.assertEqual(self.current(), [])

    def test_expired(self) -> None:
        self.store.write([grant(seconds=5)], [], NOW)
        self.assertEqual(self.store.read(NOW + 6).grants, [])
        self.store.write([grant("h", NOW + 100)], [], NOW + 100)
        self.assertEqual(self.database.rows("SELECT id FROM grants"), [("h",)])


class AttackerTests(SynchronousTestCase):
    """Someone can write to the tables, and does not have the key."""

    def setUp(self) -> None:
        self.database = MemoryDatabase()
        self.store = store_of(self.database)
        self.store.write([grant()], [], NOW)

    def run_sql(self, statement: str) -> None:
        self.database.write(statement, [()])

    def test_changed_grants(self) -> None:
        for column, value in (("until", "until + 9"), ("subject", "replace(subject, '/', '/x')"), ("approver", "''")):
            self.run_sql(f"UPDATE grants SET {column} = {value}")
            found = self.store.read(NOW)
            self.assertEqual((found.grants, found.changed), ([], 1), column)
            self.run_sql("DELETE FROM grants")
            self.store.write([grant()], [], NOW)

    def test_copied_grant(self) -> None:
        """A row of another fleet, or of an earlier grant with another time, is not valid here."""
        store_of(self.database, b"t" * 32).write([grant("other")], [], NOW)
        fleet = self.database.rows("SELECT fleet FROM grants WHERE id = 'g'")[0][0]
        self.run_sql(f"UPDATE grants SET fleet = '{fleet}'")
        self.run_sql(
            "INSERT INTO grants SELECT fleet, 'g2', created, until, subject, approver, reason, revocations, "
            "seal, NULL, '' FROM grants WHERE id = 'g'"
        )
        found = self.store.read(NOW)
        self.assertEqual((found.grants, found.changed), ([grant()], 2))

    def test_revoked_grant(self) -> None:
        """The note in the row of a grant does not decide, and neither does a second row."""
        self.store.write([], [revocation()], NOW)
        self.run_sql("UPDATE grants SET revoked_at = NULL")
        self.assertEqual(in_force(self.store.read(NOW)), [])

    def test_changed_revocation(self) -> None:
        """It is unknown what it revoked, so no stored grant applies."""
        for column, value in (("value", "'x'"), ("kind", "'client'"), ("revoked_at", "1.0"), ("author", "'x'")):
            self.store.write([], [revocation()], NOW)
            self.run_sql(f"UPDATE grant_revocations SET {column} = {value}")
            error = self.assertRaises(StoreError, self.store.read, NOW)
            self.assertEqual(str(error), f"{CHANGED}: r1")
            self.run_sql("DELETE FROM grant_revocations")

    def test_newer_kind(self) -> None:
        """A later version has written a revocation that this version does not know."""
        newer, seals = attrs.evolve(revocation(), kind="new"), GrantSeals(SECRET)
        add_revocations(self.database, seals.fleet, [(newer, seals.revocation_seal(newer))])
        self.assertRaises(StoreError, self.store.read, NOW)


class ConfiguredTests(SynchronousTestCase):
    """The store of a configuration connects when it is used."""

    def test_configured(self) -> None:
        directory = make_directory(self).absolute()
        config = ProxyConfig(audit_store="postgresql://user@127.0.0.1:1/audit", ca_dir=directory)
        self.assertIsInstance(configured_grant_store(config, covers), GrantStore)
        (directory / KEY_FILE).write_bytes(b"short")
        self.assertRaises(ConfigError, configured_grant_store, config, covers)
