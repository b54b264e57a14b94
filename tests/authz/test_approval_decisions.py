"""Tests for L{egress.authz.approval_decisions}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.approval_decisions import allowed_by_grant, allowed_once, denied, denied_by_approver
from egress.model.approval import ApprovalAnswer, Grant, GrantScope
from egress.model.decision import NO_OBLIGATIONS, Decision, Obligations, Verdict
from tests.authz.fakes import REQUEST

ASK = Decision(
    Verdict.ASK,
    "look",
    "policy x",
    "r",
    ttl=60,
    stale_if_error=5,
    cache_key=("path",),
    obligations=Obligations(max_bytes=7),
)


class DecisionTests(SynchronousTestCase):
    """No decision that depends on an approver is cached, and only an allow keeps the obligations."""

    def test_denied(self) -> None:
        decision = denied(ASK, "no approver")
        self.assertEqual(decision, Decision(Verdict.DENY, "no approver (look)", "policy x", "r"))
        self.assertEqual(denied(attrs.evolve(ASK, reason=""), "no approver").reason, "no approver")

    def test_denied_by_approver(self) -> None:
        decision = denied_by_approver(ASK, ApprovalAnswer(False, reason="not today", by="ann"))
        self.assertEqual(
            (decision.reason, decision.decided_by), ("denied by ann: not today", "an approver (ann) for policy x")
        )
        self.assertEqual((decision.obligations, decision.ttl), (NO_OBLIGATIONS, None))
        self.assertTrue(decision.enforce_in_observe)
        self.assertEqual(denied_by_approver(ASK, ApprovalAnswer(False)).reason, "denied by an approver")

    def test_allowed(self) -> None:
        once = allowed_once(ASK, ApprovalAnswer(True, by="ann"))
        grant = Grant("g", GrantScope.of(REQUEST, "r"), 1_700_049_600.0, "ann", "release")
        granted = allowed_by_grant(ASK, grant)
        self.assertEqual((once.reason, once.source), ("allowed once by ann", None))
        self.assertEqual(granted.reason, "allowed by ann until 2023-11-15 12:00:00 UTC: release")
        self.assertEqual(granted.source, "approval")
        for decision in (once, granted):
            self.assertTrue(decision.allowed)
            self.assertEqual((decision.ttl, decision.stale_if_error, decision.cache_key), (None, None, None))
            self.assertEqual(decision.obligations, ASK.obligations)
