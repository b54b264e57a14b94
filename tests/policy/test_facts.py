"""Tests for L{egress.policy.facts}."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.content import NOTHING, UNREADABLE
from egress.policy.facts import UNREAD, Facts
from tests.policy.policies import request


class FactsTests(SynchronousTestCase):
    """What is read of a request."""

    def json(self, **given: object) -> object:
        return Facts(request("POST", "http://a.test/", **given), None).json

    def test_json(self) -> None:
        body = b'{"a":1}'
        self.assertEqual(self.json(body=body), {"a": 1})
        self.assertEqual(self.json(body=body, headers=[("Content-Encoding", "Identity")]), {"a": 1})
        self.assertIs(self.json(), NOTHING)
        self.assertIs(self.json(body=b""), NOTHING)
        self.assertIs(self.json(body_withheld=True, content_length=7), UNREAD)

    def test_lowered(self) -> None:
        """However deep it is: newer Pythons read what is deeper than their functions go."""
        facts = Facts(request("POST", "http://a.test/", body=b'{"A":["B",{"C":1}]}'), None)
        self.assertEqual(facts.lowered_json, {"a": ["b", {"c": 1}]})
        deep: list[object] = []
        for _ in range(100_000):
            deep = [deep]
        facts = Facts(request("POST", "http://a.test/"), None)
        facts.__dict__["json"] = deep
        self.assertIs(facts.lowered_json, UNREADABLE)

    def test_nobody_can_tell(self) -> None:
        body = b'{"a":1}'
        for name in ("content-encoding", "Content_Encoding"):
            self.assertIs(self.json(body=body, headers=[(name, "gzip")]), UNREADABLE)
            self.assertIs(self.json(body_withheld=True, headers=[(name, "identity"), (name, "br")]), UNREADABLE)
        self.assertIs(self.json(body=body, body_truncated=True), UNREADABLE)
        # There is content, which was neither sent along nor is to be had.
        self.assertIs(self.json(content_length=None), UNREADABLE)
        self.assertIs(self.json(content_length=7), UNREADABLE)

    def test_client(self) -> None:
        for text, expected in (("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("::1", "::1")):
            self.assertEqual(Facts(request("GET", "http://a.test/", address=text), None).client, ip_address(expected))
        self.assertIsNone(Facts(request("GET", "http://a.test/", address="/run/socket"), None).client)

    def test_addresses(self) -> None:
        given = (ip_address("192.0.2.1"),)
        self.assertEqual(Facts(request("GET", "http://a.test/", addresses=given), None).addresses, given)
        self.assertEqual(Facts(request("GET", "http://a.test/"), None).addresses, ())
        self.assertEqual(Facts(request("GET", "http://[::1]/", addresses=given), None).addresses, (ip_address("::1"),))
