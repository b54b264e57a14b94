"""Tests for L{benchmarks.rules}."""

from __future__ import annotations

import contextlib
import io

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import rules
from egress.policy.load import parse_policy


class RulesTests(SynchronousTestCase):
    """What is measured is what it is said to be."""

    def test_hosts(self) -> None:
        """Known and new hosts have rules, the last has none."""
        policy = parse_policy(rules.policy_text(30), "p.toml", "policy")
        self.assertEqual(len(policy.rules), 30)
        for host, allowed in (("h27.example.com", True), ("a.d28.example.net", True), ("x.example.org", False)):
            self.assertIs(policy.decide(rules.asked(host)).allowed, allowed, host)

    def test_table(self) -> None:
        self.patch(rules, "COUNTS", (10,))
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            rules.main(["--calls", "20"])
        head, _, row = out.getvalue().splitlines()
        self.assertEqual(head.count("|"), row.count("|"))
        self.assertTrue(row.startswith("| 10 |"))
