"""Tests for L{egress.store.grant_rows}."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.model.revocation import RevocationKind
from egress.store.grant_rows import GrantRevocation, GrantRow, GrantSeals, InvalidRow
from tests.store.grant_cases import NOW, SECRET, grant, matching, revocation

SEALS = GrantSeals(SECRET)
OTHER = GrantSeals(b"t" * 32)


class GrantRowTests(SynchronousTestCase):
    """Only a holder of the key can make the row of a grant, or change it."""

    def test_same(self) -> None:
        for made in (grant(), grant(after=("r1", "r2"), by="", reason="r\xe9sum\xe9"), grant(created=5, seconds=10)):
            self.assertEqual(SEALS.grant(SEALS.grant_row(made)), made)

    def test_changed(self) -> None:
        """Someone without the key extends a grant, widens it, or moves a seal."""
        row = SEALS.grant_row(grant())
        other = SEALS.grant_row(grant("h", NOW + 1, subject=attrs.evolve(grant().subject, path="/other")))
        changes: list[dict[str, Any]] = [
            {"until": row.until + 1},
            {"created": row.created + 1},
            {"grant_id": "h"},
            {"subject": other.subject},
            {"approver": "bob"},
            {"reason": ""},
            {"revocations": '["r1"]'},
            {"seal": other.seal},
            {"seal": ""},
            {"seal": "\ud800"},
            {"subject": "not JSON"},
        ]
        self.assertEqual(set().union(*changes), set(attrs.fields_dict(GrantRow)))
        for change in changes:
            with self.assertRaises(InvalidRow, msg=str(change)):
                SEALS.grant(attrs.evolve(row, **change))

    def test_other_key(self) -> None:
        with self.assertRaises(InvalidRow):
            OTHER.grant(SEALS.grant_row(grant()))
        self.assertNotEqual(OTHER.fleet, SEALS.fleet)
        self.assertEqual(GrantSeals(SECRET).fleet, SEALS.fleet)


class RevocationRowTests(SynchronousTestCase):
    """The same for a revocation."""

    def test_kinds(self) -> None:
        self.assertIsNone(revocation().matching)
        found = matching("client", "agent-7").matching
        assert found is not None
        self.assertEqual((found.kind, found.value, found.author), (RevocationKind.CLIENT, "agent-7", "bob"))
        everything = GrantRevocation.until(5.0, "r").matching
        assert everything is not None
        self.assertTrue(everything.matches_grant(grant().subject))
        with self.assertRaises(ValueError):
            attrs.evolve(revocation(), kind="new").matching  # noqa: B018 - it raises

    def test_changed(self) -> None:
        made = matching("client", "agent-7")
        seal = SEALS.revocation_seal(made)
        SEALS.check_revocation(made, seal)
        changes: list[tuple[str, Any]] = [
            ("value", "x"),
            ("time", 1.0),
            ("kind", "host"),
            ("author", ""),
            ("revocation_id", "r2"),
        ]
        for name, value in changes:
            with self.assertRaises(InvalidRow, msg=name):
                SEALS.check_revocation(attrs.evolve(made, **{name: value}), seal)
        for invalid in (OTHER.revocation_seal(made), SEALS.grant_row(grant()).seal, ""):
            with self.assertRaises(InvalidRow):
                SEALS.check_revocation(made, invalid)
