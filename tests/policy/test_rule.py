"""Tests for L{egress.policy.rule}; L{tests.policy.test_rules} has those of whole policies."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.rule import Rule
from tests.policy.policies import parse, request


class RuleTests(SynchronousTestCase):
    """L{Rule}."""

    def rule(self, text: str) -> Rule:
        """The one rule of a policy."""
        (rule,) = parse(f"version = 1\n[[rules]]\naction = 'allow'\n{text}").rules
        return rule

    def test_equal_sets_are_shared(self) -> None:
        """Thousands of rules keep each set of methods or ports once."""
        one, other = (self.rule("methods = ['GET', 'PUT']\nports = [80, 8080]") for _ in range(2))
        self.assertIs(one.methods, other.methods)
        self.assertIs(one.ports, other.ports)

    def test_reason_from_text(self) -> None:
        """A plain text is a reason."""
        rule = Rule("r", self.rule("").verdict, "why")
        self.assertEqual(rule.reason.text(request("GET", "http://a.test/"), "r"), "why")

    def test_stable_without_times(self) -> None:
        """A rule without a time of the week always says the same."""
        self.assertEqual(self.rule("ports = [80]").stable_for(0.0), float("inf"))
        self.assertLess(self.rule("times = ['mon-fri 09:00-17:00']").stable_for(0.0), float("inf"))
