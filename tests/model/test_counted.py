"""Tests for L{egress.model.counted}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.counted import counted


class CountedTests(SynchronousTestCase):
    """A number with its noun."""

    def test_counted(self) -> None:
        for number, expected in ((0, "0 requests"), (1, "1 request"), (2, "2 requests"), (1000, "1,000 requests")):
            self.assertEqual(counted(number, "request"), expected)
