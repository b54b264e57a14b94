"""Tests for L{egress.authz.private_addresses}."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import attrs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.authz.policy_authorizer import PolicyAuthorizer
from egress.authz.private_addresses import RULE, PrivateAddresses
from egress.interfaces import IAuthorizer
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Stage, Verdict
from egress.policy.parse.load import parse_policy
from egress.policy.rules import RuleSet

ALLOW = parse_policy('version = 1\n[[rules]]\nid = "all"\naction = "allow"\n', "test", "policy test")


class PrivateAddressesTests(SynchronousTestCase):
    """Private addresses are denied, if the policy says so and the addresses are known."""

    def decide(
        self,
        *addresses: str,
        host: str = "example.com",
        blocks: bool = True,
        rules: RuleSet = ALLOW,
        withheld: bool = False,
    ) -> Decision:
        allow = (ip_network("10.1.0.0/16"),)
        authorizer = PrivateAddresses(PolicyAuthorizer(rules), lambda: blocks, allow, lambda: "v1")
        verifyObject(IAuthorizer, authorizer)
        found = tuple(map(ip_address, addresses)) or None
        origin = Origin("https", Authority(host, 443))
        client = ClientIdentity("192.0.2.1", 1)
        request = DecisionRequest("id", Stage.REQUEST, "GET", origin, "/", (), client, addresses=found)
        request = attrs.evolve(request, addresses_withheld=withheld)
        decision: Decision = self.successResultOf(authorizer.decide(request))
        return decision

    def test_denied(self) -> None:
        for addresses, host in (
            (("10.0.0.1",), "example.com"),
            (("1.1.1.1", "192.168.0.1"), "example.com"),
            (("::ffff:10.0.0.1",), "example.com"),
            ((), "10.0.0.1"),
            # If the host is an address, the addresses in the request do not matter.
            (("1.1.1.1",), "10.0.0.1"),
        ):
            with self.subTest(addresses, host=host):
                decision = self.decide(*addresses, host=host)
                self.assertEqual((decision.verdict, decision.rule_id), (Verdict.DENY, RULE))
                self.assertEqual((decision.decided_by, decision.policy_version), ("policy test", "v1"))
                self.assertTrue(decision.enforce_in_observe)
                self.assertIn("private address", decision.reason)

    def test_cache_key(self) -> None:
        """A decision on public addresses is no decision on others, to which the name may resolve later."""
        for text, expected in (
            ("ttl = 60\ndefault = 'allow'", ("addresses", "method")),
            (
                "ttl = 60\n[[rules]]\naction = 'allow'\nmethods = ['GET']\naddresses = ['public']",
                ("addresses", "method"),
            ),
            ("default = 'allow'", None),
        ):
            with self.subTest(text):
                rules = parse_policy(f"version = 1\n{text}", "test", "policy test")
                self.assertEqual(self.decide("1.1.1.1", rules=rules).cache_key, expected)
        rules = parse_policy("version = 1\nttl = 60\ndefault = 'allow'", "test", "policy test")
        self.assertEqual(self.decide("1.1.1.1", rules=rules, blocks=False).cache_key, ("method",))

    def test_addresses_are_needed_unless_denied_by_name(self) -> None:
        deny = parse_policy("version = 1\ndefault = 'deny'", "test", "policy test")
        ask = parse_policy("version = 1\n[[rules]]\naction = 'ask'\nreason = 'x'", "test", "policy test")
        json = parse_policy("version = 1\n[[rules]]\naction = 'allow'\njson = { a = 1 }", "test", "policy test")
        for rules, blocks, expected in (
            (ALLOW, True, Verdict.NEED_ADDRESSES),
            (ask, True, Verdict.NEED_ADDRESSES),
            (deny, True, Verdict.DENY),
            (ALLOW, False, Verdict.ALLOW),
            (json, True, Verdict.DENY),
        ):
            with self.subTest(rules.rules, blocks=blocks):
                decision = self.decide(blocks=blocks, rules=rules, withheld=True)
                self.assertIs(decision.verdict, expected)
                self.assertEqual(decision.rule_id == RULE, expected is Verdict.NEED_ADDRESSES)

    def test_other_requests_pass(self) -> None:
        for decision in (
            self.decide(),
            self.decide("1.1.1.1"),
            self.decide("10.1.2.3"),
            self.decide("10.0.0.1", blocks=False),
            self.decide(host="10.1.2.3"),
        ):
            self.assertEqual(decision.rule_id, "all")
