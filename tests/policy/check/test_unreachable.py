"""Tests for L{egress.policy.check.unreachable}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.policy.check.unreachable import unreachable_rules
from egress.policy.match.hosts import compile_host
from tests.policy.policies import parse

_PATTERNS = (
    *("a.test", "b.a.test", "*.a.test", "*.test", "a.test:80", "*.a.test:80", "b.a.test:81", "*", "single-label"),
    *("private", "10.0.0.1", "10.0.0.1:80", "10.0.0.0/8", "re:a.*", "10.0.0.1:81"),
)
_HOSTS = ("a.test", "b.a.test", "c.b.a.test", "x.test", "db", "10.0.0.1", "10.0.0.2", "8.8.8.8")


def covered(*rules: str) -> list[tuple[str, str]]:
    """Return the unreachable rules, each with the rule that decides in its place."""
    text = "".join(f'[[rules]]\naction = "allow"\n{rule}\n' for rule in rules)
    return [(rule.rule_id, other.rule_id) for rule, other in unreachable_rules(parse(f"version = 1\n{text}").rules)]


class UnreachableTests(SynchronousTestCase):
    """The detection of unreachable rules."""

    def test_covered(self) -> None:
        for first, second in (
            ("", "hosts = ['a.test']\npaths = ['/x']"),
            ("hosts = ['*']", ""),
            ("hosts = ['a.test', '*.a.test']", "hosts = ['a.test', 'b.c.a.test']\nmethods = ['GET']"),
            ("hosts = ['*.test']", "hosts = ['*.a.test']"),
            ("hosts = ['*.a.test']", "hosts = ['*.a.test:80']"),
            ("hosts = ['10.0.0.0/8']", "hosts = ['10.0.0.0/8']"),
            ("hosts = ['10.0.0.1']", "hosts = ['10.0.0.1:80']"),
            ("hosts = ['re:a']", "hosts = ['re:a']"),
        ):
            with self.subTest((first, second)):
                self.assertEqual(covered(first, second), [("rule-2", "rule-1")])

    def test_not_covered(self) -> None:
        for first, second in (
            ("hosts = ['a.test']", ""),
            ("hosts = ['a.test']", "hosts = ['a.test', 'b.test']"),
            ("hosts = ['*.a.test']", "hosts = ['a.test']"),
            ("hosts = ['a.test']", "hosts = ['*.a.test']"),
            ("hosts = ['a.test:80']", "hosts = ['a.test']"),
            ("hosts = ['private']", "hosts = ['10.0.0.0/8']"),
            *(
                (f"hosts = ['a.test']\n{line}", "hosts = ['a.test']")
                for line in (
                    "ports = [80]",
                    "ports = ['80-81']",
                    "schemes = ['http']",
                    "methods = ['GET']",
                    "paths = ['/**']",
                    "clients = ['*']",
                )
            ),
        ):
            with self.subTest((first, second)):
                self.assertEqual(covered(first, second), [])

    @given(st.lists(st.lists(st.sampled_from(_PATTERNS), min_size=1, max_size=3), max_size=5))
    def test_certain(self, lists: list[list[str]]) -> None:
        """For every host of an unreachable rule, an earlier rule matches."""
        tests = [tuple(map(compile_host, patterns)) for patterns in lists]
        for rule_id, _ in covered(*(f"hosts = {patterns!r}" for patterns in lists)):
            position = int(rule_id.removeprefix("rule-")) - 1
            for host in _HOSTS:
                for port in (80, 81):
                    authority = Authority(host, port)
                    if any(test(authority) for test in tests[position]):
                        before = (test for one in tests[:position] for test in one)
                        self.assertTrue(any(test(authority) for test in before), (host, port))
