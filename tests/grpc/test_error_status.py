"""Tests for L{egress.grpc.error_status}."""

from __future__ import annotations

import base64

from twisted.trial.unittest import SynchronousTestCase

from egress.grpc.call import Kind
from egress.grpc.error_status import STATUSES, error_response, error_trailers, status_of
from egress.grpc.status import StatusCode
from egress.model.decision import Decision, Verdict
from egress.model.errors import OUTCOMES, AuthorizerUnavailable, BudgetExhausted, Denied, EgressError, OriginTimeout
from tests.grpc.test_details import fields

DENIED = Denied(Decision(Verdict.DENY, "not 100 % safe", "policy", "no-admin"))


class StatusTests(SynchronousTestCase):
    """The status of each error."""

    def test_each_error_has_a_status(self) -> None:
        self.assertEqual(STATUSES.keys(), OUTCOMES.keys())

    def test_an_error_is_not_ok(self) -> None:
        self.assertNotIn(StatusCode.OK, STATUSES.values())

    def test_denials_and_authorization_failures(self) -> None:
        for error, outcome in OUTCOMES.items():
            if outcome.verdict == "unavailable":
                self.assertIs(STATUSES[error], StatusCode.UNAVAILABLE)
            if outcome.verdict == "deny":
                self.assertIn(STATUSES[error], (StatusCode.PERMISSION_DENIED, StatusCode.RESOURCE_EXHAUSTED))

    def test_status_of(self) -> None:
        self.assertIs(status_of(OriginTimeout("late")), StatusCode.DEADLINE_EXCEEDED)
        self.assertRaises(KeyError, status_of, EgressError("not in the table"))


class ResponseTests(SynchronousTestCase):
    """The response to a call that failed."""

    def info(self, trailers: dict[bytes, bytes]) -> dict[bytes, bytes]:
        value = trailers[b"grpc-status-details-bin"]
        status = dict(fields(base64.b64decode(value + b"=" * (-len(value) % 4))))
        info = fields(dict(fields(status[3]))[2])
        metadata = [dict(fields(value)) for number, value in info if number == 3]
        return {b"reason": info[0][1], **{entry[1]: entry[2] for entry in metadata}}

    def test_trailers(self) -> None:
        trailers = dict(error_trailers(DENIED, "1-2"))
        self.assertEqual(trailers[b"grpc-status"], b"7")
        self.assertEqual(trailers[b"grpc-message"], b"not 100 %25 safe")
        self.assertEqual(
            self.info(trailers),
            {b"reason": b"DENIED", b"requestId": b"1-2", b"stage": b"authz", b"ruleId": b"no-admin"},
        )

    def test_exhausted_budget(self) -> None:
        trailers = dict(error_trailers(BudgetExhausted("no more", "api", "rate.requests", 7), "1-2"))
        self.assertEqual(trailers[b"grpc-status"], b"8")
        info = self.info(trailers)
        self.assertEqual(
            (info[b"reason"], info[b"ruleId"], info[b"budget"]), (b"BUDGET_EXHAUSTED", b"api", b"rate.requests")
        )

    def test_without_a_rule(self) -> None:
        for error, reason, stage in (
            (AuthorizerUnavailable("no response"), b"AUTHORIZER_UNAVAILABLE", b"authz-unavailable"),
            (Denied(Decision(Verdict.DENY, "no", "policy")), b"DENIED", b"authz"),
        ):
            info = self.info(dict(error_trailers(error, "1-2")))
            self.assertEqual(info, {b"reason": reason, b"requestId": b"1-2", b"stage": stage})

    def test_grpc(self) -> None:
        head, content = error_response(DENIED, "1-2", Kind.GRPC)
        self.assertEqual(head, [(b"Content-Type", b"application/grpc"), *error_trailers(DENIED, "1-2")])
        self.assertEqual(content, b"")

    def test_grpc_web(self) -> None:
        head, content = error_response(DENIED, "1-2", Kind.WEB)
        self.assertEqual(head, [(b"Content-Type", b"application/grpc-web")])
        self.assertEqual(content[0], 0x80)
        self.assertEqual(int.from_bytes(content[1:5], "big"), len(content) - 5)
        self.assertTrue(content[5:].startswith(b"grpc-status: 7\r\ngrpc-message: not 100 %25 safe\r\n"))
        text_head, text = error_response(DENIED, "1-2", Kind.WEB_TEXT)
        self.assertEqual(text_head, [(b"Content-Type", b"application/grpc-web-text")])
        self.assertEqual(base64.b64decode(text), content)
