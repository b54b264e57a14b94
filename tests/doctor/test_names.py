"""Tests for L{egress.doctor.names}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.doctor.names import NAMES, select


class SelectionTests(SynchronousTestCase):
    """The selection of checks."""

    def test_unique(self) -> None:
        self.assertEqual(len(NAMES), len(set(NAMES)))

    def test_select(self) -> None:
        self.assertEqual(select([], []), set(NAMES))
        self.assertEqual(select(["java", "ca"], []), {"java", "ca"})
        self.assertEqual(select([], ["direct"]), set(NAMES) - {"direct"})
        self.assertEqual(select(["java", "ca"], ["ca"]), {"java"})
        self.assertEqual(select(["python"], ["httpx"]), {"aiohttp", "requests", "urllib"})

    def test_unknown(self) -> None:
        for only, skip in ((["jave"], []), ([], ["jave"])):
            self.assertEqual(self.assertRaises(KeyError, select, only, skip).args, ("jave",))
