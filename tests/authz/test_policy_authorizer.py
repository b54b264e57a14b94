"""Tests for L{egress.authz.policy_authorizer}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.authz.policy_authorizer import PolicyAuthorizer
from egress.config.model import Limits, OversizeBody
from egress.interfaces import IAuthorizer
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, DecisionRequest, Stage, Verdict
from egress.policy.parse.load import load_starter, parse_policy
from egress.policy.rule import Rule
from egress.policy.rules import RuleSet
from tests.proxy.fakes import ProxyTestCase, content_of, request, response, status_of


class PolicyAuthorizerTests(SynchronousTestCase):
    """Rules as an authorizer."""

    def test_interface(self) -> None:
        verifyObject(IAuthorizer, PolicyAuthorizer(load_starter()))

    def test_name(self) -> None:
        authorizer = PolicyAuthorizer(load_starter())
        self.assertEqual(authorizer.name, "policy starter")
        self.assertFalse(authorizer.needs_body)

    def test_immediate_decision(self) -> None:
        rules = RuleSet("policy test", (Rule("gets", Verdict.ALLOW, "a read", methods=frozenset({"GET"})),))
        authorizer = PolicyAuthorizer(rules)
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
        """The time is read for each request."""
        times = iter([1772442000.0, 1772482000.0])  # 09:00 and 20:07 UTC
        rules = parse_policy(
            'version = 1\n[[rules]]\naction = "allow"\ntimes = ["08:00-18:00"]', "policy.toml", "policy test"
        )
        authorizer = PolicyAuthorizer(rules, lambda: next(times))
        origin = Origin("https", Authority("example.com", 443))
        request = DecisionRequest("id", Stage.REQUEST, "GET", origin, "/", (), ClientIdentity("192.0.2.1", 1234))
        self.assertTrue(self.successResultOf(authorizer.decide(request)).allowed)
        self.assertFalse(self.successResultOf(authorizer.decide(request)).allowed)

    def test_other_rules(self) -> None:
        authorizer = PolicyAuthorizer(load_starter())
        authorizer.use(RuleSet("policy test", (Rule("all", Verdict.ALLOW, "everything"),)))
        self.assertEqual(authorizer.name, "policy test")
        origin = Origin("https", Authority("example.com", 443))
        request = DecisionRequest("id", Stage.REQUEST, "PUT", origin, "/", (), ClientIdentity("192.0.2.1", 1234))
        self.assertEqual(self.successResultOf(authorizer.decide(request)).rule_id, "all")

    def test_always_ready(self) -> None:
        authorizer = PolicyAuthorizer(load_starter())
        self.assertIsNone(self.successResultOf(authorizer.check_ready()))
        self.assertIsNone(self.successResultOf(authorizer.close()))


_CHUNKED = "Transfer-Encoding: chunked"
_JSON = "Content-Type: application/json"
_URL = "http://origin.test/a"


def _chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


class EmbeddedTests(ProxyTestCase):
    """Rules that read content, in a proxy without an authorization service."""

    NO_DROPS = """
        version = 1
        default = "allow"
        [[rules]]
        id = "no-drops"
        action = "deny"
        reason = "nothing is dropped"
        json = { action = "drop" }
    """

    def by(self, policy: str, **options: Any) -> None:
        """Use a policy."""
        self.build(**options)
        self.proxy.parts.authz.authorizer = PolicyAuthorizer(parse_policy(policy, "p.toml", "policy p.toml"))

    def verdict(self, *sent: bytes) -> str:
        """Send a request on a connection of its own, piece by piece, and return its result."""
        self.client = self.connect()
        before = len(self.records)
        for piece in sent:
            self.client.feed(piece)
        if len(self.records) == before:
            self.origin.feed(response())
        (record,) = self.records[before:]
        return record.rule_id or record.outcome

    def test_denial_on_json(self) -> None:
        """A denial applies however the content is sent, unless the content certainly does not match."""
        self.by(self.NO_DROPS)
        for sent, expected in (
            ([request("POST", _URL, _JSON, body=b'{"action":"drop"}')], "no-drops"),
            ([request("POST", _URL, _JSON, body=b'{"action":"keep"}')], "default"),
            ([request("POST", _URL, _CHUNKED, _JSON) + _chunks(b'{"act', b'ion":"drop"}')], "no-drops"),
            ([request("POST", _URL, _CHUNKED, _JSON), _chunks(b'{"action":"drop"}')], "no-drops"),
            ([request("POST", _URL, _CHUNKED, _JSON) + _chunks(b'{"action":"keep"}')], "default"),
            # Without content, there is nothing to drop.
            ([request("POST", _URL, _CHUNKED, _JSON) + _chunks()], "default"),
            ([request("POST")], "default"),
            ([request("POST", "http://origin.test/a", "Content-Length: 0")], "default"),
            ([request("GET", body=b'{"action":"drop"}')], "no-drops"),
            ([request("DELETE", "http://origin.test/a", _CHUNKED) + _chunks(b'{"action":"drop"}')], "no-drops"),
            ([request("POST", _URL, _JSON, body=b"action=drop")], "no-drops"),
            # Without the type, or with another type, each server reads the content in its own way, so the rule does not
            # read it.
            ([request("POST", body=b'{"action":"keep"}')[:-17]], "no-drops"),
            ([request("POST", _URL, f"{_JSON}; charset=utf-7", body=b'{"action":"keep"}')], "no-drops"),
            ([request("POST", "http://origin.test/a", "Content-Encoding: gzip", body=b"?")], "no-drops"),
        ):
            with self.subTest(sent):
                self.assertEqual(self.verdict(*sent), expected)

    def test_expecting_a_100(self) -> None:
        """The proxy sends the 100 when a rule needs the content, and nothing of a denied request is forwarded."""
        self.by(self.NO_DROPS)
        self.client.feed(request("POST", _URL, "Expect: 100-continue", "Content-Length: 17", _JSON))
        self.assertEqual(self.client.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.client.feed(b'{"action":"drop"}')
        self.assertEqual(status_of(self.client.written), 403)
        self.assertEqual(self.dialer.dialled, [])

    def test_body_over_the_limit(self) -> None:
        """Content that is only partly read is denied, or else unreadable: then the denial applies."""
        large = b'{"padding":"%b","action":"keep"}' % (b"x" * 100)
        for sent in (
            request("POST", _URL, _JSON, body=large),
            request("POST", _URL, _CHUNKED, _JSON) + _chunks(large),
        ):
            self.by(self.NO_DROPS, limits=Limits(body=64))
            self.assertEqual(self.verdict(sent), "content-too-large")
            self.assertEqual(status_of(self.client.written), 413)
            self.by(self.NO_DROPS, limits=Limits(body=64), oversize_body=OversizeBody.TRUNCATE)
            self.assertEqual(self.verdict(sent), "no-drops")

    def test_upload_size(self) -> None:
        """An announced length is enough; otherwise the content is read, up to the limit."""
        self.by('version = 1\n[[rules]]\nid = "small"\naction = "allow"\nmax_body = 8\n', limits=Limits(body=16))
        chunked = request("POST", "http://origin.test/a", _CHUNKED)
        for sent, expected in (
            (request("POST", body=b"12345678"), "small"),
            (request("POST", body=b"123456789"), "default"),
            (request("POST"), "small"),
            (chunked + _chunks(b"1234", b"5678"), "small"),
            (chunked + _chunks(b"1234", b"56789"), "default"),
            (chunked + _chunks(), "small"),
            (chunked + _chunks(b"x" * 17), "content-too-large"),
            # The proxy does not start to read it.
            (request("POST", "http://origin.test/a", "Content-Length: 1000000000"), "default"),
        ):
            with self.subTest(sent):
                self.assertEqual(self.verdict(sent), expected)

    def test_conditions_see_the_client_request(self) -> None:
        """They never see what rules added to requests: not in the next request, nor in a repeated decision."""
        self.by(
            """
            version = 1
            [[rules]]
            id = "impostors"
            action = "deny"
            reason = "who are you"
            headers = { X-Role = "admin" }
            [[rules]]
            id = "drops"
            action = "deny"
            reason = "no"
            methods = ["POST"]
            json = { action = "drop" }
            [[rules]]
            id = "promoted"
            action = "allow"
            set_headers = { X-Role = "admin" }
            expires_in = "2s"
            """
        )
        for method, body in (("GET", b""), ("POST", b"{}"), ("GET", b"")):
            self.client.feed(request(method, _URL, _JSON, body=body))
            self.assertIn(b"x-role: admin\r\n", self.origin.take().lower())
            self.origin.feed(response(b"answer"))
            self.assertEqual(content_of(self.client.take()), b"answer")
        self.client.feed(request())
        self.origin.take()
        self.clock.advance(3)
        self.assertFalse(self.origin.disconnected, "it was allowed once more")
        self.origin.feed(response(b"late"))
        self.assertEqual(self.records[-1].rule_id, "promoted")
        self.client.feed(request("GET", "http://origin.test/a", "X_Role: admin"))
        self.assertEqual(self.records[-1].rule_id, "impostors")
