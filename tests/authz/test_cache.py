"""Tests for L{egress.authz.cache}."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from egress.authz.cache import _MAX_PLACES, CachingAuthorizer
from egress.authz.decision_store import DecisionStore
from egress.interfaces import IAuthorizer
from egress.model.authority import Authority, Origin
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Verdict
from egress.model.errors import AuthorizerUnavailable
from egress.model.statistics import CacheStats
from tests.authz.protocols.test_request_json import REQUEST
from tests.authz.test_decision_store import said


@implementer(IAuthorizer)
class Scripted:
    """An authorizer whose answers a test gives.

    @ivar at_once: what it answers without waiting.
    """

    name = "scripted"
    needs_body = True

    def __init__(self) -> None:
        self.asked: list[tuple[DecisionRequest, Deferred[Decision]]] = []
        self.at_once: Decision | Exception | None = None
        self.cancelled = 0

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        answer: Deferred[Decision] = Deferred(self._cancel)
        self.asked.append((request, answer))
        if isinstance(self.at_once, Decision):
            return succeed(self.at_once)
        return answer if self.at_once is None else fail(self.at_once)

    def _cancel(self, _: object) -> None:
        self.cancelled += 1

    def check_ready(self) -> Deferred[None]:
        return succeed(None)

    def close(self) -> Deferred[None]:
        return succeed(None)


class CacheTestCase(SynchronousTestCase):
    """An authorizer, and what stands before it."""

    may_wait = 3

    def setUp(self) -> None:
        self.clock = Clock()
        self.authorizer = Scripted()
        kept = DecisionStore(4, 100.0, 50.0)
        self.cache = CachingAuthorizer(self.clock, self.authorizer, kept, self.may_wait)

    def ask(self, **changes: Any) -> Deferred[Decision]:
        return self.cache.decide(attrs.evolve(REQUEST, **changes))

    def answer(self, result: Decision | Exception, number: int = -1) -> None:
        answer = self.authorizer.asked[number][1]
        if isinstance(result, Decision):
            answer.callback(result)
        else:
            answer.errback(result)

    def source(self, asked: Deferred[Decision]) -> str | None:
        return self.successResultOf(asked).source


class ReuseTests(CacheTestCase):
    """What was answered is not asked again, where the authorizer says so."""

    def test_interface(self) -> None:
        verifyObject(IAuthorizer, self.cache)
        self.assertEqual((self.cache.name, self.cache.needs_body), ("scripted", True))

    def test_fresh(self) -> None:
        self.authorizer.at_once = said(Verdict.DENY, ttl=10)
        self.assertEqual([self.source(self.ask()), self.source(self.ask(request_id="id-2"))], [None, "cache"])
        self.clock.advance(10)
        self.assertIsNone(self.source(self.ask()))
        self.assertEqual(len(self.authorizer.asked), 2)
        self.assertEqual(self.cache.reuse(), CacheStats(hits=1, misses=2, stale=0, shared=0, entries=1))

    def test_only_as_directed(self) -> None:
        for decision in (said(), said(ttl=0), said(Verdict.ASK, ttl=5), said(Verdict.NEED_BODY, ttl=5)):
            with self.subTest(decision):
                self.authorizer.at_once = decision
                self.assertEqual([self.source(self.ask()), self.source(self.ask())], [None, None])

    def test_who_asks_counts(self) -> None:
        self.authorizer.at_once = said(ttl=10)
        self.ask()
        self.assertIsNone(self.source(self.ask(client=ClientIdentity("192.0.2.9", 1))))
        self.assertIsNone(self.source(self.ask(client=ClientIdentity("192.0.2.1", 1, "ci"))))
        self.assertEqual(self.source(self.ask(client=ClientIdentity("192.0.2.1", 4321))), "cache")

    def test_clear(self) -> None:
        self.authorizer.at_once = said(ttl=10)
        self.ask()
        self.cache.clear()
        self.assertIsNone(self.source(self.ask()))

    def test_clear_while_a_question_is_under_way(self) -> None:
        """An answer from before is not kept, nor waited for."""
        first = self.ask()
        self.cache.clear()
        second = self.ask()
        self.assertEqual(len(self.authorizer.asked), 2)
        self.answer(said(ttl=10), 0)
        self.assertIsNone(self.source(first))
        self.assertEqual(self.cache.reuse().entries, 0)
        third = self.ask()
        self.answer(said(ttl=10), 1)
        self.assertEqual([self.source(second), self.source(third)], [None, "shared"])
        self.assertEqual(self.cache.reuse().entries, 1)


class StaleTests(CacheTestCase):
    """While there are no answers."""

    def setUp(self) -> None:
        super().setUp()
        self.authorizer.at_once = said(ttl=10, stale_if_error=20)
        self.ask()
        self.clock.advance(15)

    def test_outages(self) -> None:
        for kind in AuthzFailure:
            with self.subTest(kind):
                self.authorizer.at_once = AuthorizerUnavailable("down", kind)
                asked = self.ask()
                if kind in (AuthzFailure.GIVEN_UP, AuthzFailure.REQUEST):
                    self.failureResultOf(asked, AuthorizerUnavailable)
                else:
                    self.assertEqual(self.source(asked), "stale")

    def test_not_for_ever(self) -> None:
        self.authorizer.at_once = AuthorizerUnavailable("down")
        self.clock.advance(14.9)
        self.assertEqual(self.source(self.ask()), "stale")
        self.clock.advance(0.1)
        self.failureResultOf(self.ask(), AuthorizerUnavailable)
        self.assertEqual(self.cache.reuse().stale, 1)

    def test_a_later_answer_counts(self) -> None:
        self.authorizer.at_once = said(Verdict.DENY)
        self.ask()
        self.authorizer.at_once = AuthorizerUnavailable("down")
        self.failureResultOf(self.ask(), AuthorizerUnavailable)

    def test_another_fault_is_none_of_its_business(self) -> None:
        self.authorizer.at_once = RuntimeError("x")
        self.failureResultOf(self.ask(), RuntimeError)

    def test_together(self) -> None:
        self.authorizer.at_once = None
        asked = [self.ask(), self.ask()]
        self.answer(AuthorizerUnavailable("down"))
        self.assertEqual([self.source(one) for one in asked], ["stale", "stale"])
        self.assertEqual(self.cache.reuse().stale, 2)


class SharedTests(CacheTestCase):
    """One call for identical questions."""

    def test_shared(self) -> None:
        asked = [self.ask(), self.ask(request_id="2", client=ClientIdentity("192.0.2.1", 999)), self.ask()]
        self.assertEqual(len(self.authorizer.asked), 1)
        self.answer(said(ttl=10))
        self.assertEqual([self.source(one) for one in asked], [None, "shared", "shared"])
        self.assertEqual(self.cache.reuse(), CacheStats(hits=0, misses=1, stale=0, shared=2, entries=1))

    def test_different_questions(self) -> None:
        self.ask()
        self.ask(path="/other")
        self.ask(client=ClientIdentity("192.0.2.9", 1))
        self.ask(body=b"x")
        self.assertEqual(len(self.authorizer.asked), 4)

    def test_not_shared(self) -> None:
        """A service that says nothing of reuse sees each request, and from then on at once."""
        for verdict in (Verdict.ALLOW, Verdict.DENY):
            with self.subTest(verdict):
                self.setUp()
                asked = [self.ask(request_id=str(number)) for number in range(3)]
                self.answer(said(verdict))
                self.assertEqual([request.request_id for request, _ in self.authorizer.asked], ["0", "1", "2"])
                self.answer(said(verdict, "second"), 1)
                self.answer(said(verdict, "third"), 2)
                found = [self.successResultOf(one) for one in asked]
                self.assertEqual([one.reason for one in found], ["why", "second", "third"])
                self.assertEqual([one.source for one in found], [None] * 3)
                self.ask()
                self.ask()
                self.assertEqual(len(self.authorizer.asked), 5)

    def test_waiting_again(self) -> None:
        """An origin whose latest answer may be reused is one whose questions wait for each other."""
        self.ask()
        self.answer(said())
        self.ask()
        self.answer(said(ttl=1))
        self.clock.advance(1)
        self.ask()
        self.ask()
        self.assertEqual(len(self.authorizer.asked), 3)

    def test_neither_content_nor_a_person_is_shared(self) -> None:
        for verdict in (Verdict.NEED_BODY, Verdict.ASK):
            with self.subTest(verdict):
                self.setUp()
                self.ask()
                second = self.ask()
                self.answer(said(verdict, ttl=10))
                self.assertNoResult(second)
                self.answer(said(verdict, ttl=10), 1)
                self.assertIsNone(self.source(second))

    def test_an_outage_is_for_all(self) -> None:
        asked = [self.ask(), self.ask(), self.ask()]
        error = AuthorizerUnavailable("down", AuthzFailure.OPEN, 7)
        self.answer(error)
        found = [self.failureResultOf(one, AuthorizerUnavailable).value for one in asked]
        self.assertEqual(
            [(one.reason, one.kind, one.retry_after) for one in found], [("down", AuthzFailure.OPEN, 7)] * 3
        )
        self.assertEqual(len({id(one) for one in found}), 3)
        self.assertEqual(len(self.authorizer.asked), 1)

    def test_another_fault_is_for_all(self) -> None:
        asked = [self.ask(), self.ask()]
        self.answer(RuntimeError("x"))
        for one in asked:
            self.failureResultOf(one, RuntimeError)

    def test_at_once(self) -> None:
        self.authorizer.at_once = AuthorizerUnavailable("down")
        self.failureResultOf(self.ask(), AuthorizerUnavailable)
        self.authorizer.at_once = None
        self.ask()
        self.assertEqual(len(self.authorizer.asked), 2)

    def test_so_many_wait(self) -> None:
        for _ in range(5):
            self.ask()
        self.assertEqual(len(self.authorizer.asked), 2)
        self.answer(said(ttl=10), 0)
        self.clock.advance(10)
        for _ in range(4):
            self.ask()
        self.assertEqual(len(self.authorizer.asked), 3)

    def test_places_are_bounded(self) -> None:
        self.authorizer.at_once = said()
        for number in range(_MAX_PLACES + 5):
            self.ask(origin=Origin("http", Authority(f"h{number}.test", 80)))
        self.assertEqual(len(self.cache._not_shared), _MAX_PLACES)


class CancelTests(CacheTestCase):
    """A client goes away."""

    def test_one_of_several(self) -> None:
        for gone in (0, 1):
            with self.subTest(gone):
                self.setUp()
                asked = [self.ask(), self.ask()]
                asked[gone].cancel()
                self.failureResultOf(asked[gone], CancelledError)
                self.assertEqual(self.authorizer.cancelled, 0)
                self.answer(said(ttl=10))
                self.assertEqual(self.source(asked[1 - gone]), None if gone else "shared")

    def test_the_last(self) -> None:
        asked = [self.ask(), self.ask()]
        for one in asked:
            one.cancel()
            self.failureResultOf(one, CancelledError)
        self.assertEqual(self.authorizer.cancelled, 1)
        self.ask()
        self.assertEqual(len(self.authorizer.asked), 2)

    def test_there_is_room_again(self) -> None:
        self.ask()
        for _ in range(10):
            self.failureResultOf(self.cancelled(), CancelledError)
        self.assertEqual(len(self.authorizer.asked), 1)

    def cancelled(self) -> Deferred[Decision]:
        asked = self.ask()
        asked.cancel()
        return asked

    def test_after_it_asked_for_itself(self) -> None:
        self.ask()
        second = self.ask()
        self.answer(said())
        second.cancel()
        self.assertEqual(self.authorizer.cancelled, 1)
        self.failureResultOf(second)

    def test_one_that_asks_alone(self) -> None:
        self.ask()
        self.answer(said())
        alone = self.ask()
        alone.cancel()
        self.assertEqual(self.authorizer.cancelled, 1)
        self.failureResultOf(alone, CancelledError)

    def test_by_what_another_does_with_its_answer(self) -> None:
        first, second, third = self.ask(), self.ask(), self.ask()

        def cancel_second(decision: object) -> object:
            second.cancel()
            return decision

        first.addCallback(cancel_second)
        self.answer(said(ttl=10))
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.source(third), "shared")

    def test_after_a_reload(self) -> None:
        """The flight that is given up is the old one; the new one goes on."""
        old = self.ask()
        self.cache.clear()
        new = self.ask()
        old.cancel()
        self.failureResultOf(old, CancelledError)
        joined = self.ask()
        self.answer(said(ttl=10), 1)
        self.assertEqual([self.source(new), self.source(joined)], [None, "shared"])
