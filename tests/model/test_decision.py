"""Tests for L{egress.model.decision}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Obligations, Stage, Verdict
from egress.model.message import Direction, Message, MessageKind

REQUEST = DecisionRequest(
    request_id="1",
    stage=Stage.REQUEST,
    method="GET",
    origin=Origin("https", Authority("example.com", 443)),
    path="/a?b=%20c",
    headers=(),
    client=ClientIdentity("192.0.2.1", 1234, partition=b"secret"),
    body=b"content",
)


class DecisionRequestTests(SynchronousTestCase):
    """The properties of an authorization request."""

    def test_url(self) -> None:
        for path, expected in (("/a?b=%20c", "/a?b=%20c"), ("*", ""), ("", "")):
            with self.subTest(path):
                self.assertEqual(attrs.evolve(REQUEST, path=path).url, "https://example.com" + expected)

    def test_query(self) -> None:
        for path, expected in (("/a?b=%20c", "b=%20c"), ("/a?", ""), ("/a", None), ("/?a?b", "a?b")):
            with self.subTest(path):
                self.assertEqual(attrs.evolve(REQUEST, path=path).query, expected)

    def test_record_id(self) -> None:
        self.assertEqual(REQUEST.record_id, "1")
        message = Message(MessageKind.SSE, Direction.ORIGIN, "add", 7)
        self.assertEqual(attrs.evolve(REQUEST, message=message).record_id, "1.origin.7")

    def test_authority(self) -> None:
        self.assertEqual(REQUEST.authority, Authority("example.com", 443))

    def test_repr_has_no_secrets(self) -> None:
        self.assertNotIn(repr(REQUEST.body), repr(REQUEST))
        self.assertNotIn("secret", repr(REQUEST))


class ClientIdentityTests(SynchronousTestCase):
    """The pool key consists of address and credentials, without the port."""

    def test_pool_key(self) -> None:
        one = ClientIdentity("192.0.2.1", 1, partition=b"a")
        self.assertEqual(one.pool_key, ClientIdentity("192.0.2.1", 2, partition=b"a").pool_key)
        self.assertNotEqual(one.pool_key, ClientIdentity("192.0.2.1", 1, partition=b"b").pool_key)
        self.assertNotEqual(one.pool_key, ClientIdentity("192.0.2.2", 1, partition=b"a").pool_key)


class DecisionTests(SynchronousTestCase):
    """Only C{ALLOW} allows a request."""

    def test_allowed(self) -> None:
        self.assertTrue(Decision(Verdict.ALLOW, "yes", "x").allowed)
        for verdict in set(Verdict) - {Verdict.ALLOW}:
            with self.subTest(verdict.value):
                self.assertFalse(Decision(verdict, "no", "x").allowed)

    def test_repr_has_no_header_values(self) -> None:
        obligations = Obligations(set_headers=((b"authorization", b"Bearer hidden"),))
        self.assertNotIn("hidden", repr(Decision(Verdict.ALLOW, "yes", "x", obligations=obligations)))
