"""Tests for L{egress.authz.limiter}."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from egress.authz.breaker import FIRST_DELAY, LAST_DELAY, Breaker
from egress.authz.fail_closed import FailClosedAuthorizer
from egress.authz.limiter import LimitedAuthorizer
from egress.interfaces import IAuthorizer
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import ClientIdentity, Decision, DecisionRequest
from egress.model.errors import AuthorizerUnavailable
from tests.authz.test_fail_closed import ALLOW, DENY, REQUEST

DEADLINE = 5.0
AT_ONCE = 2
MAY_WAIT = 3
MOST = 3


@implementer(IAuthorizer)
class Manual:
    """An authorizer that a test answers for.

    @ivar asked: the questions, and what each waits for.
    @ivar at_once: what the next questions are answered with, instead.
    @ivar checks: what those who check wait for.
    @ivar cancelled: how many questions, or checks, were given up.
    """

    name = "manual"
    needs_body = True

    def __init__(self) -> None:
        self.asked: list[tuple[DecisionRequest, Deferred[Any]]] = []
        self.at_once: Any = None
        self.checks: list[Deferred[None]] = []
        self.cancelled = 0
        self.closed = False

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        if self.at_once is not None:
            return fail(self.at_once) if isinstance(self.at_once, Exception) else succeed(self.at_once)
        waiting: Deferred[Decision] = Deferred(self._cancel)
        self.asked.append((request, waiting))
        return waiting

    def _cancel(self, _: object) -> None:
        self.cancelled += 1

    def check_ready(self) -> Deferred[None]:
        self.checks.append(Deferred(self._cancel))
        return self.checks[-1]

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


# What a question ends with that had no decision.
ENDS = (AuthorizerUnavailable, CancelledError)


def outage(kind: AuthzFailure = AuthzFailure.TIMEOUT, reason: str = "private") -> AuthorizerUnavailable:
    return AuthorizerUnavailable(reason, kind)


ANSWERS: dict[str, Any] = {"allow": ALLOW, "silence": outage(), "bad answer": outage(AuthzFailure.RESPONSE)}


class GateTestCase(SynchronousTestCase):
    """A gate for two questions at once, before an authorizer in the test's hands."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.manual = Manual()
        self.gate = self.make()

    def make(self, at_once: int = AT_ONCE, may_wait: int = MAY_WAIT) -> LimitedAuthorizer:
        chain = FailClosedAuthorizer(self.clock, self.manual, None)
        breaker = Breaker(MOST, 60, lambda: 1.0)
        return LimitedAuthorizer(self.clock, chain, breaker, DEADLINE, at_once, may_wait)

    def ask(self, name: str = "", client: str = "192.0.2.1") -> Deferred[Any]:
        return self.gate.decide(attrs.evolve(REQUEST, request_id=name, client=ClientIdentity(client, 1)))

    def under_way(self) -> list[str]:
        """The names of the questions that the authorizer was asked and has not answered."""
        return [request.request_id for request, waiting in self.manual.asked if not waiting.called]

    def answer(self, with_: Any = ALLOW) -> None:
        """Answer the oldest question."""
        waiting = next(waiting for _, waiting in self.manual.asked if not waiting.called)
        if isinstance(with_, Exception):
            waiting.errback(with_)
        else:
            waiting.callback(with_)

    def assert_refused(self, asked: Deferred[Any], kind: AuthzFailure) -> AuthorizerUnavailable:
        """There is no decision."""
        error: AuthorizerUnavailable = self.failureResultOf(asked, AuthorizerUnavailable).value
        self.assertIs(error.kind, kind)
        return error

    def state(self) -> str:
        (state,) = [state for state, current in self.gate.questions().states.items() if current]
        return state

    def open(self, kind: AuthzFailure = AuthzFailure.TIMEOUT, client: str = "192.0.2.1") -> None:
        """Have the breaker open."""
        for _ in range(MOST):
            asked = self.ask(client=client)
            self.answer(outage(kind))
            self.assert_refused(asked, kind)
        self.assertEqual(self.state(), "open")

    def half_open(self, client: str = "192.0.2.1") -> None:
        """Have it half open."""
        self.open(client=client)
        self.clock.advance(FIRST_DELAY)
        self.manual.checks[-1].callback(None)
        self.assertEqual(self.state(), "half-open")


class PassingTests(GateTestCase):
    """What passes as it is."""

    def test_interface(self) -> None:
        verifyObject(IAuthorizer, self.gate)
        self.assertEqual((self.gate.name, self.gate.needs_body), ("manual", True))

    def test_decisions(self) -> None:
        for decision in (ALLOW, DENY):
            for at_once in (None, decision):
                with self.subTest(decision=decision, at_once=at_once):
                    self.manual.at_once = at_once
                    asked = self.ask()
                    if at_once is None:
                        self.assertEqual(self.gate.questions().under_way, 1)
                        self.answer(decision)
                    self.assertIs(self.successResultOf(asked), decision)
                    self.assertEqual(self.gate.questions().under_way, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_outages(self) -> None:
        for kind in (AuthzFailure.CONNECTION, AuthzFailure.TIMEOUT, AuthzFailure.RESPONSE, AuthzFailure.REQUEST):
            for at_once in (False, True):
                with self.subTest(kind=kind, at_once=at_once):
                    self.setUp()
                    self.manual.at_once = outage(kind) if at_once else None
                    asked = self.ask()
                    if not at_once:
                        self.answer(outage(kind))
                    self.assertEqual(self.assert_refused(asked, kind).reason, "private")
                    questions = self.gate.questions()
                    self.assertEqual((questions.under_way, questions.outages[kind.value]), (0, 1))
                    self.assertEqual(sum(questions.outages.values()), 1)

    def test_one_that_fails_itself(self) -> None:
        self.manual.at_once = RuntimeError("x")
        self.assert_refused(self.ask(), AuthzFailure.FAILURE)
        self.assertEqual(self.gate.questions().outages["failure"], 1)
        self.flushLoggedErrors(RuntimeError)

    def test_one_that_is_overloaded_itself(self) -> None:
        self.manual.at_once = outage(AuthzFailure.OVERLOAD)
        self.assert_refused(self.ask(), AuthzFailure.OVERLOAD)
        self.assertEqual(self.gate.questions().refused["overload"], 1)

    def test_cancelling(self) -> None:
        asked = self.ask()
        asked.cancel()
        self.assert_refused(asked, AuthzFailure.GIVEN_UP)
        self.assertEqual((self.manual.cancelled, self.gate.questions().under_way), (1, 0))
        self.assertEqual(sum(self.gate.questions().outages.values()), 0)

    def test_readiness_and_closing(self) -> None:
        ready = self.gate.check_ready()
        self.assertNoResult(ready)
        self.manual.checks[0].callback(None)
        self.successResultOf(ready)
        self.successResultOf(self.gate.close())
        self.assertTrue(self.manual.closed)


class QueueTests(GateTestCase):
    """So many at once, so many that wait."""

    def fill(self) -> list[Deferred[Any]]:
        """Ask as many as may be put and may wait."""
        return [self.ask(name) for name in "abcde"]

    def test_first_come_first_served(self) -> None:
        asked = self.fill()
        for expected in ("ab", "bc", "cd", "de", "e", ""):
            self.assertEqual("".join(self.under_way()), expected)
            self.assertEqual(self.gate.questions().under_way, len(expected))
            if expected:
                self.answer()
        for one in asked:
            self.successResultOf(one)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_outages_make_room_too(self) -> None:
        asked = self.fill()
        self.answer(outage(AuthzFailure.RESPONSE))
        self.assert_refused(asked[0], AuthzFailure.RESPONSE)
        self.assertEqual(self.under_way(), ["b", "c"])

    def test_the_queue_is_bounded(self) -> None:
        asked = self.fill()
        questions = self.gate.questions()
        self.assertEqual((questions.under_way, questions.waiting), (AT_ONCE, MAY_WAIT))
        error = self.assert_refused(self.ask(), AuthzFailure.OVERLOAD)
        self.assertEqual(error.reason, "the authorizer is overloaded: it has 2 questions, and 3 wait already")
        self.assertEqual(error.retry_after, 1)
        self.assertEqual(self.gate.questions().refused["overload"], 1)
        self.assertEqual(self.state(), "closed")
        self.answer()
        self.successResultOf(asked[0])
        self.assertNoResult(self.ask("f"))

    def test_clients_take_turns(self) -> None:
        """One that floods delays itself."""
        self.gate = self.make(may_wait=10)
        for name in ("f1", "f2", "f3", "f4", "f5"):
            self.ask(name)
        self.ask("a1", "192.0.2.2"), self.ask("a2", "192.0.2.2"), self.ask("b1", "192.0.2.3")
        seen = []
        while self.under_way():
            seen.append(self.under_way()[0])
            self.answer()
        self.assertEqual(seen, ["f1", "f2", "f3", "a1", "b1", "f4", "a2", "f5"])

    def test_room_for_a_client_that_has_less(self) -> None:
        """The newest question of the client that has most goes; all others stay."""
        asked = self.fill()
        other = self.ask("other", "2001:db8::1")
        error = self.assert_refused(asked[4], AuthzFailure.OVERLOAD)
        self.assertIn("3 wait already, most of them of this client", error.reason)
        self.assertNoResult(other)
        # One network counts as one client, and it has its share now.
        self.assert_refused(self.ask("more", "2001:db8::2"), AuthzFailure.OVERLOAD)
        for one in (asked[2], asked[3], other):
            self.assertNoResult(one)
        questions = self.gate.questions()
        self.assertEqual((questions.waiting, questions.refused["overload"]), (MAY_WAIT, 2))
        self.answer()
        self.answer()
        self.assertEqual(self.under_way(), ["c", "other"])

    def test_without_a_queue(self) -> None:
        self.gate = self.make(may_wait=0)
        self.ask(), self.ask()
        self.assert_refused(self.ask(), AuthzFailure.OVERLOAD)
        self.assert_refused(self.ask(client="192.0.2.2"), AuthzFailure.OVERLOAD)

    def test_a_waiting_question_that_is_cancelled_leaves(self) -> None:
        asked = self.fill()
        asked[2].cancel()
        self.failureResultOf(asked[2], CancelledError)
        self.assertEqual(self.gate.questions().waiting, MAY_WAIT - 1)
        self.answer()
        self.assertEqual(self.under_way(), ["b", "d"])

    def test_one_whose_turn_has_come_can_be_cancelled(self) -> None:
        asked = self.fill()
        self.answer()
        asked[2].cancel()
        self.failureResultOf(asked[2], CancelledError)
        self.assertEqual(self.manual.cancelled, 1)
        self.assertEqual(self.under_way(), ["b", "d"])
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)

    def test_the_time_in_the_queue_counts(self) -> None:
        asked = self.fill()
        self.clock.advance(DEADLINE - 1)
        self.answer()
        self.clock.advance(0.9)
        self.assertNoResult(asked[2])
        self.clock.advance(0.1)
        error = self.assert_refused(asked[2], AuthzFailure.TIMEOUT)
        self.assertIn("within 5 s; the question waited for its turn 4.0 s of them", error.reason)
        self.assertEqual(self.manual.cancelled, 1)
        for one in asked[3:]:
            self.assertIn("waited 5 s for its turn", self.assert_refused(one, AuthzFailure.OVERLOAD).reason)
        questions = self.gate.questions()
        self.assertEqual((questions.under_way, questions.waiting), (1, 0))
        self.assertEqual((questions.outages["timeout"], questions.refused["overload"]), (1, 2))
        # The authorizer had not had all of its time.
        self.assertEqual(self.state(), "closed")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_that_are_answered_at_once(self) -> None:
        """No recursion, however many wait."""
        for answer in (ALLOW, outage(AuthzFailure.RESPONSE)):
            with self.subTest(answer=answer):
                self.setUp()
                self.gate = self.make(may_wait=1500)
                asked = [self.ask() for _ in range(AT_ONCE + 1500)]
                self.manual.at_once = answer
                self.answer()
                self.assertEqual(len([one for one in asked if one.called]), 1 + 1500)
                for one in asked:
                    one.addErrback(lambda _: None)

    def test_nobody_jumps_the_queue(self) -> None:
        asked = self.fill()
        order: list[str] = []
        self.manual.at_once = ALLOW
        asked[2].addCallback(lambda _: self.ask("next").addCallback(lambda _: order.append("next")))
        asked[3].addCallback(lambda _: order.append("d"))
        asked[4].addCallback(lambda _: order.append("e"))
        self.answer()
        self.assertEqual(order, ["d", "e", "next"])

    def test_an_answer_that_comes_after_all(self) -> None:
        """An authorizer that goes on when it is cancelled."""
        asked = self.fill()
        self.answer()
        self.manual.asked[2][1].addErrback(lambda _: ALLOW)
        asked[2].cancel()
        self.failureResultOf(asked[2], CancelledError)

    def test_closing(self) -> None:
        asked = self.fill()
        self.gate.close()
        for one in asked[2:]:
            self.assertIn("stops", self.assert_refused(one, AuthzFailure.GIVEN_UP).reason)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertNoResult(asked[0])


class BreakerTests(GateTestCase):
    """While the authorizer is down."""

    def test_which_outages_open_it(self) -> None:
        for kind, expected in (
            (AuthzFailure.CONNECTION, "open"),
            (AuthzFailure.TIMEOUT, "open"),
            (AuthzFailure.RESPONSE, "closed"),
            (AuthzFailure.FAILURE, "closed"),
            (AuthzFailure.REQUEST, "closed"),
            (AuthzFailure.GIVEN_UP, "closed"),
            (AuthzFailure.OVERLOAD, "closed"),
        ):
            with self.subTest(kind=kind):
                self.setUp()
                for _ in range(MOST):
                    asked = self.ask()
                    self.answer(outage(kind))
                    self.assert_refused(asked, kind)
                self.assertEqual(self.state(), expected)

    def test_what_is_an_answer(self) -> None:
        for answer, expected in (
            (ALLOW, "closed"),
            (DENY, "closed"),
            (outage(AuthzFailure.RESPONSE), "closed"),
            (outage(AuthzFailure.FAILURE), "closed"),
            (outage(AuthzFailure.REQUEST), "open"),
            (outage(AuthzFailure.GIVEN_UP), "open"),
        ):
            for at_once in (False, True):
                with self.subTest(answer=answer, at_once=at_once):
                    self.setUp()
                    for one in [*[outage()] * (MOST - 1), answer, outage()]:
                        asked = self.ask() if not at_once else None
                        if asked is None:
                            self.manual.at_once = one
                            asked = self.ask()
                        else:
                            self.answer(one)
                        asked.addErrback(lambda _: None)
                    self.assertEqual(self.state(), expected)

    def test_refused_at_once_while_it_is_open(self) -> None:
        for kind, words in (
            (AuthzFailure.TIMEOUT, "it did not answer in time"),
            (AuthzFailure.CONNECTION, "it could not be reached, or broke off"),
        ):
            with self.subTest(kind=kind):
                self.setUp()
                self.open(kind)
                before = len(self.manual.asked)
                self.clock.advance(0.25)
                error = self.assert_refused(self.ask(), AuthzFailure.OPEN)
                # Whatever the reason said, it may have been about somebody else's request.
                self.assertEqual(
                    error.reason,
                    f"the authorizer is failing: it has given no answers for 0 s, most recently {words}; "
                    "it is tried again in 1 s",
                )
                self.assertEqual(error.retry_after, 1)
                self.assertEqual(len(self.manual.asked), before)
                self.assertEqual(self.gate.questions().refused["open"], 1)

    def test_those_that_wait_are_refused_when_it_opens(self) -> None:
        self.gate = self.make(at_once=MOST, may_wait=5)
        asked = [self.ask() for _ in range(MOST + 5)]
        # In the place of all but the last that are put to begin with others are put.
        first, second, third = asked[-3:]

        # A client that goes away, when it is told, with all that it has asked.
        def cancel_third(failure: object) -> object:
            third.cancel()
            return failure

        first.addErrback(cancel_third)
        for one, (_, waiting) in zip(asked, self.manual.asked[:MOST], strict=False):
            waiting.errback(outage())
            self.assert_refused(one, AuthzFailure.TIMEOUT)
        self.assert_refused(first, AuthzFailure.OPEN)
        self.assert_refused(second, AuthzFailure.OPEN)
        self.failureResultOf(third, CancelledError)
        questions = self.gate.questions()
        self.assertEqual((self.state(), questions.waiting, questions.refused["open"]), ("open", 0, 2))

    def test_the_probe_decides(self) -> None:
        for answer, expected in ((ALLOW, "closed"), (DENY, "closed"), (outage(), "open")):
            with self.subTest(answer=answer):
                self.setUp()
                self.half_open()
                probe = self.ask("probe")
                error = self.assert_refused(self.ask(), AuthzFailure.OPEN)
                self.assertIn("it is being tried now", error.reason)
                self.assertEqual((self.under_way(), error.retry_after), (["probe"], 1))
                self.answer(answer)
                probe.addErrback(lambda _: None)
                self.assertEqual(self.state(), expected)

    def test_a_probe_whose_client_goes_away(self) -> None:
        self.half_open()
        probe = self.ask()
        probe.cancel()
        self.assert_refused(probe, AuthzFailure.GIVEN_UP)
        self.assertEqual(self.state(), "half-open")
        self.ask("next")
        self.assertEqual(self.under_way(), ["next"])

    def test_there_is_room_for_the_probe(self) -> None:
        """Also when others hang from before, and again and again."""
        slow = [self.ask("slow"), self.ask("first")]
        for number in range(5):
            for _ in range(MOST if number == 0 else 1):
                self.manual.asked[-1][1].errback(outage())
                if self.state() == "closed":
                    slow.append(self.ask())
            self.assertEqual((self.state(), self.gate.questions().under_way), ("open", AT_ONCE - 1))
            self.clock.advance(self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds())
            self.manual.checks[-1].callback(None)
            slow.append(self.ask())
            self.assertEqual(self.gate.questions().under_way, AT_ONCE)
        self.answer()
        self.assertIs(self.successResultOf(slow[0]), ALLOW)
        self.assertEqual(self.state(), "closed")
        for one in slow[1:]:
            one.addErrback(lambda _: None)

    def test_whoever_opened_it_cannot_keep_it_open(self) -> None:
        """A client whose requests the authorizer does not survive asks all the time."""
        bad, good = "192.0.2.66", "192.0.2.1"
        self.half_open(bad)
        self.assertEqual(self.state(), "half-open")
        # While it was open nobody else was there, so that the next is anybody's.
        self.ask(client=bad).addErrback(lambda _: None)
        self.ask(client=good).addErrback(lambda _: None)
        self.answer(outage())
        self.ask(client=good).addErrback(lambda _: None)
        self.clock.advance(2 * FIRST_DELAY)
        self.manual.checks[-1].callback(None)
        self.assert_refused(self.ask(client=bad), AuthzFailure.OPEN)
        probe = self.ask(client=good)
        self.answer()
        self.successResultOf(probe)
        self.assertEqual(self.state(), "closed")

    def test_whose_answers_they_are(self) -> None:
        """When outages of one client end with an answer to another, the breaker knows of it."""
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
                            self.ask(client=who).addErrback(lambda _: None)
                            if not at_once:
                                self.answer(one)
                        self.assertEqual(self.state(), expected)

    def test_a_client_that_does_harm(self) -> None:
        """The authorizer hangs on all that one client asks; another asks now and then, and is seldom refused."""
        bad, good = ClientIdentity("192.0.2.66", 1), ClientIdentity("192.0.2.1", 1)

        class Hanging(Manual):
            def decide(self, request: DecisionRequest) -> Deferred[Decision]:
                return Deferred() if request.client is bad else succeed(ALLOW)

            def check_ready(self) -> Deferred[None]:
                return succeed(None)

        chain = FailClosedAuthorizer(self.clock, Hanging(), DEADLINE)
        gate = LimitedAuthorizer(self.clock, chain, Breaker(MOST, 60, lambda: 1.0), DEADLINE, 1000, 0)
        decided: list[Any] = []
        for second in range(500):
            for _ in range(20):
                gate.decide(attrs.evolve(REQUEST, client=bad)).addErrback(lambda _: None)
            if second % 10 == 9:
                asked = gate.decide(attrs.evolve(REQUEST, client=good))
                asked.addCallbacks(decided.append, lambda _: None)
            self.clock.advance(1)
        self.assertGreater(len(decided), 40)
        self.assertEqual(gate.questions().opened, 1)

    def test_how_often_it_opened(self) -> None:
        self.open()
        self.assertEqual(self.gate.questions().opened, 1)


class CheckTests(GateTestCase):
    """An authorizer that is left alone is tried again, whether or not anybody asks."""

    def test_it_is_reached(self) -> None:
        self.open()
        self.clock.advance(FIRST_DELAY - 0.01)
        self.assertEqual(self.manual.checks, [])
        self.clock.advance(0.01)
        (check,) = self.manual.checks
        self.assertEqual(self.state(), "open")
        check.callback(None)
        self.assertEqual(self.state(), "half-open")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_is_not(self) -> None:
        self.open()
        for number, delay in enumerate((FIRST_DELAY, 2, 4, 8, LAST_DELAY, LAST_DELAY)):
            self.clock.advance(delay - 0.01)
            self.assertEqual(len(self.manual.checks), number)
            self.clock.advance(0.01)
            self.manual.checks[number].errback(outage(AuthzFailure.CONNECTION))
            self.assertEqual(self.state(), "open")
        self.assertIn("could not be reached", self.assert_refused(self.ask(), AuthzFailure.OPEN).reason)

    def test_silence(self) -> None:
        """Also of one that does not let itself be cancelled."""
        self.open()
        self.clock.advance(FIRST_DELAY)
        check = self.manual.checks[0]
        check.addErrback(lambda _: Deferred())
        self.clock.advance(DEADLINE)
        self.assertEqual((self.manual.cancelled, self.state()), (1, "open"))
        self.clock.advance(2)
        self.assertEqual(len(self.manual.checks), 2)

    def test_an_answer_meanwhile(self) -> None:
        """One of the questions that were put before is answered after all."""
        self.gate = self.make(at_once=MOST + 1)
        slow = [self.ask() for _ in range(MOST + 1)]
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
        self.assertIn("failing", self.assert_refused(self.gate.check_ready(), AuthzFailure.OPEN).reason)
        self.clock.advance(FIRST_DELAY)
        self.manual.checks[-1].callback(None)
        # Requests must come for it to be found out whether it decides.
        ready = self.gate.check_ready()
        self.manual.checks[-1].callback(None)
        self.successResultOf(ready)

    def test_closing(self) -> None:
        for seconds in (0, FIRST_DELAY):
            with self.subTest(seconds=seconds):
                self.setUp()
                self.open()
                self.clock.advance(seconds)
                self.gate.close()
                self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closed_before_it_opens(self) -> None:
        asked = [self.ask() for _ in range(MOST - 1)]
        self.gate.close()
        for _ in asked:
            self.answer(outage())
        asked.append(self.ask())
        self.answer(outage())
        for one in asked:
            self.assert_refused(one, AuthzFailure.TIMEOUT)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PropertyTests(SynchronousTestCase):
    """Whatever happens, in whatever order."""

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
    def test_invariants(self, events: list[tuple[str, Any]], at_once: int, may_wait: int) -> None:
        """The bounds hold, no request is sent while the breaker is open, each client's are in order, and each ends."""
        clock, manual = Clock(), Manual()
        chain = FailClosedAuthorizer(clock, manual, DEADLINE)
        gate = LimitedAuthorizer(clock, chain, Breaker(2, 60, lambda: 0.5), DEADLINE, at_once, may_wait)
        asked: list[Deferred[Any]] = []
        for what, value in events:
            put, was_open = len(manual.asked), gate.questions().states["open"]
            under_way = [waiting for _, waiting in manual.asked if not waiting.called]
            checks = [check for check in manual.checks if not check.called]
            if what == "pass":
                clock.advance(value)
            elif what == "ask":
                request = attrs.evolve(REQUEST, request_id=str(len(asked)), client=ClientIdentity(value, 1))
                asked.append(gate.decide(request).addErrback(lambda failure: failure.trap(*ENDS)))
            elif what == "check" and checks:
                checks[-1].callback(None) if value else checks[-1].errback(outage())
            elif what == "cancel" and asked:
                asked[value % len(asked)].cancel()
            elif what in ANSWERS and under_way:
                answer = ANSWERS[what]
                chosen = under_way[value % len(under_way)]
                chosen.errback(answer) if isinstance(answer, Exception) else chosen.callback(answer)
            questions = gate.questions()
            self.assertLessEqual(questions.under_way, at_once)
            self.assertLessEqual(questions.waiting, may_wait)
            self.assertEqual(questions.under_way, len([0 for _, waiting in manual.asked if not waiting.called]))
            if was_open:
                self.assertEqual(len(manual.asked), put)
            if not questions.states["closed"]:
                self.assertEqual(questions.waiting, 0)
            for client in {request.client for request, _ in manual.asked}:
                names = [int(request.request_id) for request, _ in manual.asked if request.client == client]
                self.assertEqual(names, sorted(names))
        clock.pump([DEADLINE] * 2)
        questions = gate.questions()
        self.assertEqual((questions.under_way, questions.waiting), (0, 0))
        self.assertEqual([one.called for one in asked], [True] * len(asked))
        gate.close()
        self.assertEqual(clock.getDelayedCalls(), [])
