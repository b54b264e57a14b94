"""Tests for L{egress.policy.check.case_runner}."""

from __future__ import annotations

from egress.policy.check.case_runner import CaseResult, run_case
from tests.policy.policies import PolicyTestCase, parse

POLICY = """version = 1
[[rules]]
name = "no"
action = "deny"
reason = "not there"
hosts = ["a.test"]
paths = ["/no"]
[[rules]]
name = "reads"
action = "allow"
hosts = ["a.test"]
methods = ["GET"]
[[rules]]
name = "others"
action = "allow"
hosts = ["b.test"]
[[test]]
"""


class RunCaseTests(PolicyTestCase):
    """Test cases of a policy pass, or report why they failed."""

    def outcome(self, text: str) -> CaseResult:
        policy = parse(POLICY + text)
        return run_case(policy, policy.cases[0])

    def test_passed(self) -> None:
        for text in (
            "request = 'GET http://a.test/'\nexpect = 'allow'",
            "request = 'GET http://a.test/'\nexpect = 'allow'\nrule = 'reads'",
            "request = 'GET http://c.test/'\nexpect = 'deny'\nrule = 'default'",
        ):
            outcome = self.outcome(text)
            self.assertTrue(outcome.passed)
            self.assertEqual(outcome.why, ())

    def test_failed(self) -> None:
        for text, why in (
            (
                "request = 'PUT http://a.test/'\nexpect = 'allow'\nrule = 'reads'",
                ("reads did not match because of 'methods', at p.toml:8",),
            ),
            # Without an expected rule, the rules for the host are listed.
            (
                "request = 'PUT http://a.test/'\nexpect = 'allow'",
                ("reads did not match because of 'methods', at p.toml:8",),
            ),
            (
                "request = 'GET http://c.test:8080/'\nexpect = 'allow'\n"
                "[[rules]]\nname = 'c'\naction = 'allow'\nhosts = ['c.test']\nports = [443]",
                ("c did not match because of 'ports', at p.toml:20",),
            ),
            (
                "request = 'GET http://a.test/no'\nexpect = 'allow'\nrule = 'reads'",
                ("reads comes after no, and was not evaluated", "no decided, at p.toml:2"),
            ),
            ("request = 'GET http://a.test/no'\nexpect = 'deny'\nrule = 'default'", ("no decided, at p.toml:2",)),
            # The expected rule with another verdict.
            ("request = 'GET http://a.test/'\nexpect = 'ask'\nrule = 'reads'", ("reads decided, at p.toml:8",)),
        ):
            with self.subTest(text):
                outcome = self.outcome(text)
                self.assertFalse(outcome.passed)
                self.assertEqual(outcome.why, why)
