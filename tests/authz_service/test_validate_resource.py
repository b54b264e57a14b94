"""Tests for L{egress.authz_service.validate_resource}."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, fail

from egress.authz_service import service as service_module
from egress.authz_service import validate_resource
from egress.authz_service.config import AuthzServiceConfig
from egress.model.decision import ClientIdentity, Decision, Obligations, Verdict
from egress.model.errors import AuthorizerUnavailable
from tests.authz.budgets.fleet import budget
from tests.authz.fakes import FixedAuthorizer
from tests.authz_service.callers import ALLOWED, DENIED, CallerTestCase, post
from tests.proxy.fakes import content_of, status_of


def secret(verdict: Verdict = Verdict.ALLOW) -> Decision:
    """A decision that names a secret of the proxies."""
    terms = Obligations(secret_headers=((b"Authorization", b"Bearer ${secret:api}"),))
    return Decision(verdict, "with credentials", "fake", "credentials", obligations=terms)


class ResponseTests(CallerTestCase):
    """Requests and their responses."""

    def test_decisions(self) -> None:
        self.serve()
        version = {"policyVersion": hashlib.sha256(self.policy.read_bytes()).hexdigest()[:12]}
        expected = {"allowed": True, "reason": "allowed by the rule all", "ruleId": "all", **version}
        self.assertEqual(self.ask(), (200, expected))
        expected = {"allowed": False, "reason": "writes are not allowed", "ruleId": "no-writes", **version}
        self.assertEqual(self.ask(DENIED), (403, expected))

    def test_response_fields(self) -> None:
        self.serve()
        wire = self.connect().feed(post(json.dumps(ALLOWED).encode()))
        head = wire.take().partition(b"\r\n\r\n")[0].lower()
        for line in (b"http/1.1 200 ok", b"content-type: application/json", b"cache-control: no-store"):
            self.assertIn(line, head)
        self.assertNotIn(b"\r\nconnection", head)

    def test_record(self) -> None:
        """There is one record for each request; the caller is not the client of the request."""
        self.serve()
        self.ask({**DENIED, "requestId": "id-7", "client": {"address": "192.0.2.1", "identity": "runner"}})
        (record,) = self.records
        self.assertEqual(
            (record.request_id, record.verdict, record.outcome, record.rule_id, record.status, record.method),
            ("id-7", "deny", "decided", "no-writes", 403, "POST"),
        )
        self.assertEqual(record.client, ClientIdentity("192.0.2.1", 0, "runner"))
        self.assertEqual(record.url, ALLOWED["url"], "sinks redact")
        self.ask()
        self.assertEqual(self.records[1].client, ClientIdentity("unknown", 0))
        self.assertEqual(len({record.request_id for record in self.records}), 2)

    def test_invalid_request(self) -> None:
        """The response is a denial, as in the documented sample."""
        self.serve()
        question: Any
        for question in ({"method": "GET"}, {"url": "https://a.example/"}, [], {**ALLOWED, "stage": 5}):
            status, answer = self.ask(question)
            self.assertEqual((status, answer["allowed"], set(answer)), (400, False, {"allowed", "reason"}))
        self.assertEqual({(record.verdict, record.outcome) for record in self.records}, {("rejected", "bad-request")})
        self.assertEqual(len(self.records), 4)
        self.assertEqual(self.number('egressauthz_rejected_total{kind="bad-request"}'), 4)

    def test_deep_json(self) -> None:
        self.serve()
        wire = self.connect().feed(post(b'{"url":' + b"[" * 100_000))
        self.assertEqual(self.answer(wire.take())[0], 400)

    def test_path(self) -> None:
        """Additional slashes are accepted, because callers compose URLs in different ways."""
        self.serve()
        content = json.dumps(ALLOWED).encode()
        for target, status in (
            ("/validate", 200),
            ("/validate/", 200),
            ("//validate", 200),
            ("/validate?a=b", 200),
            ("/", 404),
            ("/other", 404),
            ("/validate/x", 404),
            ("/VALIDATE", 404),
        ):
            with self.subTest(target):
                wire = self.connect().feed(post(content, target=target))
                self.assertEqual(status_of(wire.take()), status)

    def refused(self, data: bytes, status: int, kind: str) -> bytes:
        """Send an HTTP request that is rejected.

        @return: the head of the response.
        """
        before = self.number(f'egressauthz_rejected_total{{kind="{kind}"}}')
        answer = self.connect().feed(data).take()
        self.assertEqual(status_of(answer), status)
        if not data.startswith(b"HEAD"):
            problem = json.loads(content_of(answer))
            self.assertEqual(problem["status"], status)
            self.assertNotIn("allowed", problem)
        self.assertEqual(self.number(f'egressauthz_rejected_total{{kind="{kind}"}}'), before + 1)
        self.assertEqual(self.records, [])
        return answer.partition(b"\r\n\r\n")[0]

    def test_methods(self) -> None:
        self.serve()
        for method in ("GET", "HEAD", "PUT", "OPTIONS", "BREW"):
            with self.subTest(method):
                self.assertIn(b"\r\nAllow: POST", self.refused(post(b"", method=method), 405, "method-not-allowed"))

    def test_head_has_no_content(self) -> None:
        self.serve()
        answer = self.connect().feed(post(b"", method="HEAD")).take()
        self.assertEqual(answer.partition(b"\r\n\r\n")[2], b"")

    def test_types(self) -> None:
        self.serve()
        content = json.dumps(ALLOWED).encode()
        for content_type in (
            "application/json",
            "Application/JSON; charset=utf-8",
            'application/json;charset="UTF-8"',
            "application/vnd.api+json",
            "text/json",
        ):
            with self.subTest(content_type):
                wire = self.connect().feed(post(content, f"Content-Type: {content_type}"))
                self.assertEqual(status_of(wire.take()), 200)
        self.records.clear()
        for content_type in ("text/plain", "application/jsonx", "application/json; charset=utf-16", "", "multipart/x"):
            with self.subTest(content_type):
                head = self.refused(post(content, f"Content-Type: {content_type}"), 415, "unsupported-media-type")
                self.assertIn(b"\r\nAccept: application/json", head)

    def test_content_codings(self) -> None:
        self.serve()
        head = self.refused(post(b"x", "Content-Encoding: gzip"), 415, "unsupported-media-type")
        self.assertIn(b"\r\nAccept-Encoding: identity", head)
        wire = self.connect().feed(post(json.dumps(ALLOWED).encode(), "Content-Encoding: identity"))
        self.assertEqual(status_of(wire.take()), 200)

    def test_token(self) -> None:
        self.serve(token="s3cret")
        content = json.dumps(ALLOWED).encode()
        for field in ("X: y", "Authorization: Bearer other", "Authorization: Basic s3cret"):
            with self.subTest(field):
                head = self.refused(post(content, field), 401, "unauthorized")
                self.assertIn(b"\r\nWWW-Authenticate: Bearer ", head)
        self.assertEqual(self.ask(None, "Authorization: Bearer s3cret")[0], 200)

    def test_too_large(self) -> None:
        """The caller receives the response, and the connection closes."""
        self.serve(body_limit=1)
        limit = AuthzServiceConfig(body_limit=1).request_limit
        for fields, content in (
            ([f"Content-Length: {limit + 1}"], b"x" * (limit + 1)),
            (["Transfer-Encoding: chunked"], b"%x\r\n" % (limit + 1) + b"x" * (limit + 1) + b"\r\n0\r\n\r\n"),
        ):
            with self.subTest(fields):
                head = "\r\n".join(["POST /validate HTTP/1.1", "Host: a", *fields, "", ""]).encode()
                self.assertIn(b"\r\nConnection: close", self.refused(head + content, 413, "content-too-large"))

    def test_largest_permitted(self) -> None:
        self.serve(body_limit=1000)
        self.assertEqual(self.ask({**ALLOWED, "body": "\u00e9" * 500})[0], 200)


class FailureTests(CallerTestCase):
    """A failure is neither a denial nor an allow."""

    def outage(self, authorizer: FixedAuthorizer, question: object = None) -> str:
        self.serve(authorizer)
        status, problem = self.ask(question)
        self.assertEqual(status, 503)
        self.assertNotIn("allowed", problem)
        (record,) = self.records
        self.assertEqual((record.verdict, record.status, record.decided_by), ("unavailable", 503, "fake"))
        self.assertEqual(record.reason, problem["detail"])
        return record.reason

    def test_unavailable(self) -> None:
        self.assertEqual(self.outage(FixedAuthorizer(fail(AuthorizerUnavailable("it sleeps")))), "it sleeps")

    def test_defect(self) -> None:
        self.outage(FixedAuthorizer(fail(RuntimeError("secret detail"))))
        self.flushLoggedErrors(RuntimeError)
        self.assertNotIn("secret", self.records[0].reason)

    def test_defect_without_fail_closed_wrapper(self) -> None:
        """The resource itself fails closed, too."""
        self.patch(service_module, "FailClosedAuthorizer", lambda reactor, authorizer, deadline: authorizer)
        self.outage(FixedAuthorizer(fail(RuntimeError("secret detail"))))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertNotIn("secret", self.records[0].reason)

    def test_no_decision(self) -> None:
        self.outage(FixedAuthorizer(True))

    def test_need_for_content_that_is_not_withheld(self) -> None:
        self.outage(FixedAuthorizer(Decision(Verdict.NEED_BODY, "show it", "fake")))

    def test_need_for_addresses_that_are_not_withheld(self) -> None:
        """A Postman runner, for example, does not offer to look them up."""
        self.outage(FixedAuthorizer(Decision(Verdict.NEED_ADDRESSES, "resolve it", "fake")))

    def test_deadline(self) -> None:
        """The authorizer of an application has a deadline."""
        self.serve(FixedAuthorizer(Deferred()))
        wire = self.connect().feed(post(json.dumps(ALLOWED).encode()))
        self.assertEqual(wire.take(), b"")
        self.reactor.advance(15)
        self.assertEqual(status_of(wire.take()), 503)

    def test_caller_disconnects(self) -> None:
        """The request is cancelled, and recorded in the audit log."""
        cancelled: list[object] = []
        self.serve(FixedAuthorizer(Deferred(cancelled.append)))
        wire = self.connect().feed(post(json.dumps(ALLOWED).encode()))
        wire.lose()
        self.assertEqual(len(cancelled), 1)
        (record,) = self.records
        self.assertEqual((record.verdict, record.status), ("unavailable", None))

    def test_decision_after_disconnect(self) -> None:
        """The decision is discarded."""
        answer: Deferred[Decision] = Deferred(lambda waiting: waiting.callback(secret()))
        self.serve(FixedAuthorizer(answer))
        wire = self.connect().feed(post(json.dumps(ALLOWED).encode()))
        wire.lose()
        self.assertEqual(len(self.records), 1)

    def test_defect_in_encoding(self) -> None:
        """A decision that cannot be encoded is a failure."""
        self.serve()
        with mock.patch.object(validate_resource, "encode_response", side_effect=TypeError):
            self.assertEqual(self.ask()[0], 500)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)


class TermsTests(CallerTestCase):
    """The obligations of a decision."""

    def test_secrets_have_names(self) -> None:
        """The names are sent to authenticated callers only; without authentication, the request is denied."""
        self.serve(FixedAuthorizer(secret()), token="t")
        _, answer = self.ask(None, "Authorization: Bearer t")
        self.assertEqual(answer["setSecretHeaders"], {"authorization": "Bearer ${secret:api}"})

    def test_unauthenticated(self) -> None:
        for verdict, reason in (
            (Verdict.ALLOW, "the rule sets header fields"),
            (Verdict.ASK, "the rule sets header fields"),
            (Verdict.DENY, "with credentials"),
        ):
            with self.subTest(verdict):
                self.reactor.tcpServers.clear()
                self.serve(FixedAuthorizer(secret(verdict)))
                status, answer = self.ask()
                self.assertEqual((status, answer["allowed"], answer["ruleId"]), (403, False, "credentials"))
                self.assertIn(reason, answer["reason"])
                self.assertEqual(set(answer), {"allowed", "reason", "ruleId"})
                self.assertEqual(self.records[-1].verdict, "deny")

    def test_budgets(self) -> None:
        """Nothing here can count them, so there is no decision."""
        obligations = Obligations(budgets=(budget(),))
        self.serve(FixedAuthorizer(Decision(Verdict.ALLOW, "why", "fake", obligations=obligations)))
        self.assertEqual(self.ask()[0], 503)

    def test_need_body(self) -> None:
        fake = FixedAuthorizer(Decision(Verdict.NEED_BODY, "show it", "fake"))
        self.serve(fake)
        status, answer = self.ask({**ALLOWED, "bodyWithheld": True})
        self.assertEqual((status, answer), (200, {"allowed": False, "need": "body", "reason": "show it"}))
        self.assertTrue(fake.asked[0].body_withheld)
        self.assertEqual(self.records[0].verdict, "need-body")

    def test_need_addresses(self) -> None:
        fake = FixedAuthorizer(Decision(Verdict.NEED_ADDRESSES, "resolve it", "fake"))
        self.serve(fake)
        status, answer = self.ask({**ALLOWED, "addressesWithheld": True})
        self.assertEqual((status, answer), (200, {"allowed": False, "need": "addresses", "reason": "resolve it"}))
        self.assertTrue(fake.asked[0].addresses_withheld)
        self.assertEqual(self.records[0].verdict, "need-addresses")

    def test_ask(self) -> None:
        self.serve(FixedAuthorizer(Decision(Verdict.ASK, "a person decides", "fake")))
        status, answer = self.ask()
        self.assertEqual((status, answer["allowed"], answer["ask"]), (403, False, True))
        self.assertEqual(self.records[0].verdict, "ask")
