"""Tests for L{egress.authz.fail_closed}."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.authz.fail_closed import FailClosedAuthorizer
from egress.interfaces import IAuthorizer
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import Decision, Verdict
from egress.model.errors import AuthorizerUnavailable
from tests.authz.fakes import ALLOW, DENY, REQUEST, Scripted
from tests.untyped import untyped


def raises() -> None:
    raise RuntimeError("secret")


class Truthy(Decision):
    """A subclass whose C{allowed} is always true."""

    @property
    def allowed(self) -> bool:
        return True


class FailClosedTests(SynchronousTestCase):
    """Only a decision is a decision."""

    def setUp(self) -> None:
        self.clock = Clock()

    def chain(self, behaviour: Callable[[], Any]) -> FailClosedAuthorizer:
        return FailClosedAuthorizer(self.clock, Scripted(behaviour), 7)

    def test_interface(self) -> None:
        chain = self.chain(lambda: succeed(ALLOW))
        verifyObject(IAuthorizer, chain)
        self.assertEqual((chain.name, chain.needs_body), ("scripted", True))

    def test_decisions_pass(self) -> None:
        for decision in (ALLOW, DENY):
            with self.subTest(decision=decision):
                self.assertIs(self.successResultOf(self.chain(partial(succeed, decision)).decide(REQUEST)), decision)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late_decision_passes(self) -> None:
        waiting: Deferred[Decision] = Deferred()
        call = self.chain(lambda: waiting).decide(REQUEST)
        self.clock.advance(6)
        waiting.callback(ALLOW)
        self.assertIs(self.successResultOf(call), ALLOW)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_other_results_fail(self) -> None:
        look_alikes = untyped(Truthy, Verdict.DENY, "no", "x")
        cases: list[tuple[str, Callable[[], Any], AuthzFailure, int]] = [
            ("raises", raises, AuthzFailure.EXCEPTION, 1),
            ("fails", lambda: fail(RuntimeError("secret")), AuthzFailure.EXCEPTION, 1),
            ("None", lambda: succeed(None), AuthzFailure.EXCEPTION, 0),
            ("True", lambda: succeed(True), AuthzFailure.EXCEPTION, 0),
            ("a verdict", lambda: succeed(Verdict.ALLOW), AuthzFailure.EXCEPTION, 0),
            *[("a look-alike", partial(succeed, each), AuthzFailure.EXCEPTION, 0) for each in look_alikes],
            ("no Deferred", lambda: True, AuthzFailure.EXCEPTION, 0),
            ("is cancelled", lambda: fail(CancelledError()), AuthzFailure.CANCELLED, 0),
            ("is unavailable", lambda: fail(AuthorizerUnavailable("down")), AuthzFailure.CONNECTION, 0),
            ("is silent", lambda: fail(AuthorizerUnavailable("x", AuthzFailure.TIMEOUT)), AuthzFailure.TIMEOUT, 0),
        ]
        for name, behaviour, kind, logged in cases:
            with self.subTest(name):
                error = self.failureResultOf(self.chain(behaviour).decide(REQUEST), AuthorizerUnavailable).value
                self.assertNotIn("secret", error.reason)
                self.assertIs(error.kind, kind)
                self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), logged)

    def test_silence_ends_at_the_deadline(self) -> None:
        cancelled: list[Deferred[Any]] = []
        call = self.chain(lambda: Deferred(cancelled.append)).decide(REQUEST)
        self.clock.advance(6.9)
        self.assertNoResult(call)
        self.clock.advance(0.1)
        error = self.failureResultOf(call, AuthorizerUnavailable).value
        self.assertIn("within 7 s", error.reason)
        self.assertIs(error.kind, AuthzFailure.TIMEOUT)
        self.assertEqual(len(cancelled), 1)

    def test_authorizer_that_ignores_cancellation(self) -> None:
        def refuses(_: object) -> None:
            raise RuntimeError("cannot be cancelled")

        for name, behaviour, logged in (
            ("was called, and waits for another", lambda: succeed(None).addCallback(lambda _: Deferred()), 0),
            ("goes on when it is cancelled", lambda: Deferred().addErrback(lambda _: Deferred()), 0),
            ("allows when it is cancelled", lambda: Deferred().addErrback(lambda _: ALLOW), 0),
            ("raises when it is cancelled", lambda: Deferred(refuses), 1),
        ):
            with self.subTest(name):
                call = self.chain(behaviour).decide(REQUEST)
                self.clock.advance(7)
                self.assertIn("within 7 s", self.failureResultOf(call, AuthorizerUnavailable).value.reason)
                self.assertEqual(self.clock.getDelayedCalls(), [])
                self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), logged)

    def test_coroutine(self) -> None:
        async def decide() -> Decision:
            return ALLOW

        self.assertIs(self.successResultOf(self.chain(decide).decide(REQUEST)), ALLOW)

    def test_cancelling_reaches_the_authorizer(self) -> None:
        cancelled: list[Deferred[Any]] = []
        call = self.chain(lambda: Deferred(cancelled.append)).decide(REQUEST)
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_readiness_and_closing_pass(self) -> None:
        self.successResultOf(self.chain(lambda: succeed(None)).check_ready())
        self.successResultOf(self.chain(lambda: succeed(None)).close())
        self.failureResultOf(self.chain(raises).check_ready(), RuntimeError)
        self.failureResultOf(self.chain(raises).close(), RuntimeError)
