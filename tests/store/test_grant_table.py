"""Tests for L{egress.store.grant_table}; L{tests.integration.test_stored_grants} has those with PostgreSQL."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.approval import LONGEST
from egress.store import grant_table as module
from egress.store.grant_rows import GrantSeals
from egress.store.grant_table import (
    add_grants,
    add_revocations,
    delete_expired,
    end_grants,
    stored_grants,
    stored_revocations,
)
from tests.store.grant_cases import NOW, SECRET, MemoryDatabase, grant, revocation

SEALS = GrantSeals(SECRET)


class TableTests(SynchronousTestCase):
    """The rows of one fleet and of another one."""

    def setUp(self) -> None:
        self.database = MemoryDatabase()

    def names(self, fleet: str = "f", now: float = NOW) -> list[str]:
        return [row.grant_id for row in stored_grants(self.database, fleet, now)]

    def test_grants(self) -> None:
        """The one that expires first is the last one; a row that is there remains."""
        rows = [SEALS.grant_row(grant(name, seconds=seconds)) for name, seconds in (("a", 10), ("b", 30), ("c", 20))]
        add_grants(self.database, "f", rows)
        add_grants(self.database, "f", rows[:1])
        add_grants(self.database, "other", rows[:1])
        self.assertEqual(self.names(), ["b", "c", "a"])
        self.assertEqual(self.names("other"), ["a"])
        self.assertEqual(self.names(now=NOW + 15), ["b", "c"])
        self.assertEqual(stored_grants(self.database, "f", NOW)[0], rows[1])
        self.patch(module, "MAX_GRANTS", 1)
        self.assertEqual(self.names(), ["b"])

    def test_replaced(self) -> None:
        """A grant that was replaced does not apply again when the later one has expired, in any order of writing."""
        first, short = SEALS.grant_row(grant("a")), SEALS.grant_row(grant("a", NOW + 5, 60))
        for rows in ([first, short], [short, first]):
            for row in rows:
                add_grants(self.database, "f", [row])
            add_grants(self.database, "other", [first])
            self.assertEqual(stored_grants(self.database, "f", NOW), [short])
            self.assertEqual(self.names(now=NOW + 70), [])
            self.assertEqual(self.names("other"), ["a"])
            self.database.write("DELETE FROM grants", [()])

    def test_long_subject(self) -> None:
        """No one can let the proxies read a row of any size."""
        row = SEALS.grant_row(grant())
        add_grants(self.database, "f", [row])
        self.database.write("UPDATE grants SET subject = ?", [("x" * 300_000,)])
        self.assertEqual(self.names(), [])

    def test_ended(self) -> None:
        """A person who reads the table sees who revoked a grant, and when."""
        rows = [SEALS.grant_row(grant("a")), SEALS.grant_row(grant("b"))]
        add_grants(self.database, "f", rows)
        end_grants(self.database, "f", [("a", NOW)], revocation("a", NOW + 2))
        end_grants(self.database, "f", [("a", NOW)], revocation("a", NOW + 3))
        self.assertEqual(self.names(), ["b"])
        found = self.database.rows("SELECT revoked_at, revoked_by FROM grants WHERE revoked_at IS NOT NULL")
        self.assertEqual(found, [(NOW + 2, "")])

    def test_revocations(self) -> None:
        """The oldest first; only the newest ones are read."""
        made = [revocation("a", NOW + time, str(time)) for time in (3, 1, 2)]
        rows = [(each, SEALS.revocation_seal(each)) for each in made]
        add_revocations(self.database, "f", rows)
        add_revocations(self.database, "f", rows[:1])
        add_revocations(self.database, "other", rows[:1])
        self.assertEqual(stored_revocations(self.database, "f"), [rows[1], rows[2], rows[0]])
        self.patch(module, "MAX_REVOCATIONS", 2)
        self.assertEqual(stored_revocations(self.database, "f"), [rows[2], rows[0]])

    def test_expired(self) -> None:
        """A revocation remains for as long as a grant that it covers."""
        add_grants(self.database, "f", [SEALS.grant_row(grant("a", seconds=100)), SEALS.grant_row(grant("b"))])
        add_revocations(self.database, "f", [(revocation(), "seal")])
        delete_expired(self.database, NOW + 170)
        self.assertEqual(self.names(now=0), ["b"])
        delete_expired(self.database, NOW + LONGEST)
        self.assertEqual(self.names(now=0), [])
        self.assertEqual(len(stored_revocations(self.database, "f")), 1)
        delete_expired(self.database, NOW + LONGEST + 70)
        self.assertEqual(stored_revocations(self.database, "f"), [])
