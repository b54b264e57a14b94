"""Tests for L{egress.policy.learn.policy_difference}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.learn.policy_difference import compare_policies
from tests.policy.audit import audit_line, read
from tests.policy.policies import parse

OLD = 'version = 1\n[[rules]]\nname = "a"\naction = "allow"\nhosts = ["a.test"]\n'
NEW = OLD + '[[rules]]\nname = "b"\naction = "allow"\nhosts = ["b.test"]\n'


class DifferenceTests(SynchronousTestCase):
    """The requests for which a changed policy decides differently."""

    def test_verdicts(self) -> None:
        """Only the two policies are compared; what the proxy decided at that time does not matter."""
        lines = read(
            *(audit_line("GET", "http://b.test/x", verdict="deny") for _ in range(3)),
            audit_line("GET", "http://b.test/y", verdict="allow"),
            audit_line("GET", "http://a.test/", verdict="deny"),
            audit_line("GET", "http://c.test/", verdict="unavailable"),
        )
        found = compare_policies(parse(OLD), parse(NEW), lines)
        self.assertEqual((found.requests, found.changed, found.unknown), (5, 4, 0))
        self.assertEqual(
            [(one.recorded.url, one.count, one.before.verdict, one.after.rule_id) for one in found.different],
            [("http://b.test/x", 3, "deny", "b"), ("http://b.test/y", 1, "deny", "b")],
        )
        self.assertEqual(compare_policies(parse(OLD), parse(OLD), lines).different, ())

    def test_unknown(self) -> None:
        """A record has no header fields."""
        new = OLD + '[[rules]]\naction = "allow"\nheaders = { "x" = "y" }\n'
        found = compare_policies(parse(OLD), parse(new), read(audit_line("GET", "http://b.test/")))
        self.assertEqual((found.requests, found.changed, found.unknown), (1, 0, 1))
