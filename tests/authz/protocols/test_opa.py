"""Tests for L{egress.authz.protocols.opa}."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from egress.authz.protocols.opa import OpaCodec
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import Verdict
from egress.model.errors import AuthorizerUnavailable
from tests.authz.protocols.requests import REQUEST, decode_json

CODEC = OpaCodec("http://opa.test/v1/data/egress/decision", "who")


class RequestTests(SynchronousTestCase):
    """The input contains all members."""

    def test_request(self) -> None:
        encoded = CODEC.encode(REQUEST)
        self.assertEqual((encoded.method, encoded.url), (b"POST", b"http://opa.test/v1/data/egress/decision"))
        self.assertEqual(
            json.loads(encoded.content),
            {
                "input": {
                    "url": "https://example.com:8443/a/b?c=d",
                    "method": "POST",
                    "scheme": "https",
                    "host": "example.com",
                    "port": 8443,
                    "path": "/a/b",
                    "query": "c=d",
                    "headers": {"accept": "a/b"},
                    "requestId": "id-1",
                    "client": {"address": "192.0.2.1"},
                    "stage": "request",
                }
            },
        )

    def test_endpoint_path(self) -> None:
        for path in ("/v1/data/egress", "/v1/data/egress/decision/", "/behind/v1/data/a"):
            with self.subTest(path):
                self.assertEqual(CODEC.endpoint_path(path), path.rstrip("/"))
        for path in ("", "/", "/v1/data", "/v1/data/", "/v0/data/egress", "/v1/data//x"):
            with self.subTest(path):
                self.assertIn("name the rule", str(self.assertRaises(ValueError, CODEC.endpoint_path, path)))


class ResponseTests(SynchronousTestCase):
    """The result is a boolean or an object."""

    def test_decisions(self) -> None:
        for result, expected in (
            (True, Verdict.ALLOW),
            (False, Verdict.DENY),
            ({"allow": True}, Verdict.ALLOW),
            ({"allow": False}, Verdict.DENY),
            ({"allowed": True}, Verdict.ALLOW),
            ({"allowed": False, "allow": False}, Verdict.DENY),
            ({"allow": False, "ask": True}, Verdict.ASK),
        ):
            with self.subTest(result):
                self.assertIs(decode_json(CODEC, {"result": result}).verdict, expected)

    def test_fields(self) -> None:
        result = {"allow": True, "reason": "why", "ruleId": "r", "ttl": 5, "cacheKey": ["path"], "maxBytes": 10}
        decision = decode_json(CODEC, {"result": result, "decision_id": "4ca636c1"})
        self.assertEqual(decision.reason, "why (OPA decision 4ca636c1)")
        self.assertEqual((decision.rule_id, decision.ttl, decision.cache_key), ("r", 5.0, ("path",)))
        self.assertEqual((decision.obligations.max_bytes, decision.decided_by), (10, "who"))

    def test_enforced_denial(self) -> None:
        """The id of OPA does not change the decision."""
        answer = {"result": {"allow": False, "firm": True}, "decision_id": "4ca636c1"}
        self.assertTrue(decode_json(CODEC, answer).enforce_in_observe)

    def test_longest_reason(self) -> None:
        answer = {"result": {"allow": False, "reason": "x" * 600}, "decision_id": "y" * 600}
        reason = decode_json(CODEC, answer).reason
        self.assertEqual(len(reason), 500)
        self.assertTrue(reason.endswith("y" * 64 + ")"))

    def test_invalid_id(self) -> None:
        self.assertNotIn("OPA", decode_json(CODEC, {"result": True, "decision_id": 5}).reason)

    def test_need(self) -> None:
        for result in ({"allow": False, "need": "body"}, {"need": "body"}):
            with self.subTest(result):
                self.assertIs(decode_json(CODEC, {"result": result}, body_withheld=True).verdict, Verdict.NEED_BODY)
                self.assertRaises(AuthorizerUnavailable, decode_json, CODEC, {"result": result})
        for result in ({"allow": False, "need": "addresses"}, {"need": "addresses"}):
            with self.subTest(result):
                self.assertIs(
                    decode_json(CODEC, {"result": result}, addresses_withheld=True).verdict, Verdict.NEED_ADDRESSES
                )
                self.assertRaises(AuthorizerUnavailable, decode_json, CODEC, {"result": result})

    def test_invalid(self) -> None:
        for answer, status, words in (
            ({"code": "internal_error"}, 500, "responded with status 500"),
            ({"result": True}, 404, "responded with status 404"),
            (b"true", 200, "not a JSON object"),
            ({}, 200, "data.egress.decision is undefined"),
            ({"decision_id": "x"}, 200, "data.egress.decision is undefined"),
            ({"result": None}, 200, "neither a boolean nor an object"),
            ({"result": "true"}, 200, "neither a boolean nor an object"),
            ({"result": 1}, 200, "neither a boolean nor an object"),
            ({"result": ["no"]}, 200, "neither a boolean nor an object"),
            ({"result": {}}, 200, "'allowed' is missing"),
            ({"result": {"deny": ["x"]}}, 200, "'allowed' is missing"),
            ({"result": {"allow": "true"}}, 200, "'allow' is not a boolean"),
            ({"result": {"allow": True, "allowed": 1}}, 200, "'allowed' is not a boolean"),
            ({"result": {"allow": True, "allowed": False}}, 200, "contradict each other"),
            ({"result": {"allow": True, "maxBytes": "x"}}, 200, "'maxBytes'"),
        ):
            with self.subTest(answer, status=status):
                error = self.assertRaises(AuthorizerUnavailable, decode_json, CODEC, answer, status)
                self.assertIn(words, error.reason)
                self.assertIs(error.kind, AuthzFailure.RESPONSE)
