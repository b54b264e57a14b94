"""Tests for L{egress.proxy.transaction}."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, Decision, Stage
from egress.model.errors import (
    AuthorizerUnavailable,
    BadRequest,
    ClientDisconnected,
    EgressError,
    InternalError,
    OriginUnreachable,
)
from egress.proxy.transaction import Transaction
from tests.proxy.fakes import Proxy, allow, broken
from tests.untyped import untyped

CLIENT = ClientIdentity("198.51.100.7", 40000)


class TransactionTests(SynchronousTestCase):
    """One authorization, one pending operation, one record."""

    def setUp(self) -> None:
        self.proxy = Proxy()
        self.faults: list[EgressError] = []
        self.decisions: list[Decision] = []
        origin = Origin("http", Authority("origin.test", 80))
        self.transaction = Transaction(
            self.proxy.parts.authz,
            self.faults.append,
            client=CLIENT,
            stage=Stage.REQUEST,
            method="GET",
            origin=origin,
            path="/a",
        )

    def authorize(self) -> None:
        """Send the authorization request."""
        self.transaction.authorize((), b"content", True, self.decisions.append)

    def test_authorization_request_and_decision(self) -> None:
        pending = self.proxy.authorizer.pending()
        self.authorize()
        (asked,) = self.proxy.authorizer.asked
        self.assertEqual((asked.request_id, asked.body, asked.body_truncated), ("id-1", b"content", True))
        self.proxy.clock.advance(2)
        pending.callback(allow())
        self.assertEqual(self.decisions, [allow()])
        self.proxy.clock.advance(1)
        self.transaction.report(None, 200, 1, 2)
        (record,) = self.proxy.records
        self.assertEqual((record.decision_seconds, record.duration, record.verdict), (2, 3, "allow"))

    def test_an_end_before_the_decision(self) -> None:
        self.proxy.authorizer.pending()
        self.authorize()
        self.proxy.clock.advance(2)
        self.transaction.report(ClientDisconnected("gone"), None, 0, 0)
        self.assertEqual(self.proxy.authorizer.cancelled, 1)
        (record,) = self.proxy.records
        self.assertEqual((record.decision_seconds, record.verdict, record.decided_by), (2, "rejected", "script"))
        self.assertEqual((self.decisions, self.faults), ([], []))

    def test_errors_are_passed_on(self) -> None:
        self.transaction.await_or_fail(fail(OriginUnreachable("no")), broken)
        self.assertEqual([type(error) for error in self.faults], [OriginUnreachable])

    def test_an_internal_error_before_authorization(self) -> None:
        self.transaction.await_or_fail(succeed(None), broken)
        self.assertEqual([type(error) for error in self.faults], [InternalError])
        self.assertNotIn("oops", self.faults[0].reason)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_an_internal_error_of_the_authorizer(self) -> None:
        self.proxy.authorizer.answers = [RuntimeError("oops")]
        self.authorize()
        self.assertEqual([type(error) for error in self.faults], [AuthorizerUnavailable])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_an_authorizer_that_cancels_itself(self) -> None:
        self.proxy.authorizer.answers = [CancelledError()]
        self.authorize()
        self.assertEqual([type(error) for error in self.faults], [AuthorizerUnavailable])

    def test_an_internal_error_after_the_decision(self) -> None:
        self.authorize()
        self.transaction.await_or_fail(succeed(None), broken)
        self.assertEqual([type(error) for error in self.faults], [InternalError])
        self.flushLoggedErrors(RuntimeError)

    def test_an_internal_error_at_the_end(self) -> None:
        def end(_: object) -> None:
            self.transaction.report(None, 200, 0, 0)
            raise RuntimeError("oops")

        self.transaction.await_or_fail(succeed(None), end)
        self.assertEqual([type(error) for error in self.faults], [InternalError])
        self.assertEqual(len(self.proxy.records), 1)
        self.flushLoggedErrors(RuntimeError)

    def test_an_internal_error_leaves_nothing_pending(self) -> None:
        cancelled: list[object] = []
        second: Deferred[None] = Deferred(cancelled.append)

        def begin_and_break(_: object) -> None:
            self.transaction.await_or_fail(second, lambda _: None)
            raise RuntimeError("oops")

        self.transaction.await_or_fail(succeed(None), begin_and_break)
        self.transaction.report(self.faults[0], 500, 0, 0)
        self.assertEqual(cancelled, [second])
        self.flushLoggedErrors(RuntimeError)

    def test_a_result_whose_validation_fails(self) -> None:
        for decision in untyped(Decision, [], "odd", "script"):
            self.proxy.authorizer.answers = [decision]
            self.authorize()
            self.assertEqual([type(error) for error in self.faults], [AuthorizerUnavailable])
        self.flushLoggedErrors(TypeError)

    def test_an_internal_error_in_the_callback(self) -> None:
        told: list[EgressError] = []

        def failed(error: EgressError) -> None:
            told.append(error)
            if len(told) == 1:
                raise RuntimeError("oops")

        origin = Origin("http", Authority("origin.test", 80))
        authz = self.proxy.parts.authz
        transaction = Transaction(
            authz, failed, client=CLIENT, stage=Stage.REQUEST, method="GET", origin=origin, path="/a"
        )
        transaction.await_or_fail(succeed(None), broken)
        self.assertEqual([type(error) for error in told], [InternalError, InternalError])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_results_after_the_end_are_ignored(self) -> None:
        waiting: Deferred[None] = Deferred(lambda deferred: deferred.callback(None))
        self.transaction.await_or_fail(waiting, broken)
        self.transaction.report(ClientDisconnected("gone"), None, 0, 0)
        self.assertEqual((self.faults, self.flushLoggedErrors()), ([], []))

    def test_no_authorization_request(self) -> None:
        self.transaction.report(BadRequest("no"), 400, 0, 0)
        (record,) = self.proxy.records
        self.assertEqual((record.verdict, record.decided_by, record.decision_seconds), ("rejected", "proxy", None))
        self.assertEqual((record.outcome, record.reason, record.url), ("bad-request", "no", "http://origin.test/a"))

    def test_no_decision_and_no_destination(self) -> None:
        self.transaction.report(None, None, 0, 0)
        self.assertEqual((self.proxy.records[0].verdict, self.proxy.records[0].reason), ("failed", ""))
