"""Tests for L{egress.store.rollups}; L{tests.store.destination_cases} has those of its statements."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from egress.store.rollups import HOUR, SHORT, ranges_of

NOW = 1_700_002_800.0
END = 1 << 62


class RangesTests(SynchronousTestCase):
    """Time ranges are hours, with short periods at their ends."""

    def test_ranges(self) -> None:
        now = int(NOW)
        for since, until, expected in (
            (None, None, [(HOUR, 0, END)]),
            (now - 2 * HOUR, None, [(HOUR, now - 2 * HOUR, END)]),
            (now - 2 * HOUR + 310, None, [(SHORT, now - 2 * HOUR + 300, now - HOUR), (HOUR, now - HOUR, END)]),
            (now - 301, now - 299, [(SHORT, now - 600, now)]),
            (
                now - HOUR - 300,
                now + 1,
                [(SHORT, now - HOUR - 300, now - HOUR), (HOUR, now - HOUR, now), (SHORT, now, now + 300)],
            ),
            # Rows of short periods from long ago do not exist.
            (now - 90 * HOUR + 10, now - 89 * HOUR + 10, [(HOUR, now - 90 * HOUR, now - 88 * HOUR)]),
            (now, now - HOUR, []),
            (None, now - 30, [(HOUR, 0, now)]),
        ):
            with self.subTest(since=since, until=until):
                self.assertEqual(ranges_of(since, until, NOW), expected)

    @given(some.integers(0, 100 * HOUR), some.integers(0, 100 * HOUR))
    def test_complete(self, since: int, until: int) -> None:
        """The parts adjoin, and contain the range."""
        low, high = NOW - since, NOW - until
        found = ranges_of(low, high, NOW)
        if low < high:
            self.assertLessEqual(found[0][1], low)
            self.assertGreaterEqual(found[-1][2], high)
        for one, other in pairwise(found):
            self.assertEqual(one[2], other[1])
        for period, begin, end in found:
            self.assertEqual((begin % period, end % period), (0, 0))
