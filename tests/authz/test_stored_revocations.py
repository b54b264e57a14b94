"""Tests for L{egress.authz.stored_revocations}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.authz import stored_revocations as module
from egress.authz.grant_register import MAX_SKEW
from egress.authz.stored_revocations import covers, in_force
from egress.model.approval import Grant
from egress.store.grant_rows import GrantRevocation, GrantsRead
from tests.store.grant_cases import NOW, grant, matching, revocation


class CoversTests(SynchronousTestCase):
    """A revocation covers earlier grants, as far as clocks can tell."""

    def test_single(self) -> None:
        self.assertTrue(covers(revocation(), grant()))
        self.assertFalse(covers(revocation("h"), grant()))

    def test_matching(self) -> None:
        self.assertTrue(covers(matching("rule", "rule"), grant()))
        self.assertFalse(covers(matching("rule", "other"), grant()))

    def test_time(self) -> None:
        late = grant(created=NOW + 1 + MAX_SKEW)
        self.assertTrue(covers(revocation(), late))
        self.assertFalse(covers(revocation(), grant(created=NOW + 1.1 + MAX_SKEW)))
        self.assertFalse(covers(revocation(), grant(created=NOW + 2, after=("r1",))))


class InForceTests(SynchronousTestCase):
    """The grants that no revocation covers."""

    def found(self, *revocations: GrantRevocation) -> list[str]:
        grants: list[Grant] = [grant("g"), grant("h"), grant("late", NOW + 100)]
        return [each.grant_id for each in in_force(GrantsRead(grants, revocations))]

    def test_found(self) -> None:
        self.assertEqual(self.found(), ["g", "h", "late"])
        self.assertEqual(self.found(revocation()), ["h", "late"])
        self.assertEqual(self.found(revocation(), matching("all", "", NOW + 2, "r2")), ["late"])
        self.assertEqual(self.found(matching("client", "other")), ["g", "h", "late"])

    def test_replaced(self) -> None:
        """An approver's later answer for the same scope replaces an earlier one, whichever ends first."""
        first, short, other = grant(), grant(created=NOW + 5, seconds=60), grant("h")
        for grants in ([first, short, other], [short, other, first]):
            found = in_force(GrantsRead(grants, []))
            self.assertEqual({each.grant_id: each for each in found}, {"g": short, "h": other})
            self.assertEqual(len(found), 2)

    def test_many(self) -> None:
        """Beyond the limit, the revocations that were not read could cover any earlier grant."""
        self.patch(module, "MAX_REVOCATIONS", 2)
        self.assertEqual(self.found(revocation("x", NOW + 5, "r1")), ["g", "h", "late"])
        self.assertEqual(self.found(revocation("x", NOW + 5, "r1"), revocation("x", NOW + 6, "r2")), ["late"])
