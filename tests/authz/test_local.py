"""Tests for L{egress.authz.local}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.authz.local import LocalAuthorizer
from egress.interfaces import IAuthorizer
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, DecisionRequest, Stage, Verdict
from egress.policy.load import load_starter, parse_policy
from egress.policy.rules import Rule, RuleSet


class LocalAuthorizerTests(SynchronousTestCase):
    """Rules as an authorizer."""

    def test_interface(self) -> None:
        verifyObject(IAuthorizer, LocalAuthorizer(load_starter()))

    def test_name(self) -> None:
        authorizer = LocalAuthorizer(load_starter())
        self.assertEqual(authorizer.name, "policy starter")
        self.assertFalse(authorizer.needs_body)

    def test_decides_at_once(self) -> None:
        rules = RuleSet("policy test", (Rule("gets", Verdict.ALLOW, "a read", methods=frozenset({"GET"})),))
        authorizer = LocalAuthorizer(rules)
        origin = Origin("https", Authority("example.com", 443))
        for method, allowed in (("GET", True), ("POST", False)):
            with self.subTest(method):
                request = DecisionRequest(
                    "id", Stage.REQUEST, method, origin, "/", (), ClientIdentity("192.0.2.1", 1234)
                )
                decision = self.successResultOf(authorizer.decide(request))
                self.assertEqual(decision, rules.decide(request))
                self.assertIs(decision.allowed, allowed)

    def test_time(self) -> None:
        """The clock is looked at for each question."""
        times = iter([1772442000.0, 1772482000.0])  # nine and twenty o'clock
        rules = parse_policy(
            'version = 1\n[[rules]]\naction = "allow"\ntimes = ["08:00-18:00"]', "policy.toml", "policy test"
        )
        authorizer = LocalAuthorizer(rules, lambda: next(times))
        origin = Origin("https", Authority("example.com", 443))
        request = DecisionRequest("id", Stage.REQUEST, "GET", origin, "/", (), ClientIdentity("192.0.2.1", 1234))
        self.assertTrue(self.successResultOf(authorizer.decide(request)).allowed)
        self.assertFalse(self.successResultOf(authorizer.decide(request)).allowed)

    def test_other_rules(self) -> None:
        authorizer = LocalAuthorizer(load_starter())
        authorizer.use(RuleSet("policy test", (Rule("all", Verdict.ALLOW, "everything"),)))
        self.assertEqual(authorizer.name, "policy test")
        origin = Origin("https", Authority("example.com", 443))
        request = DecisionRequest("id", Stage.REQUEST, "PUT", origin, "/", (), ClientIdentity("192.0.2.1", 1234))
        self.assertEqual(self.successResultOf(authorizer.decide(request)).rule_id, "all")

    def test_always_ready(self) -> None:
        authorizer = LocalAuthorizer(load_starter())
        self.assertIsNone(self.successResultOf(authorizer.check_ready()))
        self.assertIsNone(self.successResultOf(authorizer.close()))
