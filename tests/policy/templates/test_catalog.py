"""Tests for L{egress.policy.templates.catalog}, and for the templates."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from egress.model.decision import Verdict
from egress.policy.check.case_runner import run_case
from egress.policy.check.unreachable import unreachable_rules
from egress.policy.parse.load import load_policy
from egress.policy.rules import RuleSet
from egress.policy.templates.catalog import load_template, parse_template, template_names
from tests.policy.policies import PolicyTestCase, request
from tests.policy.templates.client_requests import BY_TEMPLATE

DIRECTORY = Path(str(resources.files("egress.policy.templates")))


def policy_of(name: str) -> RuleSet:
    """Load a template as a policy file."""
    return load_policy(DIRECTORY / f"{name}.toml")


class TemplateTests(PolicyTestCase):
    """Each template is a policy that works, and that other policies can include."""

    def test_names(self) -> None:
        self.assertEqual(sorted(BY_TEMPLATE), list(template_names()))
        self.assertGreater(len(BY_TEMPLATE), 12)

    def test_policy_tests(self) -> None:
        """Each has tests for requests that it allows, and for near misses; all of them pass."""
        for name in template_names():
            with self.subTest(name):
                policy = policy_of(name)
                results = [run_case(policy, case) for case in policy.cases]
                self.assertEqual([result.case.where for result in results if not result.passed], [])
                self.assertIn(Verdict.DENY, {case.expect for case in policy.cases})
                if not load_template(name).only_denies:
                    self.assertIn(Verdict.ALLOW, {case.expect for case in policy.cases})
                self.assertEqual(list(unreachable_rules(policy.rules)), [])

    def test_client_requests(self) -> None:
        """A policy with only this template allows the requests of real clients, and denies near misses."""
        for name, requests in BY_TEMPLATE.items():
            policy = policy_of(name)
            for texts, expected in ((requests.allowed, Verdict.ALLOW), (requests.denied, Verdict.DENY)):
                for text in texts:
                    with self.subTest(f"{name}: {text}"):
                        self.assertIs(policy.decide(request(*text.split(" "))).verdict, expected)

    def test_least_privilege(self) -> None:
        """Allow rules name their hosts and methods, and allow no tunnels, so no request bypasses the conditions."""
        for name in template_names():
            for rule in policy_of(name).rules:
                with self.subTest(f"{name}: {rule.rule_id}"):
                    self.assertTrue(rule.hosts)
                    if rule.verdict is Verdict.ALLOW:
                        self.assertTrue(rule.methods)
                        self.assertNotIn("CONNECT", rule.methods or ())
                        self.assertTrue(rule.ports)

    def test_comments(self) -> None:
        """A comment says what the template allows: a summary that fits the list, an empty line, and the reasons."""
        for name in template_names():
            with self.subTest(name):
                template = load_template(name)
                self.assertTrue(template.summary.endswith("."))
                self.assertLess(len(template.summary), 105)
                self.assertEqual(template.comment[1], "")
                self.assertGreater(len(" ".join(template.comment[2:])), 40)


class ParseTests(PolicyTestCase):
    """L{parse_template}."""

    def test_parts(self) -> None:
        text = "# One.\n#\n# Two.\nversion = 1\ninclude = ['b.toml']\n\n[variables]\na = 'x'\n\n"
        rules = "[[rules]]\nname = 'a'\naction = 'deny'\n\n[[rules]]\nname = 'b'\naction = 'deny'\n"
        template = parse_template("a", text + rules)
        self.assertEqual((template.summary, template.comment), ("One.", ("One.", "", "Two.")))
        self.assertEqual((template.includes, template.variables), (("b",), {"a": "x"}))
        self.assertEqual((template.body, template.only_denies), (rules, True))
        self.assertFalse(parse_template("a", text + rules.replace("deny", "allow", 1)).only_denies)

    def test_only_includes(self) -> None:
        template = parse_template("a", "# One.\nversion = 1\ninclude = ['b.toml']")
        self.assertEqual((template.body, template.only_denies, template.variables), ("", False, {}))
        # Only comments.
        self.assertEqual(parse_template("a", "# One.").comment, ("One.",))
