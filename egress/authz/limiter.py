"""What stands before authorizers that others run: so many questions at once, so many that wait, none while it is down.

All of it refuses.  Nothing here can make an allow of anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.authz.breaker import Breaker, State
from egress.authz.fail_closed import cancel
from egress.authz.fair_queue import FairQueue
from egress.authz.wrapper import Wrapper
from egress.interfaces import IAuthorizer
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import Decision, DecisionRequest
from egress.model.errors import AuthorizerUnavailable
from egress.model.statistics import Questions

_log = Logger()

# What is said to others than who asked: the reasons of an authorizer may tell what the question was.
_WORDS: Final = {
    AuthzFailure.CONNECTION: "it could not be reached, or broke off",
    AuthzFailure.TIMEOUT: "it did not answer in time",
}
# Whoever answers is there, with whatever: one client's requests may be what it stumbles over.
_ANSWERED: Final = frozenset({AuthzFailure.ANSWER, AuthzFailure.FAILURE})
_COUNTED: Final = (
    AuthzFailure.CONNECTION,
    AuthzFailure.TIMEOUT,
    AuthzFailure.ANSWER,
    AuthzFailure.FAILURE,
    AuthzFailure.QUESTION,
)
_REFUSED: Final = (AuthzFailure.OVERLOAD, AuthzFailure.OPEN)


class _Waiting:
    """One question that waits for its turn.

    @ivar answer: fires with the decision.
    @ivar asked: the same from the authorizer, once it is asked.
    @ivar deadline: ends the waiting, and what is under way after it.
    """

    def __init__(self, request: DecisionRequest, since: float, leave: Callable[[_Waiting], None]) -> None:
        self.request = request
        self.since = since
        self.turn = since
        self.answer: Deferred[Decision] = Deferred(lambda _: leave(self))
        self.asked: Deferred[Decision] | None = None
        self.deadline: IDelayedCall | None = None
        self._wanted = True

    def settle(self, result: Decision | Failure) -> None:
        """Pass the answer on."""
        if self._wanted:
            self.give_up()
            self.answer.callback(result)

    def refuse(self, error: AuthorizerUnavailable) -> None:
        """There will be no answer."""
        self.give_up()
        self.answer.errback(error)

    def give_up(self) -> None:
        """What comes now is of no interest."""
        self._wanted = False
        if self.deadline is not None and self.deadline.active():
            self.deadline.cancel()


class LimitedAuthorizer(Wrapper):
    """Asks an authorizer so many questions at once; more wait, and beyond that none do.

    The clients take turns, and those of one client are served in order: a client that floods delays itself.  When all
    of the room is used, a client that has less than its share gets the place of the newest question of the one that
    has most.

    When it gives no answers, it is left alone for a while: see L{Breaker}.  Then the gate finds out by itself whether
    it can be reached, so that neither a client's request has to be put at risk for that nor a proxy without clients
    stays out of order.

    @param authorizer: fails with L{AuthorizerUnavailable} alone, as an L{egress.authz.fail_closed.FailClosedAuthorizer}
    does.
    @param deadline: seconds for one question, the waiting included.
    @param at_once: how many questions are put at the same time.
    @param may_wait: how many may wait.
    """

    def __init__(
        self,
        clock: IReactorTime,
        authorizer: IAuthorizer,
        breaker: Breaker,
        deadline: float,
        at_once: int,
        may_wait: int,
    ) -> None:
        super().__init__(authorizer)
        self._clock = clock
        self._breaker = breaker
        self._deadline = deadline
        self._at_once = at_once
        self._may_wait = may_wait
        self._under_way = 0
        self._waiting: FairQueue[_Waiting] = FairQueue()
        self._going_on = False
        self._outages = dict.fromkeys(_COUNTED, 0)
        self._refused = dict.fromkeys(_REFUSED, 0)
        self._latest = AuthzFailure.CONNECTION
        self._checking: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._closed = False

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Ask; see L{IAuthorizer.decide}."""
        if self._breaker.state is not State.CLOSED:
            return self._try(request)
        if self._under_way >= self._at_once or self._waiting:
            return self._wait(request)
        return self._put(request)

    def _put(self, request: DecisionRequest) -> Deferred[Decision]:
        asked = self._authorizer.decide(request)
        if asked.called and not asked.paused and type(asked.result) is Decision:
            if self._breaker.outages:
                self._answered(request.client.limit_key)
            return asked
        self._under_way += 1
        client = request.client.limit_key
        term = self._breaker.term
        return asked.addCallbacks(self._decided, self._failed, callbackArgs=(client,), errbackArgs=(client, term))

    def _decided(self, decision: Decision, client: str) -> Decision:
        self._under_way -= 1
        if self._breaker.outages:
            self._answered(client)
        if self._waiting:
            self._go_on()
        return decision

    def _failed(self, failure: Failure, client: str, term: int) -> Failure:
        self._under_way -= 1
        error = failure.value
        kind = error.kind if isinstance(error, AuthorizerUnavailable) else AuthzFailure.GIVEN_UP
        if kind in self._outages:
            self._outages[kind] += 1
        elif kind in self._refused:
            self._refused[kind] += 1
        if kind in _WORDS:
            was = self._breaker.state
            if self._breaker.outage(self._clock.seconds(), client, term):
                self._latest = kind
                self._open()
                if was is State.CLOSED:
                    _log.warn("the authorizer gives no answers and is left alone: {what}", what=_WORDS[kind])
        elif kind in _ANSWERED:
            self._answered(client)
        else:
            self._breaker.abandoned(term)
        self._go_on()
        return failure

    # -- many questions

    def _wait(self, request: DecisionRequest) -> Deferred[Decision]:
        client = request.client.limit_key
        displaced = None
        if len(self._waiting) >= self._may_wait:
            full = f"it has {self._under_way} questions, and {len(self._waiting)} wait already"
            displaced = self._waiting.displaced_by(client)
            if displaced is None:
                return fail(self._overload(full))
            self._leave(displaced)
        waiting = _Waiting(request, self._clock.seconds(), self._leave)
        waiting.deadline = self._clock.callLater(self._deadline, self._expired, waiting)
        self._waiting.add(client, waiting)
        if displaced is not None:
            # Last: whoever hears of it may ask again at once.
            displaced.answer.errback(self._overload(f"{full}, most of them of this client"))
        return waiting.answer

    def _overload(self, why: str) -> AuthorizerUnavailable:
        self._refused[AuthzFailure.OVERLOAD] += 1
        return AuthorizerUnavailable(f"the authorizer is overloaded: {why}", AuthzFailure.OVERLOAD, 1)

    def _go_on(self) -> None:
        """Put what waits, as far as there is room."""
        # An authorizer that fails at once comes here from the loop itself.
        if self._going_on:
            return
        self._going_on = True
        try:
            while self._waiting and self._under_way < self._at_once:
                waiting = self._waiting.next
                waiting.turn = self._clock.seconds()
                if waiting.turn - waiting.since >= self._deadline:
                    self._expired(waiting)
                    continue
                self._waiting.take()
                waiting.asked = self._put(waiting.request)
                waiting.asked.addBoth(waiting.settle)
        finally:
            self._going_on = False

    def _leave(self, waiting: _Waiting) -> None:
        waiting.give_up()
        if waiting.asked is None:
            self._waiting.remove(waiting.request.client.limit_key, waiting)
        else:
            cancel(waiting.asked)

    def _expired(self, waiting: _Waiting) -> None:
        if waiting.asked is None:
            kind = AuthzFailure.OVERLOAD
            reason = f"the authorizer is overloaded: the question waited {self._deadline:g} s for its turn"
            self._refused[kind] += 1
        else:
            # Not all of the time was the authorizer's, so the breaker is not told.
            kind = AuthzFailure.TIMEOUT
            waited = f"the question waited for its turn {waiting.turn - waiting.since:.1f} s of them"
            reason = f"the authorizer did not decide within {self._deadline:g} s; {waited}"
            self._outages[kind] += 1
        self._leave(waiting)
        waiting.answer.errback(AuthorizerUnavailable(reason, kind, 1))

    # -- bad days

    def _try(self, request: DecisionRequest) -> Deferred[Decision]:
        now = self._clock.seconds()
        # There is room: what opened it, and each probe, has ended.
        if self._breaker.admit(now, request.client.limit_key):
            return self._put(request)
        self._refused[AuthzFailure.OPEN] += 1
        return fail(self._refusal(now))

    def _refusal(self, now: float) -> AuthorizerUnavailable:
        failing = f"it has given no answers for {max(0.0, now - self._breaker.since):.0f} s"
        if self._breaker.state is State.OPEN:
            seconds = max(1, math.ceil(self._breaker.retry_at - now))
            trying = f"tried again in {seconds} s"
        else:
            seconds, trying = 1, "being tried now"
        reason = f"the authorizer is failing: {failing}, most recently {_WORDS[self._latest]}; it is {trying}"
        return AuthorizerUnavailable(reason, AuthzFailure.OPEN, seconds)

    def _open(self) -> None:
        self._retry()
        refusal = self._refusal(self._clock.seconds())
        while self._waiting:
            self._refused[AuthzFailure.OPEN] += 1
            self._waiting.take().refuse(refusal)

    def _answered(self, client: str) -> None:
        was = self._breaker.state
        self._breaker.answered(self._clock.seconds(), client)
        if was is not State.CLOSED:
            self._stop_checking()
            _log.info("the authorizer answers again")

    def _retry(self) -> None:
        if not self._closed:
            delay = max(0.0, self._breaker.retry_at - self._clock.seconds())
            self._timer = self._clock.callLater(delay, self._check)

    def _check(self) -> None:
        """Find out whether the authorizer can be reached."""
        checking = self._checking = self._authorizer.check_ready()
        self._timer = self._clock.callLater(self._deadline, self._checked, checking, False)
        checking.addCallbacks(lambda _: self._checked(checking, True), lambda _: self._checked(checking, False))

    def _checked(self, checking: Deferred[None], reached: bool) -> None:
        if checking is not self._checking:
            return
        self._stop_checking()
        if reached:
            self._breaker.reached(self._clock.seconds())
        else:
            self._latest = AuthzFailure.CONNECTION
            self._breaker.unreached(self._clock.seconds())
            self._retry()

    def _stop_checking(self) -> None:
        checking, self._checking = self._checking, None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if checking is not None:
            cancel(checking)

    # -- what an operator sees, and the end

    def questions(self) -> Questions:
        """Tell what becomes of the questions."""
        return Questions(
            under_way=self._under_way,
            waiting=len(self._waiting),
            outages={kind.value: number for kind, number in self._outages.items()},
            refused={kind.value: number for kind, number in self._refused.items()},
            states={state.value: state is self._breaker.state for state in State},
            opened=self._breaker.opened,
        )

    def check_ready(self) -> Deferred[None]:
        """See L{IAuthorizer.check_ready}; an authorizer that is left alone is not ready."""
        if self._breaker.state is State.OPEN:
            return fail(self._refusal(self._clock.seconds()))
        return self._authorizer.check_ready()

    def close(self) -> Deferred[None]:
        """See L{IAuthorizer.close}."""
        self._closed = True
        self._stop_checking()
        while self._waiting:
            self._waiting.take().refuse(AuthorizerUnavailable("the proxy stops", AuthzFailure.GIVEN_UP))
        return self._authorizer.close()
