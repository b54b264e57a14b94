"""Tests for L{egress.model.revocation}."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.model.approval import GrantScope
from egress.model.authority import Authority
from egress.model.decision import ClientIdentity
from egress.model.revocation import InvalidRevocation, Revocation, RevocationCounts, RevocationKind

CLIENT = ClientIdentity("192.0.2.1", 40000, "agent-7")
HOST = Authority("api.example.com", 443)
SCOPE = GrantScope("request", "GET", "https://api.example.com", "/", "192.0.2.1", "agent-7", "r1")


def parse(document: object) -> Revocation:
    return Revocation.parse(document, time=5.0, revocation_id="rev-1")


def revocation(kind: str, value: str = "") -> Revocation:
    return Revocation(RevocationKind(kind), value, 5.0, "alice", "rev-1")


class ParseTests(SynchronousTestCase):
    """The JSON of an administrator."""

    def refuse(self, document: object, words: str) -> None:
        self.assertIn(words, str(self.assertRaises(InvalidRevocation, parse, document)))

    def test_valid(self) -> None:
        found = parse({"kind": "client", "value": " agent-7 ", "by": "alice"})
        self.assertEqual(found, revocation("client", "agent-7"))
        self.assertEqual(found.subject, "client agent-7")
        everything = parse({"kind": "all", "value": None})
        self.assertEqual((everything.value, everything.author, everything.subject), ("", "", "all decisions"))

    def test_invalid(self) -> None:
        for document, words in (
            ([], "send an object"),
            ({"kind": "client", "value": "a", "why": "x"}, "by, kind, value"),
            ({"kind": "user", "value": "a"}, '"client", "host", "rule", "decision", "all"'),
            ({"value": "a"}, '"kind" must be'),
            ({"kind": ["all"]}, '"kind" must be'),
            ({"kind": "rule"}, '"rule" needs a "value"'),
            ({"kind": "rule", "value": " "}, '"rule" needs a "value"'),
            ({"kind": "all", "value": "a"}, '"all" has no "value"'),
            ({"kind": "rule", "value": 7}, '"value" must be a string'),
            ({"kind": "rule", "value": "x" * 1001}, "1000 printable characters"),
            ({"kind": "rule", "value": "a\nb"}, "printable"),
            ({"kind": "all", "by": "x" * 101}, '"by" must be a string of up to 100'),
            ({"kind": "host", "value": "https://a.test/"}, "write a host, as in example.com"),
            ({"kind": "host", "value": "*test"}, "*.example.com"),
            ({"kind": "host", "value": "*.10.0.0.1"}, "an address has no subdomains"),
        ):
            with self.subTest(document):
                self.refuse(document, words)

    def test_json(self) -> None:
        """Other processes get the same revocation."""
        for each in (revocation("host", "*.example.com"), revocation("all")):
            self.assertEqual(Revocation.from_json(json.loads(json.dumps(each.to_json()))), each)
        document: dict[str, Any] = {**revocation("host", "a.test").to_json(), "value": "a/b"}
        self.assertRaises(InvalidRevocation, Revocation.from_json, document)


class MatchTests(SynchronousTestCase):
    """What a revocation covers."""

    def matches(self, kind: str, value: str = "", **changed: Any) -> bool:
        facts: dict[str, Any] = {"client": CLIENT, "authority": HOST, "rule_id": "r1", "request_id": "id-1", **changed}
        return revocation(kind, value).matches(**facts)

    def test_client(self) -> None:
        self.assertTrue(self.matches("client", "agent-7"))
        self.assertTrue(self.matches("client", "192.0.2.1"))
        self.assertFalse(self.matches("client", "agent"))
        self.assertFalse(self.matches("client", "agent-7", client=ClientIdentity("192.0.2.1", 1)))

    def test_host(self) -> None:
        for pattern, expected in (
            ("api.example.com", True),
            ("API.example.com.", True),
            ("*.example.com", True),
            (".example.com", True),
            ("api.example.com:443", True),
            ("api.example.com:80", False),
            ("example.com", False),
            ("*.api.example.com", False),
            ("192.0.2.9", False),
        ):
            with self.subTest(pattern):
                self.assertEqual(self.matches("host", pattern), expected)

    def test_address(self) -> None:
        for host, pattern, expected in (
            ("192.0.2.9", "192.0.2.9", True),
            ("192.0.2.9", "192.0.2.8", False),
            ("64:ff9b::c000:209", "192.0.2.9", True),
            ("64:ff9b::c000:209", "192.0.2.9:80", False),
            ("2001:db8::1", "2001:db8::1", True),
            ("2001:db8::1", "[2001:db8::1]", True),
            ("2001:db8::1", "2001:db8::2", False),
            ("192.0.2.9", "example.com", False),
        ):
            with self.subTest(host=host, pattern=pattern):
                self.assertEqual(self.matches("host", pattern, authority=Authority(host, 443)), expected)

    def test_rule(self) -> None:
        self.assertTrue(self.matches("rule", "r1"))
        self.assertFalse(self.matches("rule", "r2"))
        self.assertFalse(self.matches("rule", "r1", rule_id=None))

    def test_decision(self) -> None:
        self.assertTrue(self.matches("decision", "id-1"))
        self.assertFalse(self.matches("decision", "id-2"))

    def test_all(self) -> None:
        self.assertTrue(self.matches("all"))
        self.assertFalse(revocation("all").matches_host(HOST), "it has no host pattern")

    def test_grant(self) -> None:
        for kind, value, expected in (
            ("client", "agent-7", True),
            ("client", "other", False),
            ("host", "*.example.com", True),
            ("host", "*.example.com:443", True),
            ("host", "*.example.com:80", False),
            ("rule", "r1", True),
            ("decision", "id-1", False),
            ("all", "", True),
        ):
            with self.subTest(kind=kind, value=value):
                self.assertEqual(revocation(kind, value).matches_grant(SCOPE), expected)


class CountsTests(SynchronousTestCase):
    """What was voided and ended."""

    def test_sum(self) -> None:
        """Each process has the same grants."""
        total = RevocationCounts(1, 2, 3, 4) + RevocationCounts(10, 2, 30, 40)
        self.assertEqual(total, RevocationCounts(11, 2, 33, 44))
        self.assertEqual(RevocationCounts.from_json(total.to_json()), total)

    def test_text(self) -> None:
        text = str(RevocationCounts(3, 0, 1, 2))
        self.assertEqual(text, "3 cached decisions dropped, 1 tunnel and 2 requests ended")
        text = str(RevocationCounts(1, 2, 0, 1))
        self.assertEqual(text, "1 cached decision dropped, 2 grants revoked, 0 tunnels and 1 request ended")

    def test_nodes(self) -> None:
        """The nodes that confirmed, and those that did not, of all processes that asked."""
        total = RevocationCounts(confirmed=("b",)) + RevocationCounts(confirmed=("a", "b"), unconfirmed=("c",))
        self.assertEqual(total, RevocationCounts(confirmed=("a", "b"), unconfirmed=("c",)))
        self.assertEqual(RevocationCounts.from_json(json.loads(json.dumps(total.to_json()))), total)
        self.assertTrue(str(total).endswith(" 0 requests ended; confirmed by a, b; not confirmed by c"), str(total))
        self.assertEqual(RevocationCounts(1).to_json(), {"cached": 1, "grants": 0, "tunnels": 0, "requests": 0})
