"""Decisions that cost less: reused as the authorizer directs, and one call for identical questions under way."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from egress.authz.cache_key import ALL, Place, key_of, place_of
from egress.authz.decision_store import DecisionStore
from egress.authz.fail_closed import cancel
from egress.authz.wrapper import Wrapper
from egress.interfaces import IAuthorizer
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import Decision, DecisionRequest
from egress.model.errors import AuthorizerUnavailable
from egress.model.statistics import CacheStats

# Where an earlier decision does not help: nobody waits, or this very question cannot be put.
_NOT_STALE: Final = frozenset({AuthzFailure.GIVEN_UP, AuthzFailure.QUESTION})
_MAX_PLACES: Final = 4096


class _InFlight:
    """One question that is under way, and who waits for the answer.

    @ivar asked: fires with the answer.
    @ivar waiting: the first of them has asked.
    """

    __slots__ = ("asked", "waiting")

    def __init__(self, asked: Deferred[Decision]) -> None:
        self.asked = asked
        self.waiting: list[_Waiter] = []


class _Waiter:
    """Somebody who wants an answer.

    @ivar own: a call for this one alone, after the shared one was of no use.
    """

    __slots__ = ("answer", "first", "own", "request")

    def __init__(self, request: DecisionRequest, answer: Deferred[Decision], first: bool) -> None:
        self.request = request
        self.answer = answer
        self.first = first
        self.own: Deferred[Decision] | None = None


class CachingAuthorizer(Wrapper):
    """Asks an authorizer only what it has not answered already, where it says that its answers may be reused.

    An identical question that is under way is waited for, in the hope that its answer may be reused.  If it may not,
    everybody asks, and the next questions about that origin do not wait: a service that counts requests sees each.
    When there is no answer, all who waited learn that, and do not ask a failing authorizer once more.

    @param authorizer: fails with L{AuthorizerUnavailable} alone.
    @param kept: what is reused.
    @param may_wait: how many questions wait for the answer to another; more are put as they come.
    """

    def __init__(self, clock: IReactorTime, authorizer: IAuthorizer, kept: DecisionStore, may_wait: int) -> None:
        super().__init__(authorizer)
        self._clock = clock
        self._kept = kept
        self._may_wait = may_wait
        self._flights: dict[bytes, _InFlight] = {}
        self._waiting = 0
        # Places whose latest answer was not for reuse.
        self._alone: OrderedDict[Place, None] = OrderedDict()
        # Answers to questions from before are not kept.
        self._era = 0
        self._hits = self._misses = self._stale = self._shared = 0

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Ask; see L{IAuthorizer.decide}."""
        place = place_of(request)
        if self._kept.knows(place):
            found = self._kept.fresh(request, self._clock.seconds())
            if found is not None:
                self._hits += 1
                return succeed(found)
        if place in self._alone:
            return self._ask(request)
        key = key_of(request, ALL)
        flight = self._flights.get(key)
        if flight is None:
            return self._start(key, request)
        if self._waiting >= self._may_wait:
            return self._ask(request)
        self._waiting += 1
        return self._attach(key, flight, request, first=False)

    def _ask(self, request: DecisionRequest) -> Deferred[Decision]:
        """Put a question for one alone."""
        self._misses += 1
        asked = self._authorizer.decide(request)
        return asked.addCallbacks(
            self._answered, self._failed, callbackArgs=(request, self._era), errbackArgs=(request,)
        )

    def _answered(self, decision: Decision, request: DecisionRequest, era: int) -> Decision:
        place = place_of(request)
        if self._kept.reusable(decision):
            self._alone.pop(place, None)
        else:
            self._alone[place] = None
            self._alone.move_to_end(place)
            if len(self._alone) > _MAX_PLACES:
                self._alone.popitem(last=False)
            if not decision.stale_if_error and not self._kept.knows(place):
                return decision
        if era == self._era:
            self._kept.keep(request, decision, self._clock.seconds())
        return decision

    def _failed(self, failure: Failure, request: DecisionRequest) -> Decision | Failure:
        error = failure.value
        if isinstance(error, AuthorizerUnavailable) and error.kind not in _NOT_STALE:
            found = self._kept.stale(request, self._clock.seconds())
            if found is not None:
                self._stale += 1
                return found
        return failure

    # -- identical questions

    def _start(self, key: bytes, request: DecisionRequest) -> Deferred[Decision]:
        asked = self._ask(request)
        if asked.called and not asked.paused:
            return asked
        flight = self._flights[key] = _InFlight(asked)
        answer = self._attach(key, flight, request, first=True)
        asked.addBoth(self._finish, key, flight)
        return answer

    def _attach(self, key: bytes, flight: _InFlight, request: DecisionRequest, *, first: bool) -> Deferred[Decision]:
        def leave(_: object) -> None:
            if waiter.own is not None:
                cancel(waiter.own)
            elif waiter in flight.waiting:
                self._leave(key, flight, waiter)

        answer: Deferred[Decision] = Deferred(leave)
        waiter = _Waiter(request, answer, first)
        flight.waiting.append(waiter)
        return answer

    def _leave(self, key: bytes, flight: _InFlight, waiter: _Waiter) -> None:
        flight.waiting.remove(waiter)
        if not waiter.first:
            self._waiting -= 1
        if not flight.waiting:
            self._forget(key, flight)
            cancel(flight.asked)

    def _forget(self, key: bytes, flight: _InFlight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def _finish(self, result: Decision | Failure, key: bytes, flight: _InFlight) -> None:
        """Give everybody what there is; whoever it is not for asks."""
        self._forget(key, flight)
        waiting, flight.waiting = flight.waiting, []
        self._waiting -= sum(not waiter.first for waiter in waiting)
        for waiter in waiting:
            if waiter.answer.called:
                # Given up by what another did with its answer.
                continue
            if isinstance(result, Failure):
                waiter.answer.errback(result if waiter.first else _again(result))
            elif waiter.first or result.source == "stale":
                # Those who have not asked are counted where the answer comes from, too.
                self._stale += not waiter.first
                waiter.answer.callback(result)
            elif self._kept.reusable(result):
                self._shared += 1
                waiter.answer.callback(attrs.evolve(result, source="shared"))
            else:
                waiter.own = self._ask(waiter.request)
                waiter.own.addBoth(waiter.answer.callback)

    # -- what an operator sees, and does

    def reuse(self) -> CacheStats:
        """Tell what becomes of the questions."""
        return CacheStats(self._hits, self._misses, self._stale, self._shared, len(self._kept))

    def clear(self) -> None:
        """Forget every decision, also those whose questions are under way."""
        self._era += 1
        self._kept.clear()
        self._flights.clear()


def _again(failure: Failure) -> Failure:
    """The same outage for somebody else: an exception has one traceback."""
    error = failure.value
    if isinstance(error, AuthorizerUnavailable):
        return Failure(AuthorizerUnavailable(error.reason, error.kind, error.retry_after))  # type: ignore[no-untyped-call]
    return failure
