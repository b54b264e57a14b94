"""Tests for L{egress.policy.parse.case_table}."""

from __future__ import annotations

from egress.model.decision import Stage, Verdict
from egress.policy.case import Case
from tests.policy.policies import PolicyTestCase, parse


class CaseTests(PolicyTestCase):
    """Test cases in a policy."""

    # The content of a test case, and the whole error after the name of the file.
    TESTS = {
        "": "2: test 1: 'request' is missing; write a method and a URL, as in \"GET https://example.com/\"",
        "request = 'GET http://a/'": '2: test 1: \'expect\' is missing; write "allow", "deny" or "ask"',
        "request = 'GET'\nexpect='deny'": (
            "3: test 1: 'request': write a method and a URL, as in \"GET https://example.com/\""
        ),
        "request = 'GET /x'\nexpect='deny'": "3: test 1: 'request': the URL must begin with http:// or https://",
        "request = 'GET ftp://a/'\nexpect='deny'": (
            "3: test 1: 'request': the URL must begin with http:// or https://"
        ),
        "request = 'G@T http://a/'\nexpect='deny'": (
            "3: test 1: 'request': write a method and a URL, as in \"GET https://example.com/\""
        ),
        "request = 'CONNECT a'\nexpect='deny'": "3: test 1: 'request': the port is missing",
        "request = 'GET http://a/'\nexpect='x'": ('4: test 1: \'expect\' must be "allow", "deny" or "ask", not \'x\''),
        "request = 'GET http://a/'\nexpect='deny'\nheaders={a=1}": (
            "5: test 1: headers 'a': write the name of a field, and its value or a list of values"
        ),
        "request = 'GET http://a/'\nexpect='deny'\nheaders={'a b'='x'}": (
            "5: test 1: headers 'a b': write the name of a field, and its value or a list of values"
        ),
        "request = 'GET http://a/'\nexpect='deny'\naddress='x'": (
            "5: test 1: 'address': 'x' does not appear to be an IPv4 or IPv6 address"
        ),
        "request = 'GET http://a/'\nexpect='deny'\naddress=1": (
            "5: test 1: 'address': write an address, as in 192.0.2.7"
        ),
        "request = 'GET http://a/'\nexpect='deny'\naddresses=['x']": (
            "5: test 1: addresses 'x': 'x' does not appear to be an IPv4 or IPv6 address"
        ),
        "request = 'GET http://a/'\nexpect='deny'\nat='noon'": (
            "5: test 1: 'at': write a time with its offset, as in 2026-03-02T09:00:00Z"
        ),
        "request = 'GET http://a/'\nexpect='deny'\nat=2026-01-01T00:00:00": (
            "5: test 1: 'at': write a time with its offset, as in 2026-03-02T09:00:00Z"
        ),
        "request = 'GET http://a/'\nexpect='deny'\nrule='nobody'": "2: there is no rule 'nobody'; use default",
        "request = 'GET http://a/'\nexpect='deny'\ndirection='client'": (
            "5: test 1: 'direction' describes a message; add 'message' with its content"
        ),
        "request = 'GET http://a/'\nexpct='deny'": "4: test 1: 'expct' is not known here; did you mean 'expect'?",
        "request = 'GET http://a/'\nexpect='deny'\nname='${x}'": (
            "5: test 1: the variable ${x} is not known; there are no [variables]"
        ),
    }

    def test_rejected(self) -> None:
        for entry, expected in self.TESTS.items():
            self.refuses(f"version = 1\n[[test]]\n{entry}\n", expected)

    def read(self, text: str) -> Case:
        return parse(f"version = 1\n[[test]]\nexpect = 'deny'\n{text}").cases[0]

    def test_minimal(self) -> None:
        case = self.read("request = 'GET https://Example.com?x'")
        self.assertEqual((case.name, case.where), ("GET https://Example.com?x", "p.toml:2"))
        self.assertEqual((case.now, case.expect, case.rule), (None, Verdict.DENY, None))
        self.assertEqual((case.request.url, case.request.method), ("https://example.com/?x", "GET"))
        self.assertEqual((case.request.body, case.request.content_length), (None, 0))
        self.assertIsNone(case.request.addresses)
        self.assertIsNone(case.request.client.identity)

    def test_everything(self) -> None:
        case = self.read(
            """request = "POST http://example.com:81/x"
name = "one"
rule = "default"
client = "ci"
address = "10.0.0.1"
addresses = ["192.0.2.1", "::1"]
at = 2026-03-02T10:00:00+01:00
body = "ü"
headers = { X-A = "1", x-b = ["2", "ü"] }
"""
        )
        request = case.request
        self.assertEqual((case.name, case.rule, case.now), ("one", "default", 1772442000.0))
        self.assertEqual((request.body, request.content_length), ("ü".encode(), 2))
        self.assertEqual(request.headers, ((b"X-A", b"1"), (b"x-b", b"2"), (b"x-b", "ü".encode())))
        self.assertEqual((request.client.identity, request.client.address), ("ci", "10.0.0.1"))
        self.assertEqual([str(address) for address in request.addresses or ()], ["192.0.2.1", "::1"])

    def test_times(self) -> None:
        for text in ("'2026-03-02T09:00:00Z'", "'2026-03-02T10:00:00+01:00'", "2026-03-02T09:00:00Z"):
            self.assertEqual(self.read(f"request = 'GET http://a/'\nat = {text}").now, 1772442000.0)

    def test_tunnel(self) -> None:
        request = self.read("request = 'CONNECT example.com:443'").request
        self.assertEqual((request.stage, str(request.origin), request.path), (Stage.TUNNEL, "https://example.com", ""))
