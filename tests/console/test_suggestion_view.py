"""Tests for L{egress.console.suggestion_view}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.console.suggestion_view import SuggestionView
from tests.policy.audit import audit_line, read
from tests.policy.policies import parse


class SuggestionViewTests(SynchronousTestCase):
    """The suggested policy."""

    LINES = read(
        audit_line("GET", "https://a.test/x"),
        audit_line("GET", "https://a.test/y"),
        audit_line("GET", "https://b.test/", verdict="deny", outcome="denied"),
        audit_line("GET", "https://c.test/", outcome="name-not-resolved"),
    )

    def test_suggested(self) -> None:
        rules = parse("version = 1\n# nothing\n")
        view = SuggestionView.of(self.LINES, rules)
        self.assertEqual((view.requests, view.hosts, view.records), ("2 requests", "1 host", 4))
        self.assertTrue(parse(view.text).rules)
        assert view.difference is not None
        self.assertEqual((view.difference.changed, view.difference.requests), (2, 4))
        self.assertIn(("removed", "-# nothing"), [(line.kind, line.text) for line in view.diff.lines])

    def test_nothing(self) -> None:
        for lines in ([], self.LINES[2:]):
            view = SuggestionView.of(lines, parse("version = 1"))
            self.assertEqual((view.text, view.difference, view.diff.lines), ("", None, ()))

    def test_without_a_policy(self) -> None:
        view = SuggestionView.of(self.LINES, None)
        self.assertEqual((view.requests, view.difference), ("2 requests", None))
