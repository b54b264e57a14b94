"""Tests for L{egress.policy.rule}; L{tests.policy.test_rules} tests whole policies."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.rule import Rule
from tests.policy.policies import parse, request


class RuleTests(SynchronousTestCase):
    """A single L{Rule}."""

    def rule(self, text: str) -> Rule:
        """Return the only rule of a policy."""
        (rule,) = parse(f"version = 1\n[[rules]]\naction = 'allow'\n{text}").rules
        return rule

    def test_equal_sets_are_shared(self) -> None:
        """Rules with equal sets of methods or ports share one set, to save memory."""
        one, other = (self.rule("methods = ['GET', 'PUT']\nports = [80, 8080]") for _ in range(2))
        self.assertIs(one.methods, other.methods)
        self.assertIs(one.ports, other.ports)

    def test_reason_from_text(self) -> None:
        """A plain text is accepted as a reason."""
        rule = Rule("r", self.rule("").verdict, "why")
        self.assertEqual(rule.reason.text(request("GET", "http://a.test/"), "r"), "why")

    def test_stable_without_times(self) -> None:
        """The result of a rule without time windows never changes."""
        self.assertEqual(self.rule("ports = [80]").stable_for(0.0), float("inf"))
        self.assertLess(self.rule("times = ['mon-fri 09:00-17:00']").stable_for(0.0), float("inf"))
