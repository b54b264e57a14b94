"""Tests for L{egress.authz.limiter}."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.authz.breaker import FIRST_DELAY, LAST_DELAY, Breaker
from egress.authz.fail_closed import FailClosedAuthorizer
from egress.authz.limiter import LimitedAuthorizer
from egress.interfaces import IAuthorizer
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import ClientIdentity, Decision, DecisionRequest
from egress.model.errors import AuthorizerUnavailable
from tests.authz.fakes import ALLOW, DENY, REQUEST, ManualAuthorizer

DEADLINE = 5.0
AT_ONCE = 2
MAY_WAIT = 3
MOST = 3


class Manual(ManualAuthorizer):
    """Also completes the readiness checks when a test says so.

    @ivar checks: the Deferreds of the readiness checks; L{cancelled} counts these, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.checks: list[Deferred[None]] = []

    def check_ready(self) -> Deferred[None]:
        self.checks.append(Deferred(self._cancel))
        return self.checks[-1]


# The kinds of failure of a request.
ENDS = (AuthorizerUnavailable, CancelledError)


def outage(kind: AuthzFailure = AuthzFailure.TIMEOUT, reason: str = "private") -> AuthorizerUnavailable:
    return AuthorizerUnavailable(reason, kind)


ANSWERS: dict[str, Any] = {"allow": ALLOW, "silence": outage(), "bad answer": outage(AuthzFailure.RESPONSE)}


class LimiterTestCase(SynchronousTestCase):
    """Base: a limiter for two concurrent requests, and an authorizer that the test controls."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.manual = Manual()
        self.limiter = self.make()

    def make(self, at_once: int = AT_ONCE, max_queue: int = MAY_WAIT) -> LimitedAuthorizer:
        self.changes: list[str | None] = []
        chain = FailClosedAuthorizer(self.clock, self.manual, None)
        breaker = Breaker(MOST, 60, lambda: 1.0)
        return LimitedAuthorizer(
            *(self.clock, chain, breaker),
            deadline=DEADLINE,
            max_concurrency=at_once,
            max_queue=max_queue,
            breaker_changed=self.changes.append,
        )

    def decide(self, name: str = "", client: str = "192.0.2.1") -> Deferred[Any]:
        return self.limiter.decide(attrs.evolve(REQUEST, request_id=name, client=ClientIdentity(client, 1)))

    def under_way(self) -> list[str]:
        """The names of the requests that the authorizer has received and not decided."""
        return [request.request_id for request, waiting in self.manual.asked if not waiting.called]

    def answer(self, with_: Any = ALLOW) -> None:
        """Complete the oldest request."""
        waiting = next(waiting for _, waiting in self.manual.asked if not waiting.called)
        if isinstance(with_, Exception):
            waiting.errback(with_)
        else:
            waiting.callback(with_)

    def assert_refused(self, call: Deferred[Any], kind: AuthzFailure) -> AuthorizerUnavailable:
        """Assert that a request failed."""
        error: AuthorizerUnavailable = self.failureResultOf(call, AuthorizerUnavailable).value
        self.assertIs(error.kind, kind)
        return error

    def state(self) -> str:
        (state,) = [state for state, current in self.limiter.stats().states.items() if current]
        return state

    def open(self, kind: AuthzFailure = AuthzFailure.TIMEOUT, client: str = "192.0.2.1") -> None:
        """Open the circuit breaker."""
        for _ in range(MOST):
            call = self.decide(client=client)
            self.answer(outage(kind))
            self.assert_refused(call, kind)
        self.assertEqual(self.state(), "open")

    def half_open(self, client: str = "192.0.2.1") -> None:
        """Make the circuit breaker half-open."""
        self.open(client=client)
        self.clock.advance(FIRST_DELAY)
        self.manual.checks[-1].callback(None)
        self.assertEqual(self.state(), "half-open")


class PassingTests(LimiterTestCase):
    """Results that pass unchanged."""

    def test_interface(self) -> None:
        verifyObject(IAuthorizer, self.limiter)
        self.assertEqual((self.limiter.name, self.limiter.needs_body), ("manual", True))

    def test_decisions(self) -> None:
        for decision in (ALLOW, DENY):
            for at_once in (None, decision):
                with self.subTest(decision=decision, at_once=at_once):
                    self.manual.at_once = at_once
                    call = self.decide()
                    if at_once is None:
                        self.assertEqual(self.limiter.stats().in_flight, 1)
                        self.answer(decision)
                    self.assertIs(self.successResultOf(call), decision)
                    self.assertEqual(self.limiter.stats().in_flight, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failures(self) -> None:
        for kind in (AuthzFailure.CONNECTION, AuthzFailure.TIMEOUT, AuthzFailure.RESPONSE, AuthzFailure.REQUEST):
            for at_once in (False, True):
                with self.subTest(kind=kind, at_once=at_once):
                    self.setUp()
                    self.manual.at_once = outage(kind) if at_once else None
                    call = self.decide()
                    if not at_once:
                        self.answer(outage(kind))
                    self.assertEqual(self.assert_refused(call, kind).reason, "private")
                    stats = self.limiter.stats()
                    self.assertEqual((stats.in_flight, stats.failures[kind.value]), (0, 1))
                    self.assertEqual(sum(stats.failures.values()), 1)

    def test_authorizer_that_raises(self) -> None:
        self.manual.at_once = RuntimeError("x")
        self.assert_refused(self.decide(), AuthzFailure.EXCEPTION)
        self.assertEqual(self.limiter.stats().failures["exception"], 1)
        self.flushLoggedErrors(RuntimeError)

    def test_authorizer_that_is_overloaded(self) -> None:
        self.manual.at_once = outage(AuthzFailure.OVERLOAD)
        self.assert_refused(self.decide(), AuthzFailure.OVERLOAD)
        self.assertEqual(self.limiter.stats().rejected["overload"], 1)

    def test_cancelling(self) -> None:
        call = self.decide()
        call.cancel()
        self.assert_refused(call, AuthzFailure.CANCELLED)
        self.assertEqual((self.manual.cancelled, self.limiter.stats().in_flight), (1, 0))
        self.assertEqual(sum(self.limiter.stats().failures.values()), 0)

    def test_readiness_and_closing(self) -> None:
        ready = self.limiter.check_ready()
        self.assertNoResult(ready)
        self.manual.checks[0].callback(None)
        self.successResultOf(ready)
        self.successResultOf(self.limiter.close())
        self.assertTrue(self.manual.closed)


class QueueTests(LimiterTestCase):
    """The concurrency limit and the queue."""

    def fill(self) -> list[Deferred[Any]]:
        """Send as many requests as the limit and the queue permit."""
        return [self.decide(name) for name in "abcde"]

    def test_first_come_first_served(self) -> None:
        calls = self.fill()
        for expected in ("ab", "bc", "cd", "de", "e", ""):
            self.assertEqual("".join(self.under_way()), expected)
            self.assertEqual(self.limiter.stats().in_flight, len(expected))
            if expected:
                self.answer()
        for one in calls:
            self.successResultOf(one)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failures_free_capacity(self) -> None:
        calls = self.fill()
        self.answer(outage(AuthzFailure.RESPONSE))
        self.assert_refused(calls[0], AuthzFailure.RESPONSE)
        self.assertEqual(self.under_way(), ["b", "c"])

    def test_queue_is_bounded(self) -> None:
        calls = self.fill()
        stats = self.limiter.stats()
        self.assertEqual((stats.in_flight, stats.queued), (AT_ONCE, MAY_WAIT))
        error = self.assert_refused(self.decide(), AuthzFailure.OVERLOAD)
        self.assertEqual(error.reason, "the authorizer is overloaded: 2 requests are in progress and 3 are queued")
        self.assertEqual(error.retry_after, 1)
        self.assertEqual(self.limiter.stats().rejected["overload"], 1)
        self.assertEqual(self.state(), "closed")
        self.answer()
        self.successResultOf(calls[0])
        self.assertNoResult(self.decide("f"))

    def test_clients_take_turns(self) -> None:
        """A client that floods delays only itself."""
        self.limiter = self.make(max_queue=10)
        for name in ("f1", "f2", "f3", "f4", "f5"):
            self.decide(name)
        self.decide("a1", "192.0.2.2"), self.decide("a2", "192.0.2.2"), self.decide("b1", "192.0.2.3")
        seen = []
        while self.under_way():
            seen.append(self.under_way()[0])
            self.answer()
        self.assertEqual(seen, ["f1", "f2", "f3", "a1", "b1", "f4", "a2", "f5"])

    def test_displacement(self) -> None:
        """Only the newest request of the client that has most is displaced."""
        calls = self.fill()
        other = self.decide("other", "2001:db8::1")
        error = self.assert_refused(calls[4], AuthzFailure.OVERLOAD)
        self.assertIn("3 are queued, most of them from this client", error.reason)
        self.assertNoResult(other)
        # One network counts as one client, and it has its share now.
        self.assert_refused(self.decide("more", "2001:db8::2"), AuthzFailure.OVERLOAD)
        for one in (calls[2], calls[3], other):
            self.assertNoResult(one)
        stats = self.limiter.stats()
        self.assertEqual((stats.queued, stats.rejected["overload"]), (MAY_WAIT, 2))
        self.answer()
        self.answer()
        self.assertEqual(self.under_way(), ["c", "other"])

    def test_without_queue(self) -> None:
        self.limiter = self.make(max_queue=0)
        self.decide(), self.decide()
        self.assert_refused(self.decide(), AuthzFailure.OVERLOAD)
        self.assert_refused(self.decide(client="192.0.2.2"), AuthzFailure.OVERLOAD)

    def test_cancel_in_the_queue(self) -> None:
        calls = self.fill()
        calls[2].cancel()
        self.failureResultOf(calls[2], CancelledError)
        self.assertEqual(self.limiter.stats().queued, MAY_WAIT - 1)
        self.answer()
        self.assertEqual(self.under_way(), ["b", "d"])

    def test_cancel_after_the_queue(self) -> None:
        calls = self.fill()
        self.answer()
        calls[2].cancel()
        self.failureResultOf(calls[2], CancelledError)
        self.assertEqual(self.manual.cancelled, 1)
        self.assertEqual(self.under_way(), ["b", "d"])
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)

    def test_time_in_the_queue_counts(self) -> None:
        calls = self.fill()
        self.clock.advance(DEADLINE - 1)
        self.answer()
        self.clock.advance(0.9)
        self.assertNoResult(calls[2])
        self.clock.advance(0.1)
        error = self.assert_refused(calls[2], AuthzFailure.TIMEOUT)
        self.assertIn("within 5 s; the request was queued for 4.0 s of this time", error.reason)
        self.assertEqual(self.manual.cancelled, 1)
        for one in calls[3:]:
            self.assertIn("queued for 5 s", self.assert_refused(one, AuthzFailure.OVERLOAD).reason)
        stats = self.limiter.stats()
        self.assertEqual((stats.in_flight, stats.queued), (1, 0))
        self.assertEqual((stats.failures["timeout"], stats.rejected["overload"]), (1, 2))
        # The authorizer did not have the full timeout.
        self.assertEqual(self.state(), "closed")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_immediate_decisions(self) -> None:
        """A long queue causes no recursion."""
        for answer in (ALLOW, outage(AuthzFailure.RESPONSE)):
            with self.subTest(answer=answer):
                self.setUp()
                self.limiter = self.make(max_queue=1500)
                call = [self.decide() for _ in range(AT_ONCE + 1500)]
                self.manual.at_once = answer
                self.answer()
                self.assertEqual(len([one for one in call if one.called]), 1 + 1500)
                for one in call:
                    one.addErrback(lambda _: None)

    def test_queue_has_priority(self) -> None:
        calls = self.fill()
        order: list[str] = []
        self.manual.at_once = ALLOW
        calls[2].addCallback(lambda _: self.decide("next").addCallback(lambda _: order.append("next")))
        calls[3].addCallback(lambda _: order.append("d"))
        calls[4].addCallback(lambda _: order.append("e"))
        self.answer()
        self.assertEqual(order, ["d", "e", "next"])

    def test_authorizer_that_ignores_cancellation(self) -> None:
        """Its late result is ignored."""
        calls = self.fill()
        self.answer()
        self.manual.asked[2][1].addErrback(lambda _: ALLOW)
        calls[2].cancel()
        self.failureResultOf(calls[2], CancelledError)

    def test_closing(self) -> None:
        calls = self.fill()
        self.limiter.close()
        for one in calls[2:]:
            self.assertIn("stopping", self.assert_refused(one, AuthzFailure.CANCELLED).reason)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertNoResult(calls[0])


class BreakerTests(LimiterTestCase):
    """The limiter while the circuit breaker is open."""

    def test_failures_that_open_it(self) -> None:
        for kind, expected in (
            (AuthzFailure.CONNECTION, "open"),
            (AuthzFailure.TIMEOUT, "open"),
            (AuthzFailure.RESPONSE, "closed"),
            (AuthzFailure.EXCEPTION, "closed"),
            (AuthzFailure.REQUEST, "closed"),
            (AuthzFailure.CANCELLED, "closed"),
            (AuthzFailure.OVERLOAD, "closed"),
        ):
            with self.subTest(kind=kind):
                self.setUp()
                for _ in range(MOST):
                    call = self.decide()
                    self.answer(outage(kind))
                    self.assert_refused(call, kind)
                self.assertEqual(self.state(), expected)

    def test_changes(self) -> None:
        """Opening and closing are reported; a probe that fails is no change."""
        self.half_open()
        call = self.decide()
        self.answer(outage(AuthzFailure.TIMEOUT))
        self.assert_refused(call, AuthzFailure.TIMEOUT)
        self.assertEqual((self.state(), self.changes), ("open", ["the request timed out"]))
        self.clock.advance(2 * FIRST_DELAY)
        self.manual.checks[-1].callback(None)
        call = self.decide()
        self.answer()
        self.successResultOf(call)
        self.assertEqual((self.state(), self.changes), ("closed", ["the request timed out", None]))

    def test_results_that_are_responses(self) -> None:
        for answer, expected in (
            (ALLOW, "closed"),
            (DENY, "closed"),
            (outage(AuthzFailure.RESPONSE), "closed"),
            (outage(AuthzFailure.EXCEPTION), "closed"),
            (outage(AuthzFailure.REQUEST), "open"),
            (outage(AuthzFailure.CANCELLED), "open"),
        ):
            for at_once in (False, True):
                with self.subTest(answer=answer, at_once=at_once):
                    self.setUp()
                    for one in [*[outage()] * (MOST - 1), answer, outage()]:
                        call = self.decide() if not at_once else None
                        if call is None:
                            self.manual.at_once = one
                            call = self.decide()
                        else:
                            self.answer(one)
                        call.addErrback(lambda _: None)
                    self.assertEqual(self.state(), expected)

    def test_rejected_while_it_is_open(self) -> None:
        for kind, words in (
            (AuthzFailure.TIMEOUT, "the request timed out"),
            (AuthzFailure.CONNECTION, "the connection failed"),
        ):
            with self.subTest(kind=kind):
                self.setUp()
                self.open(kind)
                before = len(self.manual.asked)
                self.clock.advance(0.25)
                error = self.assert_refused(self.decide(), AuthzFailure.OPEN)
                # The reason of the failure may describe the request of another client.
                self.assertEqual(
                    error.reason,
                    f"the authorizer circuit breaker is open: no response for 0 s, last failure: {words}; "
                    "next attempt in 1 s",
                )
                self.assertEqual(error.retry_after, 1)
                self.assertEqual(len(self.manual.asked), before)
                self.assertEqual(self.limiter.stats().rejected["open"], 1)

    def test_queue_is_rejected_when_it_opens(self) -> None:
        self.limiter = self.make(at_once=MOST, max_queue=5)
        call = [self.decide() for _ in range(MOST + 5)]
        # All but the last of the first requests are replaced by requests from the queue.
        first, second, third = call[-3:]

        # A client that disconnects on the first failure, with all of its requests.
        def cancel_third(failure: object) -> object:
            third.cancel()
            return failure

        first.addErrback(cancel_third)
        for one, (_, waiting) in zip(call, self.manual.asked[:MOST], strict=False):
            waiting.errback(outage())
            self.assert_refused(one, AuthzFailure.TIMEOUT)
        self.assert_refused(first, AuthzFailure.OPEN)
        self.assert_refused(second, AuthzFailure.OPEN)
        self.failureResultOf(third, CancelledError)
        stats = self.limiter.stats()
        self.assertEqual((self.state(), stats.queued, stats.rejected["open"]), ("open", 0, 2))

    def test_probe_decides(self) -> None:
        for answer, expected in ((ALLOW, "closed"), (DENY, "closed"), (outage(), "open")):
            with self.subTest(answer=answer):
                self.setUp()
                self.half_open()
                probe = self.decide("probe")
                error = self.assert_refused(self.decide(), AuthzFailure.OPEN)
                self.assertIn("an attempt is in progress", error.reason)
                self.assertEqual((self.under_way(), error.retry_after), (["probe"], 1))
                self.answer(answer)
                probe.addErrback(lambda _: None)
                self.assertEqual(self.state(), expected)

    def test_probe_that_is_cancelled(self) -> None:
        self.half_open()
        probe = self.decide()
        probe.cancel()
        self.assert_refused(probe, AuthzFailure.CANCELLED)
        self.assertEqual(self.state(), "half-open")
        self.decide("next")
        self.assertEqual(self.under_way(), ["next"])

    def test_capacity_for_the_probe(self) -> None:
        """Earlier requests that hang do not block it, even repeatedly."""
        slow = [self.decide("slow"), self.decide("first")]
        for number in range(5):
            for _ in range(MOST if number == 0 else 1):
                self.manual.asked[-1][1].errback(outage())
                if self.state() == "closed":
                    slow.append(self.decide())
            self.assertEqual((self.state(), self.limiter.stats().in_flight), ("open", AT_ONCE - 1))
            self.clock.advance(self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds())
            self.manual.checks[-1].callback(None)
            slow.append(self.decide())
            self.assertEqual(self.limiter.stats().in_flight, AT_ONCE)
        self.answer()
        self.assertIs(self.successResultOf(slow[0]), ALLOW)
        self.assertEqual(self.state(), "closed")
        for one in slow[1:]:
            one.addErrback(lambda _: None)

    def test_opening_client_cannot_keep_it_open(self) -> None:
        """A client whose requests the authorizer does not survive sends requests all the time."""
        bad, good = "192.0.2.66", "192.0.2.1"
        self.half_open(bad)
        self.assertEqual(self.state(), "half-open")
        # No other client sent a request while the breaker was open, so any client may send the probe.
        self.decide(client=bad).addErrback(lambda _: None)
        self.decide(client=good).addErrback(lambda _: None)
        self.answer(outage())
        self.decide(client=good).addErrback(lambda _: None)
        self.clock.advance(2 * FIRST_DELAY)
        self.manual.checks[-1].callback(None)
        self.assert_refused(self.decide(client=bad), AuthzFailure.OPEN)
        probe = self.decide(client=good)
        self.answer()
        self.successResultOf(probe)
        self.assertEqual(self.state(), "closed")

    def test_clients_of_responses(self) -> None:
        """The breaker learns when failures of one client end with a response to another."""
        for client, expected in (("192.0.2.1", "open"), ("192.0.2.2", "closed")):
            for answer in (ALLOW, outage(AuthzFailure.RESPONSE)):
                for at_once in (False, True):
                    with self.subTest(client=client, answer=answer, at_once=at_once):
                        self.setUp()
                        for who, one in (
                            ("192.0.2.1", outage()),
                            (client, answer),
                            *[("192.0.2.1", outage())] * MOST,
                        ):
                            self.manual.at_once = one if at_once else None
                            self.decide(client=who).addErrback(lambda _: None)
                            if not at_once:
                                self.answer(one)
                        self.assertEqual(self.state(), expected)

    def test_client_that_causes_failures(self) -> None:
        """The authorizer hangs on all requests of one client.  Another client sends few requests, and is seldom
        rejected.
        """
        bad, good = ClientIdentity("192.0.2.66", 1), ClientIdentity("192.0.2.1", 1)

        class Hanging(Manual):
            def decide(self, request: DecisionRequest) -> Deferred[Decision]:
                return Deferred() if request.client is bad else succeed(ALLOW)

            def check_ready(self) -> Deferred[None]:
                return succeed(None)

        chain = FailClosedAuthorizer(self.clock, Hanging(), DEADLINE)
        breaker = Breaker(MOST, 60, lambda: 1.0)
        limiter = LimitedAuthorizer(self.clock, chain, breaker, deadline=DEADLINE, max_concurrency=1000, max_queue=0)
        decided: list[Any] = []
        for second in range(500):
            for _ in range(20):
                limiter.decide(attrs.evolve(REQUEST, client=bad)).addErrback(lambda _: None)
            if second % 10 == 9:
                call = limiter.decide(attrs.evolve(REQUEST, client=good))
                call.addCallbacks(decided.append, lambda _: None)
            self.clock.advance(1)
        self.assertGreater(len(decided), 40)
        self.assertEqual(limiter.stats().opened, 1)

    def test_number_of_openings(self) -> None:
        self.open()
        self.assertEqual(self.limiter.stats().opened, 1)


class CheckTests(LimiterTestCase):
    """The readiness check while the breaker is open, with and without requests."""

    def test_reached(self) -> None:
        self.open()
        self.clock.advance(FIRST_DELAY - 0.01)
        self.assertEqual(self.manual.checks, [])
        self.clock.advance(0.01)
        (check,) = self.manual.checks
        self.assertEqual(self.state(), "open")
        check.callback(None)
        self.assertEqual(self.state(), "half-open")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_reached(self) -> None:
        self.open()
        for number, delay in enumerate((FIRST_DELAY, 2, 4, 8, LAST_DELAY, LAST_DELAY)):
            self.clock.advance(delay - 0.01)
            self.assertEqual(len(self.manual.checks), number)
            self.clock.advance(0.01)
            self.manual.checks[number].errback(outage(AuthzFailure.CONNECTION))
            self.assertEqual(self.state(), "open")
        self.assertIn("the connection failed", self.assert_refused(self.decide(), AuthzFailure.OPEN).reason)

    def test_check_without_result(self) -> None:
        """A check that ignores cancellation ends at the deadline, too."""
        self.open()
        self.clock.advance(FIRST_DELAY)
        check = self.manual.checks[0]
        check.addErrback(lambda _: Deferred())
        self.clock.advance(DEADLINE)
        self.assertEqual((self.manual.cancelled, self.state()), (1, "open"))
        self.clock.advance(2)
        self.assertEqual(len(self.manual.checks), 2)

    def test_response_during_a_check(self) -> None:
        """A request that was sent earlier gets a response."""
        self.limiter = self.make(at_once=MOST + 1)
        slow = [self.decide() for _ in range(MOST + 1)]
        for one in slow[:MOST]:
            self.answer(outage())
            self.assert_refused(one, AuthzFailure.TIMEOUT)
        self.clock.advance(FIRST_DELAY)
        self.answer()
        self.successResultOf(slow[-1])
        self.assertEqual((self.state(), self.manual.cancelled), ("closed", 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_readiness(self) -> None:
        self.open()
        self.assertIn(
            "circuit breaker is open", self.assert_refused(self.limiter.check_ready(), AuthzFailure.OPEN).reason
        )
        self.clock.advance(FIRST_DELAY)
        self.manual.checks[-1].callback(None)
        # Only a request can show whether it decides.
        ready = self.limiter.check_ready()
        self.manual.checks[-1].callback(None)
        self.successResultOf(ready)

    def test_closing(self) -> None:
        for seconds in (0, FIRST_DELAY):
            with self.subTest(seconds=seconds):
                self.setUp()
                self.open()
                self.clock.advance(seconds)
                self.limiter.close()
                self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closed_before_it_opens(self) -> None:
        call = [self.decide() for _ in range(MOST - 1)]
        self.limiter.close()
        for _ in call:
            self.answer(outage())
        call.append(self.decide())
        self.answer(outage())
        for one in call:
            self.assert_refused(one, AuthzFailure.TIMEOUT)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PropertyTests(SynchronousTestCase):
    """Invariants for every sequence of events."""

    EVENTS = st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.sampled_from(["192.0.2.1", "192.0.2.2"])),
            st.tuples(st.sampled_from(["cancel", "allow", "silence", "bad answer"]), st.integers(0, 9)),
            st.tuples(st.just("check"), st.booleans()),
            st.tuples(st.just("pass"), st.floats(0.0, 4.0)),
        ),
        max_size=60,
    )

    @given(EVENTS, st.integers(1, 3), st.integers(0, 3))
    def test_invariants(self, events: list[tuple[str, Any]], at_once: int, max_queue: int) -> None:
        """The limits hold, no request is sent while the breaker is open, each client's requests are in order, and each
        one ends.
        """
        clock, manual = Clock(), Manual()
        chain = FailClosedAuthorizer(clock, manual, DEADLINE)
        breaker = Breaker(2, 60, lambda: 0.5)
        limiter = LimitedAuthorizer(
            clock, chain, breaker, deadline=DEADLINE, max_concurrency=at_once, max_queue=max_queue
        )
        call: list[Deferred[Any]] = []
        for what, value in events:
            put, was_open = len(manual.asked), limiter.stats().states["open"]
            under_way = [waiting for _, waiting in manual.asked if not waiting.called]
            checks = [check for check in manual.checks if not check.called]
            if what == "pass":
                clock.advance(value)
            elif what == "ask":
                request = attrs.evolve(REQUEST, request_id=str(len(call)), client=ClientIdentity(value, 1))
                call.append(limiter.decide(request).addErrback(lambda failure: failure.trap(*ENDS)))
            elif what == "check" and checks:
                checks[-1].callback(None) if value else checks[-1].errback(outage())
            elif what == "cancel" and call:
                call[value % len(call)].cancel()
            elif what in ANSWERS and under_way:
                answer = ANSWERS[what]
                chosen = under_way[value % len(under_way)]
                chosen.errback(answer) if isinstance(answer, Exception) else chosen.callback(answer)
            stats = limiter.stats()
            self.assertLessEqual(stats.in_flight, at_once)
            self.assertLessEqual(stats.queued, max_queue)
            self.assertEqual(stats.in_flight, len([0 for _, waiting in manual.asked if not waiting.called]))
            if was_open:
                self.assertEqual(len(manual.asked), put)
            if not stats.states["closed"]:
                self.assertEqual(stats.queued, 0)
            for client in {request.client for request, _ in manual.asked}:
                names = [int(request.request_id) for request, _ in manual.asked if request.client == client]
                self.assertEqual(names, sorted(names))
        clock.pump([DEADLINE] * 2)
        stats = limiter.stats()
        self.assertEqual((stats.in_flight, stats.queued), (0, 0))
        self.assertEqual([one.called for one in call], [True] * len(call))
        limiter.close()
        self.assertEqual(clock.getDelayedCalls(), [])
