"""Tests for L{egress.console.difference_view}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.console.difference_view import DifferenceView
from egress.policy.learn.policy_difference import compare_policies
from tests.policy.audit import audit_line, read
from tests.policy.policies import parse

OLD = parse("version = 1")
NEW = parse('version = 1\n[[rules]]\nname = "all"\naction = "allow"\n')


class DifferenceViewTests(SynchronousTestCase):
    """The requests whose verdict differs."""

    def test_rows(self) -> None:
        lines = read(*(audit_line("GET", "http://a.test/?q=1", identity="ann") for _ in range(2)))
        view = DifferenceView.of(compare_policies(OLD, NEW, lines))
        (row,) = view.rows
        self.assertEqual((row.count, row.method, row.url, row.client), (2, "GET", "http://a.test/?q=1", "ann"))
        self.assertEqual((row.before, row.before_kind, row.before_rule), ("deny", "bad", "default"))
        self.assertEqual((row.after, row.after_kind, row.after_rule), ("allow", "good", "all"))
        self.assertEqual((view.requests, view.changed, view.unknown, view.more), (2, 2, 0, 0))

    def test_bounds(self) -> None:
        lines = read(*(audit_line("GET", f"http://a.test/{number}") for number in range(60)))
        view = DifferenceView.of(compare_policies(OLD, NEW, lines))
        self.assertEqual((len(view.rows), view.more, view.changed), (50, 10, 60))
        self.assertEqual(view.rows[0].client, "127.0.0.1")
