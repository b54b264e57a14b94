"""Tests for L{benchmarks.rules}."""

from __future__ import annotations

import contextlib
import io

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import rules
from egress.policy.parse.load import parse_policy
from tests.threads import ThreadlessReactor, at_once


class RulesTests(SynchronousTestCase):
    """The benchmark measures what it claims to measure."""

    def test_hosts(self) -> None:
        """Known and new hosts have rules, the last one has no rule."""
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

    def test_hostless(self) -> None:
        """All of these rules are evaluated, and only the last one matches."""
        for kind, path in (("paths", "/v9/x"), ("one rule", "/v9/x"), ("re:", "/")):
            policy = parse_policy(rules.hostless_text(10, kind), "p.toml", "policy")
            host = "h9-1.example.com" if kind == "re:" else "www.example.org"
            asked = attrs.evolve(rules.asked(host), path=path)
            self.assertTrue(policy.decide(asked).allowed, kind)
            self.assertFalse(policy.decide(rules.asked("www.example.org")).allowed, kind)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            rules.main(["--hostless", "--calls", "1"])
        self.assertEqual(len(out.getvalue().splitlines()), 7)

    def test_stalls(self) -> None:
        """Parsing in the reactor thread blocks everything else; the clock here does not advance meanwhile."""
        at_once(self)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            reactor = ThreadlessReactor()
            done = Deferred.fromCoroutine(rules.stalls(reactor, 3))
            for _ in range(2000):
                reactor.advance(0.001)
        self.successResultOf(done)
        self.assertEqual(len(out.getvalue().splitlines()), 6)
