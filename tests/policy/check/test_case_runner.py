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

MESSAGES = """version = 1
[[rules]]
name = "chat"
action = "allow"
[rules.messages]
default = "allow"
directions = ["client"]
[[rules.messages.rules]]
name = "words"
action = "deny"
reason = "mind your words"
text = ["no"]
[[test]]
request = "GET http://a.test/"
{}
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

    def test_messages(self) -> None:
        for more, passed, why in (
            ("message = 'no'\nexpect = 'deny'\nrule = 'chat/words'", True, ()),
            ("message = 'yes'\nexpect = 'allow'\nrule = 'chat/default'", True, ()),
            ("message = 'no'\nkind = 'sse'\nexpect = 'allow'", True, ()),
            (
                "message = 'yes'\nexpect = 'deny'",
                False,
                ("chat/words did not match because of 'text', at p.toml:8",),
            ),
            ("message = 'no'\nexpect = 'allow'", False, ("chat/words decided, at p.toml:8",)),
            (
                "message = 'no'\ndirection = 'origin'\nexpect = 'deny'",
                False,
                ("chat does not authorize messages of the origin, so the message passes",),
            ),
        ):
            policy = parse(MESSAGES.format(more))
            outcome = run_case(policy, policy.cases[0])
            self.assertEqual((outcome.passed, outcome.why), (passed, why), more)
        outcome = self.outcome("request = 'GET http://a.test/no'\nmessage = 'x'\nexpect = 'deny'\nrule = 'no'")
        self.assertTrue(outcome.passed)
        outcome = self.outcome("request = 'GET http://a.test/'\nmessage = 'x'\nexpect = 'allow'")
        self.assertTrue(outcome.passed)
        outcome = self.outcome("request = 'GET http://a.test/'\nmessage = 'x'\nexpect = 'deny'")
        self.assertEqual(outcome.why, ("reads has no [rules.messages], so the message passes",))

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
