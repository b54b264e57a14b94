"""Tests for L{egress.authz.cache}."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.authz.cache import CachingAuthorizer
from egress.authz.decision_store import DecisionStore
from egress.interfaces import IAuthorizer
from egress.model.authority import Authority, Origin
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import ClientIdentity, Decision, Verdict
from egress.model.errors import AuthorizerUnavailable
from egress.model.revocation import Revocation, RevocationKind
from egress.model.statistics import CacheStats
from tests.authz.fakes import ManualAuthorizer
from tests.authz.protocols.requests import REQUEST
from tests.authz.test_decision_store import decision_with


class CacheTestCase(SynchronousTestCase):
    """Base: an authorizer, and the cache."""

    max_waiting = 3

    def setUp(self) -> None:
        self.clock = Clock()
        self.authorizer = ManualAuthorizer()
        store = DecisionStore(4, 100.0, 50.0)
        self.cache = CachingAuthorizer(self.clock, self.authorizer, store, self.max_waiting)

    def decide(self, **changes: Any) -> Deferred[Decision]:
        return self.cache.decide(attrs.evolve(REQUEST, **changes))

    def answer(self, result: Decision | Exception, number: int = -1) -> None:
        answer = self.authorizer.asked[number][1]
        if isinstance(result, Decision):
            answer.callback(result)
        else:
            answer.errback(result)

    def source(self, call: Deferred[Decision]) -> str | None:
        return self.successResultOf(call).source


class ReuseTests(CacheTestCase):
    """A decision is reused as the authorizer permits."""

    def test_interface(self) -> None:
        verifyObject(IAuthorizer, self.cache)
        self.assertEqual((self.cache.name, self.cache.needs_body), ("manual", True))

    def test_fresh(self) -> None:
        self.authorizer.at_once = decision_with(Verdict.DENY, ttl=10)
        self.assertEqual([self.source(self.decide()), self.source(self.decide(request_id="id-2"))], [None, "cache"])
        self.clock.advance(10)
        self.assertIsNone(self.source(self.decide()))
        self.assertEqual(len(self.authorizer.asked), 2)
        self.assertEqual(self.cache.reuse(), CacheStats(hits=1, misses=2, stale=0, shared=0, entries=1))

    def test_reuse_only_as_directed(self) -> None:
        for decision in (
            decision_with(),
            decision_with(ttl=0),
            decision_with(Verdict.ASK, ttl=5),
            decision_with(Verdict.NEED_BODY, ttl=5),
        ):
            with self.subTest(decision):
                self.authorizer.at_once = decision
                self.assertEqual([self.source(self.decide()), self.source(self.decide())], [None, None])

    def test_client_is_part_of_the_key(self) -> None:
        self.authorizer.at_once = decision_with(ttl=10)
        self.decide()
        self.assertIsNone(self.source(self.decide(client=ClientIdentity("192.0.2.9", 1))))
        self.assertIsNone(self.source(self.decide(client=ClientIdentity("192.0.2.1", 1, "ci"))))
        self.assertEqual(self.source(self.decide(client=ClientIdentity("192.0.2.1", 4321))), "cache")

    def test_clear(self) -> None:
        self.authorizer.at_once = decision_with(ttl=10)
        self.decide()
        self.cache.clear()
        self.assertIsNone(self.source(self.decide()))

    def test_clear_during_a_call(self) -> None:
        """The result of an earlier call is not cached, and later requests do not wait for it."""
        first = self.decide()
        self.cache.clear()
        second = self.decide()
        self.assertEqual(len(self.authorizer.asked), 2)
        self.answer(decision_with(ttl=10), 0)
        self.assertIsNone(self.source(first))
        self.assertEqual(self.cache.reuse().entries, 0)
        third = self.decide()
        self.answer(decision_with(ttl=10), 1)
        self.assertEqual([self.source(second), self.source(third)], [None, "shared"])
        self.assertEqual(self.cache.reuse().entries, 1)


class StaleTests(CacheTestCase):
    """Stale decisions, while the authorizer fails."""

    def setUp(self) -> None:
        super().setUp()
        self.authorizer.at_once = decision_with(ttl=10, stale_if_error=20)
        self.decide()
        self.clock.advance(15)

    def test_failures(self) -> None:
        for kind in AuthzFailure:
            with self.subTest(kind):
                self.authorizer.at_once = AuthorizerUnavailable("down", kind)
                call = self.decide()
                if kind in (AuthzFailure.CANCELLED, AuthzFailure.REQUEST):
                    self.failureResultOf(call, AuthorizerUnavailable)
                else:
                    self.assertEqual(self.source(call), "stale")

    def test_expiry(self) -> None:
        self.authorizer.at_once = AuthorizerUnavailable("down")
        self.clock.advance(14.9)
        self.assertEqual(self.source(self.decide()), "stale")
        self.clock.advance(0.1)
        self.failureResultOf(self.decide(), AuthorizerUnavailable)
        self.assertEqual(self.cache.reuse().stale, 1)

    def test_later_decision_overrides(self) -> None:
        self.authorizer.at_once = decision_with(Verdict.DENY)
        self.decide()
        self.authorizer.at_once = AuthorizerUnavailable("down")
        self.failureResultOf(self.decide(), AuthorizerUnavailable)

    def test_other_exceptions_pass(self) -> None:
        self.authorizer.at_once = RuntimeError("x")
        self.failureResultOf(self.decide(), RuntimeError)

    def test_concurrent_requests(self) -> None:
        self.authorizer.at_once = None
        call = [self.decide(), self.decide()]
        self.answer(AuthorizerUnavailable("down"))
        self.assertEqual([self.source(one) for one in call], ["stale", "stale"])
        self.assertEqual(self.cache.reuse().stale, 2)


class SharedTests(CacheTestCase):
    """One call for identical concurrent requests."""

    def test_shared(self) -> None:
        call = [self.decide(), self.decide(request_id="2", client=ClientIdentity("192.0.2.1", 999)), self.decide()]
        self.assertEqual(len(self.authorizer.asked), 1)
        self.answer(decision_with(ttl=10))
        self.assertEqual([self.source(one) for one in call], [None, "shared", "shared"])
        self.assertEqual(self.cache.reuse(), CacheStats(hits=0, misses=1, stale=0, shared=2, entries=1))

    def test_different_requests(self) -> None:
        self.decide()
        self.decide(path="/other")
        self.decide(client=ClientIdentity("192.0.2.9", 1))
        self.decide(body=b"x")
        self.assertEqual(len(self.authorizer.asked), 4)

    def test_decision_that_is_not_reusable(self) -> None:
        """A service that permits no reuse receives each request, and from then on without delay."""
        for verdict in (Verdict.ALLOW, Verdict.DENY):
            with self.subTest(verdict):
                self.setUp()
                call = [self.decide(request_id=str(number)) for number in range(3)]
                self.answer(decision_with(verdict))
                self.assertEqual([request.request_id for request, _ in self.authorizer.asked], ["0", "1", "2"])
                self.answer(decision_with(verdict, "second"), 1)
                self.answer(decision_with(verdict, "third"), 2)
                found = [self.successResultOf(one) for one in call]
                self.assertEqual([one.reason for one in found], ["why", "second", "third"])
                self.assertEqual([one.source for one in found], [None] * 3)
                self.decide()
                self.decide()
                self.assertEqual(len(self.authorizer.asked), 5)

    def test_sharing_resumes(self) -> None:
        """If the latest decision on an origin is reusable, its requests wait for each other again."""
        self.decide()
        self.answer(decision_with())
        self.decide()
        self.answer(decision_with(ttl=1))
        self.clock.advance(1)
        self.decide()
        self.decide()
        self.assertEqual(len(self.authorizer.asked), 3)

    def test_need_and_ask_are_not_shared(self) -> None:
        for verdict in (Verdict.NEED_BODY, Verdict.ASK):
            with self.subTest(verdict):
                self.setUp()
                self.decide()
                second = self.decide()
                self.answer(decision_with(verdict, ttl=10))
                self.assertNoResult(second)
                self.answer(decision_with(verdict, ttl=10), 1)
                self.assertIsNone(self.source(second))

    def test_failure_is_shared(self) -> None:
        call = [self.decide(), self.decide(), self.decide()]
        error = AuthorizerUnavailable("down", AuthzFailure.OPEN, 7)
        self.answer(error)
        found = [self.failureResultOf(one, AuthorizerUnavailable).value for one in call]
        self.assertEqual(
            [(one.reason, one.kind, one.retry_after) for one in found], [("down", AuthzFailure.OPEN, 7)] * 3
        )
        self.assertEqual(len({id(one) for one in found}), 3)
        self.assertEqual(len(self.authorizer.asked), 1)

    def test_other_exceptions_are_shared(self) -> None:
        call = [self.decide(), self.decide()]
        self.answer(RuntimeError("x"))
        for one in call:
            self.failureResultOf(one, RuntimeError)

    def test_immediate_decision(self) -> None:
        self.authorizer.at_once = AuthorizerUnavailable("down")
        self.failureResultOf(self.decide(), AuthorizerUnavailable)
        self.authorizer.at_once = None
        self.decide()
        self.assertEqual(len(self.authorizer.asked), 2)

    def test_number_of_waiting_requests_is_limited(self) -> None:
        for _ in range(5):
            self.decide()
        self.assertEqual(len(self.authorizer.asked), 2)
        self.answer(decision_with(ttl=10), 0)
        self.clock.advance(10)
        for _ in range(4):
            self.decide()
        self.assertEqual(len(self.authorizer.asked), 3)

    def test_number_of_origins_is_limited(self) -> None:
        self.cache = CachingAuthorizer(self.clock, self.authorizer, DecisionStore(4, 100.0, 50.0), 3, max_scopes=4)
        origins = [Origin("http", Authority(f"h{number}.test", 80)) for number in range(6)]
        self.authorizer.at_once = decision_with()
        for origin in origins:
            self.decide(origin=origin)
        self.authorizer.at_once = None
        self.authorizer.asked.clear()
        for origin in origins:
            self.decide(origin=origin)
            self.decide(origin=origin)
        asked = [request.origin for request, _ in self.authorizer.asked]
        self.assertEqual([asked.count(origin) for origin in origins], [1, 1, 2, 2, 2, 2])


class CancelTests(CacheTestCase):
    """A client disconnects."""

    def test_one_of_several(self) -> None:
        for gone in (0, 1):
            with self.subTest(gone):
                self.setUp()
                call = [self.decide(), self.decide()]
                call[gone].cancel()
                self.failureResultOf(call[gone], CancelledError)
                self.assertEqual(self.authorizer.cancelled, 0)
                self.answer(decision_with(ttl=10))
                self.assertEqual(self.source(call[1 - gone]), None if gone else "shared")

    def test_last_of_several(self) -> None:
        call = [self.decide(), self.decide()]
        for one in call:
            one.cancel()
            self.failureResultOf(one, CancelledError)
        self.assertEqual(self.authorizer.cancelled, 1)
        self.decide()
        self.assertEqual(len(self.authorizer.asked), 2)

    def test_cancel_frees_capacity(self) -> None:
        self.decide()
        for _ in range(10):
            self.failureResultOf(self.cancelled(), CancelledError)
        self.assertEqual(len(self.authorizer.asked), 1)

    def cancelled(self) -> Deferred[Decision]:
        call = self.decide()
        call.cancel()
        return call

    def test_during_its_own_call(self) -> None:
        self.decide()
        second = self.decide()
        self.answer(decision_with())
        second.cancel()
        self.assertEqual(self.authorizer.cancelled, 1)
        self.failureResultOf(second)

    def test_without_sharing(self) -> None:
        self.decide()
        self.answer(decision_with())
        alone = self.decide()
        alone.cancel()
        self.assertEqual(self.authorizer.cancelled, 1)
        self.failureResultOf(alone, CancelledError)

    def test_during_the_result_of_another(self) -> None:
        first, second, third = self.decide(), self.decide(), self.decide()

        def cancel_second(decision: object) -> object:
            second.cancel()
            return decision

        first.addCallback(cancel_second)
        self.answer(decision_with(ttl=10))
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.source(third), "shared")

    def test_after_a_revocation(self) -> None:
        """A decision in flight is neither cached nor shared with later requests, whatever is revoked."""
        old = self.decide()
        self.assertEqual(self.cache.revoke(Revocation(RevocationKind.RULE, "r", 0.0, "", "rev-1")), 0)
        new = self.decide()
        self.answer(decision_with(ttl=10), 0)
        self.assertIsNone(self.source(old))
        self.assertNoResult(new)
        self.assertEqual(self.cache.reuse().entries, 0)
        self.answer(decision_with(ttl=10), 1)
        self.assertEqual(self.cache.revoke(Revocation(RevocationKind.ALL, "", 0.0, "", "rev-2")), 1)

    def test_after_a_reload(self) -> None:
        """Only the old call is cancelled; the new one continues."""
        old = self.decide()
        self.cache.clear()
        new = self.decide()
        old.cancel()
        self.failureResultOf(old, CancelledError)
        joined = self.decide()
        self.answer(decision_with(ttl=10), 1)
        self.assertEqual([self.source(new), self.source(joined)], [None, "shared"])
