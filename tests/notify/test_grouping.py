"""Tests for L{egress.notify.grouping}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.notify.grouping import MAX_GROUPS, Grouping


class GroupingTests(SynchronousTestCase):
    """Repeated events are few reports, and each event is part of exactly one."""

    def setUp(self) -> None:
        self.grouping = Grouping(60.0, 2, 3)

    def test_first_and_summary(self) -> None:
        self.assertIsNone(self.grouping.due)
        self.assertTrue(self.grouping.add("a", {"n": 1}, 1, 100.0))
        self.assertEqual(self.grouping.due, 160.0)
        for n in range(2, 6):
            self.assertFalse(self.grouping.add("a", {"n": n}, 10, 100.0 + n))
        summary = self.grouping.flush(160.0)
        assert summary is not None
        (group,) = summary.groups
        self.assertEqual((group.count, group.data, summary.count, summary.since), (40, {"n": 5}, 40, 100.0))

    def test_a_group_ends(self) -> None:
        """A group without events for an interval is forgotten, and its next event is reported immediately."""
        self.grouping.add("a", {}, 1, 100.0)
        self.assertIsNone(self.grouping.flush(160.0))
        self.assertEqual(self.grouping.due, 220.0)
        self.assertFalse(self.grouping.add("a", {}, 1, 170.0))
        summary = self.grouping.flush(220.0)
        assert summary is not None
        self.assertEqual((summary.count, summary.since, self.grouping.due), (1, 160.0, 280.0))
        self.assertIsNone(self.grouping.flush(280.0))
        self.assertIsNone(self.grouping.due)
        self.assertTrue(self.grouping.add("a", {}, 1, 300.0))

    def test_many_groups(self) -> None:
        """Of many groups, a few are reported immediately, and the largest ones are listed."""
        reported = [self.grouping.add(n, {"n": n}, n + 1, 100.0) for n in range(6)]
        self.assertEqual(reported, [True, True, False, False, False, False])
        self.grouping.add(0, {"n": 0}, 1, 101.0)
        summary = self.grouping.flush(160.0)
        assert summary is not None
        self.assertEqual([(group.data["n"], group.count) for group in summary.groups], [(5, 6), (4, 5), (3, 4)])
        self.assertEqual((summary.count, summary.total), (3 + 4 + 5 + 6 + 1, 5))
        # The next interval has first events again.
        self.assertTrue(self.grouping.add("new", {}, 1, 161.0))

    def test_limit(self) -> None:
        """The number of groups is limited; events of further groups are counted together."""
        total = MAX_GROUPS + 500
        reported = sum(self.grouping.add(n, {}, 1, 100.0) for n in range(total))
        self.assertEqual(reported, 2)
        summary = self.grouping.flush(160.0)
        assert summary is not None
        self.assertEqual((summary.count, summary.total, len(summary.groups)), (total - 2, MAX_GROUPS - 2, 3))

    def test_a_first_beyond_the_limit(self) -> None:
        for n in range(MAX_GROUPS):
            self.grouping.add(n, {}, 1, 100.0)
        self.grouping.flush(160.0)
        for n in range(MAX_GROUPS):
            self.grouping.add(n, {}, 1, 170.0)
        self.assertTrue(self.grouping.add("new", {}, 7, 171.0))
        summary = self.grouping.flush(220.0)
        assert summary is not None
        self.assertEqual(summary.count, MAX_GROUPS)

    def test_a_summary_does_not_change(self) -> None:
        self.grouping.add("a", {}, 1, 100.0)
        self.grouping.add("a", {}, 1, 101.0)
        summary = self.grouping.flush(160.0)
        assert summary is not None
        self.grouping.add("a", {"new": 1}, 5, 161.0)
        self.assertEqual((summary.groups[0].count, summary.groups[0].data), (1, {}))
