"""Tests for L{egress.authz.observe}."""

from __future__ import annotations

from functools import partial

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.authz.observe import ObservingAuthorizer
from egress.interfaces import IAuthorizer
from egress.model.decision import NEEDS, NO_OBLIGATIONS, Decision, Obligations, Verdict
from egress.model.errors import AuthorizerUnavailable
from tests.authz.fakes import ALLOW, DENY, REQUEST, Scripted


class ObservingTests(SynchronousTestCase):
    """Only enforced denials are denied in observe mode."""

    def decide(self, decision: Decision) -> Decision:
        return self.successResultOf(ObservingAuthorizer(Scripted(lambda: succeed(decision))).decide(REQUEST))

    def test_interface(self) -> None:
        observing = ObservingAuthorizer(Scripted(lambda: succeed(None)))
        verifyObject(IAuthorizer, observing)
        self.assertEqual((observing.name, observing.needs_body), ("scripted", True))

    def test_passed_unchanged(self) -> None:
        """An allow keeps its obligations, and a need for content stays."""
        for verdict in (Verdict.ALLOW, *NEEDS):
            decision = attrs.evolve(ALLOW, verdict=verdict, obligations=Obligations(max_bytes=5))
            self.assertIs(self.decide(decision), decision)

    def test_denied(self) -> None:
        decision = attrs.evolve(DENY, rule_id="no-writes", obligations=Obligations(max_bytes=5))
        found = self.decide(decision)
        self.assertEqual((found.verdict, found.observed, found.obligations), (Verdict.ALLOW, "deny", NO_OBLIGATIONS))
        self.assertEqual((found.reason, found.rule_id, found.decided_by), ("no", "no-writes", "x"))

    def test_approval(self) -> None:
        found = self.decide(attrs.evolve(DENY, verdict=Verdict.ASK, enforce_in_observe=True))
        self.assertEqual((found.verdict, found.observed), (Verdict.ALLOW, "deny"))

    def test_withheld_addresses(self) -> None:
        """With the addresses, the denial may be one to enforce, and the name is resolved anyway."""
        request = attrs.evolve(REQUEST, addresses_withheld=True)
        for verdict, expected in (
            (Verdict.DENY, Verdict.NEED_ADDRESSES),
            (Verdict.ASK, Verdict.NEED_ADDRESSES),
            (Verdict.ALLOW, Verdict.ALLOW),
            (Verdict.NEED_BODY, Verdict.NEED_BODY),
        ):
            said = attrs.evolve(DENY, verdict=verdict, rule_id="r")
            observing = ObservingAuthorizer(Scripted(partial(succeed, said)))
            found = self.successResultOf(observing.decide(request))
            self.assertIs(found.verdict, expected)
            self.assertEqual((found.rule_id, found.observed), ("r", "deny" if verdict is not expected else None))
        firm = attrs.evolve(DENY, enforce_in_observe=True)
        observing = ObservingAuthorizer(Scripted(lambda: succeed(firm)))
        self.assertIs(self.successResultOf(observing.decide(request)), firm)

    def test_enforced_denial(self) -> None:
        decision = attrs.evolve(DENY, enforce_in_observe=True)
        self.assertIs(self.decide(decision), decision)

    def test_failure(self) -> None:
        script = Scripted(lambda: fail(AuthorizerUnavailable("it is down")))
        found = self.successResultOf(ObservingAuthorizer(script).decide(REQUEST))
        self.assertEqual(found, Decision(Verdict.ALLOW, "it is down", "scripted", observed="unavailable"))

    def test_other_failures_pass(self) -> None:
        """Other exceptions are defects or cancellations."""
        for error in (RuntimeError, CancelledError):
            observing = ObservingAuthorizer(Scripted(lambda error=error: fail(error())))  # type: ignore[misc]
            self.failureResultOf(observing.decide(REQUEST), error)

    def test_cancelled(self) -> None:
        call: Deferred[Decision] = Deferred()
        deciding = ObservingAuthorizer(Scripted(lambda: call)).decide(REQUEST)
        deciding.cancel()
        self.assertTrue(call.called)
        self.failureResultOf(deciding, CancelledError)
