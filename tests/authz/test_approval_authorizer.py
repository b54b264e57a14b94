"""Tests for L{egress.authz.approval_authorizer}."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from zope.interface.verify import verifyObject

from egress.authz.approval_authorizer import ApprovalAuthorizer
from egress.interfaces import IAuthorizer
from egress.model.approval import ApprovalAnswer
from egress.model.decision import Decision, DecisionRequest, Verdict
from egress.model.request_preview import MAX_SHOWN
from tests.authz.fakes import ALLOW, DENY, REQUEST, Scripted
from tests.authz.test_approvals import ASK, ApprovalsTestCase


class ApprovalAuthorizerTests(ApprovalsTestCase):
    """The wrapper of another authorizer."""

    def authorizer(self, result: Any) -> ApprovalAuthorizer:
        return ApprovalAuthorizer(Scripted(lambda: result), self.approvals)

    def decide(self, result: Any, request: DecisionRequest = REQUEST) -> Deferred[Decision]:
        return self.authorizer(result).decide(request)

    def test_interface(self) -> None:
        verifyObject(IAuthorizer, self.authorizer(None))

    def test_other_decisions_pass(self) -> None:
        for decision in (ALLOW, DENY, attrs.evolve(ALLOW, verdict=Verdict.NEED_BODY)):
            self.assertIs(self.successResultOf(self.decide(succeed(decision))), decision)
            later: Deferred[Decision] = Deferred()
            call = self.decide(later)
            later.callback(decision)
            self.assertIs(self.successResultOf(call), decision)
        self.assertEqual(self.approvals.pending, 0)

    def test_approval_required(self) -> None:
        later: Deferred[Decision] = Deferred()
        at_once, afterwards = self.decide(succeed(ASK)), self.decide(later)
        self.assertEqual(self.approvals.pending, 1)
        later.callback(ASK)
        self.approvals.answer(self.the_id(), ApprovalAnswer(True))
        for each in (at_once, afterwards):
            self.assertTrue(self.successResultOf(each).allowed)

    def test_content_for_the_approver(self) -> None:
        """Content of a moderate length is collected, unless a grant decides: an approval covers what was shown."""
        later: Deferred[Decision] = Deferred()
        withheld = attrs.evolve(REQUEST, method="POST", body_withheld=True, content_length=5)
        for call in (self.decide(succeed(ASK), withheld), self.decide(later, withheld)):
            if not call.called:
                later.callback(ASK)
            decision = self.successResultOf(call)
            self.assertEqual((decision.verdict, decision.rule_id), (Verdict.NEED_BODY, "r"))
        self.assertEqual((self.approvals.pending, self.counts()), (0, {}))
        held = self.decide(succeed(ASK), attrs.evolve(withheld, body_withheld=False, body=b"hello"))
        self.assertEqual(self.listed()["pending"][0]["preview"]["content"]["text"], "hello")
        self.approvals.answer(self.the_id(), ApprovalAnswer(True, 60))
        self.assertTrue(self.successResultOf(held).allowed)
        self.assertEqual(self.successResultOf(self.decide(succeed(ASK), withheld)).source, "approval")

    def test_authorized_once(self) -> None:
        """The authorizer is not queried again with the content that only the approver needs."""
        calls: list[DecisionRequest] = []

        def decided() -> Any:
            calls.append(REQUEST)
            return succeed(ASK)

        authorizer = ApprovalAuthorizer(Scripted(decided), self.approvals)
        withheld = attrs.evolve(REQUEST, method="POST", body_withheld=True, content_length=5)
        self.assertEqual(self.successResultOf(authorizer.decide(withheld)).verdict, Verdict.NEED_BODY)
        complete = attrs.evolve(withheld, body_withheld=False, body=b"hello")
        self.assertNoResult(authorizer.decide(complete))
        self.assertEqual(len(calls), 1)
        self.assertEqual(self.listed()["pending"][0]["preview"]["content"]["text"], "hello")
        # A later request with the same id, such as for a lease, is decided again.
        authorizer.decide(complete)
        self.assertEqual(len(calls), 2)

    def test_other_request_with_the_same_id(self) -> None:
        """The decision on a request is not used for another one."""
        withheld = attrs.evolve(REQUEST, method="POST", body_withheld=True, content_length=5)
        for changes in ({"method": "PUT"}, {"path": "/other"}, {"headers": ((b"A", b"b"),)}):
            results = [succeed(ASK), succeed(DENY)]
            authorizer = ApprovalAuthorizer(Scripted(lambda results=results: results.pop(0)), self.approvals)  # type: ignore[misc]
            self.successResultOf(authorizer.decide(withheld))
            other = attrs.evolve(withheld, body_withheld=False, body=b"hello", **changes)
            self.assertIs(self.successResultOf(authorizer.decide(other)), DENY)

    def test_abandoned_requests(self) -> None:
        """The number of requests whose content is collected is bounded."""
        results: list[Any] = [succeed(ASK) for _ in range(3)] + [succeed(DENY)]
        authorizer = ApprovalAuthorizer(Scripted(lambda: results.pop(0)), self.approvals, max_collecting=2)
        withheld = [
            attrs.evolve(REQUEST, request_id=f"r{number}", body_withheld=True, content_length=5) for number in range(3)
        ]
        for each in withheld:
            self.successResultOf(authorizer.decide(each))
        last, first = (attrs.evolve(withheld[each], body_withheld=False, body=b"hello") for each in (2, 0))
        self.assertNoResult(authorizer.decide(last))
        self.assertIs(self.successResultOf(authorizer.decide(first)), DENY)

    def test_long_content(self) -> None:
        """Long content, and content of unknown length, streams through after the approval."""
        for length in (MAX_SHOWN + 1, None):
            held = self.decide(succeed(ASK), attrs.evolve(REQUEST, body_withheld=True, content_length=length))
            self.assertNoResult(held)
            self.assertEqual(self.listed()["pending"][0]["preview"]["content"], None)
            self.approvals.answer(self.the_id(), ApprovalAnswer(False))

    def test_cancel(self) -> None:
        later: Deferred[Decision] = Deferred()
        call = self.decide(later)
        later.callback(ASK)
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.assertEqual(self.approvals.pending, 0)

    def test_failures_pass(self) -> None:
        later: Deferred[Decision] = Deferred()
        call = self.decide(later)
        later.errback(ValueError())
        self.failureResultOf(call, ValueError)

    def test_close(self) -> None:
        held = self.decide(succeed(ASK))
        self.successResultOf(self.authorizer(succeed(None)).close())
        self.assertEqual(self.successResultOf(held).verdict, Verdict.DENY)
