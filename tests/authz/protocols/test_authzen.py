"""Tests for L{egress.authz.protocols.authzen}."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from egress.authz.protocols.authzen import AuthZenCodec
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import ClientIdentity, Verdict
from egress.model.errors import AuthorizerUnavailable
from tests.authz.protocols.requests import changed, decode_json

CODEC = AuthZenCodec("http://pdp.test/access/v1/evaluation", "who")


class RequestTests(SynchronousTestCase):
    """Subject, action, resource, context."""

    def test_request(self) -> None:
        encoded = CODEC.encode(changed(body=b"abc", content_length=3))
        self.assertEqual((encoded.method, encoded.url), (b"POST", b"http://pdp.test/access/v1/evaluation"))
        self.assertEqual(encoded.fields, ((b"X-Request-Id", b"id-1"),))
        self.assertEqual(
            json.loads(encoded.content),
            {
                "subject": {"type": "address", "id": "192.0.2.1"},
                "action": {"name": "POST"},
                "resource": {
                    "type": "url",
                    "id": "https://example.com:8443/a/b?c=d",
                    "properties": {
                        "scheme": "https",
                        "host": "example.com",
                        "port": 8443,
                        "path": "/a/b",
                        "query": "c=d",
                    },
                },
                "context": {
                    "headers": {"accept": "a/b"},
                    "body": "abc",
                    "contentLength": 3,
                    "requestId": "id-1",
                    "client": {"address": "192.0.2.1"},
                    "stage": "request",
                },
            },
        )

    def test_identity_is_not_an_address(self) -> None:
        """A client whose name is the address of another is not mistaken for it."""
        encoded = CODEC.encode(changed(client=ClientIdentity("192.0.2.1", 1, "192.0.2.9")))
        self.assertEqual(
            json.loads(encoded.content)["subject"],
            {"type": "client", "id": "192.0.2.9", "properties": {"address": "192.0.2.1"}},
        )

    def test_endpoint_path(self) -> None:
        for path, expected in (
            ("", "/access/v1/evaluation"),
            ("/pdp/", "/pdp/access/v1/evaluation"),
            ("/access/v1/evaluation", "/access/v1/evaluation"),
        ):
            with self.subTest(path):
                self.assertEqual(CODEC.endpoint_path(path), expected)


class ResponseTests(SynchronousTestCase):
    """A decision, and its context."""

    def test_decisions(self) -> None:
        for answer, expected in (({"decision": True}, Verdict.ALLOW), ({"decision": False}, Verdict.DENY)):
            with self.subTest(answer):
                self.assertIs(decode_json(CODEC, answer).verdict, expected)

    def test_context(self) -> None:
        context = {"reason": "why", "ruleId": "r", "ttl": 5, "maxBytes": 10}
        decision = decode_json(CODEC, {"decision": True, "context": context})
        self.assertEqual((decision.reason, decision.rule_id, decision.ttl), ("why", "r", 5.0))
        self.assertEqual((decision.obligations.max_bytes, decision.decided_by), (10, "who"))

    def test_need(self) -> None:
        answer = {"decision": False, "context": {"need": "body"}}
        self.assertIs(decode_json(CODEC, answer, body_withheld=True).verdict, Verdict.NEED_BODY)
        self.assertRaises(AuthorizerUnavailable, decode_json, CODEC, answer)
        answer = {"decision": False, "context": {"need": "addresses"}}
        self.assertIs(decode_json(CODEC, answer, addresses_withheld=True).verdict, Verdict.NEED_ADDRESSES)
        self.assertRaises(AuthorizerUnavailable, decode_json, CODEC, answer)

    def test_reasons_for_users(self) -> None:
        for context, expected in (
            ({"reason_user": {"en": "no entry", "de": "kein Zutritt"}}, "no entry"),
            ({"reason_user": {"403": 1}}, "the authorization service denied the request"),
            ({"reason_user": "no entry"}, "no entry"),
            ({"reason_user": "no entry", "reason": "ours"}, "ours"),
            ({"reason_admin": {"en": "internals"}}, "the authorization service denied the request"),
        ):
            with self.subTest(context):
                self.assertEqual(decode_json(CODEC, {"decision": False, "context": context}).reason, expected)

    def test_invalid(self) -> None:
        for answer, status, words in (
            ({"decision": False}, 403, "responded with status 403"),
            ({"decision": True}, 201, "responded with status 201"),
            (b"", 500, "responded with status 500"),
            (b"{", 200, "is not JSON"),
            ({}, 200, "'decision' is missing or not a boolean"),
            ({"decision": "true"}, 200, "'decision' is missing or not a boolean"),
            ({"decision": 1}, 200, "'decision' is missing or not a boolean"),
            ({"decision": True, "context": []}, 200, "'context' is not an object"),
            ({"decision": True, "context": None}, 200, "'context' is not an object"),
            ({"decision": True, "context": {"ask": "x"}}, 200, "'ask'"),
        ):
            with self.subTest(answer, status=status):
                error = self.assertRaises(AuthorizerUnavailable, decode_json, CODEC, answer, status)
                self.assertIn(words, error.reason)
                self.assertIs(error.kind, AuthzFailure.RESPONSE)
