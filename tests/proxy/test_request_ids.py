"""Tests for L{egress.proxy.request_ids}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.proxy.request_ids import RequestIds


class RequestIdsTests(SynchronousTestCase):
    """Ids are unique, also beyond one block of random data."""

    def test_unique(self) -> None:
        ids = RequestIds()
        found = [ids.new() for _ in range(1000)]
        self.assertEqual(len(set(found)), 1000)
        self.assertEqual({len(each) for each in found}, {24})
        self.assertTrue(all(bytes.fromhex(each) for each in found))
