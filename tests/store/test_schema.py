"""Tests for L{egress.store.schema}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.store.schema import first_id, id_at


class IdTests(SynchronousTestCase):
    """Ids are in the order of time."""

    def test_order(self) -> None:
        self.assertLess(first_id(1), first_id(2))
        self.assertEqual(id_at(1.5), first_id(1500))

    def test_ends(self) -> None:
        """Times beyond the range of ids are its ends."""
        self.assertEqual(id_at(-1.0), 0)
        self.assertEqual(id_at(1e12), (1 << 63) - 1)
