"""The decision cache: it caches decisions as the authorizer directs, and makes one call for identical concurrent
requests.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from egress.authz.cache_key import ALL, CacheScope, key_of, scope_of
from egress.authz.decision_store import DecisionStore
from egress.authz.fail_closed import cancel
from egress.authz.wrapper import Wrapper
from egress.interfaces import IAuthorizer
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import Decision, DecisionRequest
from egress.model.errors import AuthorizerUnavailable
from egress.model.revocation import Revocation
from egress.model.statistics import CacheStats

NOT_STALE: Final = frozenset({AuthzFailure.CANCELLED, AuthzFailure.REQUEST})
"""A stale decision does not help here: no caller waits for it, or the API cannot express this very request."""

# Beyond this number of stages and origins, the least recently used one is forgotten.
MAX_SCOPES: Final = 4096


class _InFlight:
    """A call in progress, and the requests that wait for its result.

    @ivar call: the Deferred of the authorizer.
    @ivar waiting: the requests; the first of them made the call.
    """

    __slots__ = ("call", "waiting")

    def __init__(self, call: Deferred[Decision]) -> None:
        self.call = call
        self.waiting: list[_Waiter] = []


class _Waiter:
    """One request that waits for a decision.

    @ivar own: a call for only this request, after the shared result was not reusable.
    """

    __slots__ = ("first", "own", "request", "result")

    def __init__(self, request: DecisionRequest, result: Deferred[Decision], first: bool) -> None:
        self.request = request
        self.result = result
        self.first = first
        self.own: Deferred[Decision] | None = None


class CachingAuthorizer(Wrapper):
    """Calls an authorizer only when no cached decision matches, as far as the authorizer permits caching.

    A request waits for an identical request in progress, because its decision may be reusable.  If it is not reusable,
    each request is sent to the authorizer, so a service that counts requests receives each of them.  The next requests
    to that origin do not wait.  If the call fails, all requests that waited fail, too, and do not call a failing
    authorizer again.

    @param authorizer: fails only with L{AuthorizerUnavailable}.
    @param store: the store of decisions.
    @param max_waiting: the number of requests that can wait for the result of another request; beyond it, each request
        makes its own call.
    @param max_scopes: the number of stages and origins whose latest decision was not reusable, and is remembered.
    """

    def __init__(
        self,
        clock: IReactorTime,
        authorizer: IAuthorizer,
        store: DecisionStore,
        max_waiting: int,
        *,
        max_scopes: int = MAX_SCOPES,
    ) -> None:
        super().__init__(authorizer)
        self._clock = clock
        self._store = store
        self._max_waiting = max_waiting
        self._max_scopes = max_scopes
        self._in_flight: dict[bytes, _InFlight] = {}
        self._waiting = 0
        # Stages and origins whose latest decision was not reusable.
        self._not_shared: OrderedDict[CacheScope, None] = OrderedDict()
        # Decisions on requests from before the last clear() are not cached.
        self._generation = 0
        self._hits = self._misses = self._stale = self._shared = 0

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Return a cached decision, wait for a call in progress, or make a call; see L{IAuthorizer.decide}."""
        scope = scope_of(request)
        if self._store.may_contain(scope):
            found = self._store.fresh(request, self._clock.seconds())
            if found is not None:
                self._hits += 1
                return succeed(found)
        if scope in self._not_shared:
            return self._call(request)
        key = key_of(request, ALL)
        in_flight = self._in_flight.get(key)
        if in_flight is None:
            return self._start(key, request)
        if self._waiting >= self._max_waiting:
            return self._call(request)
        self._waiting += 1
        return self._attach(key, in_flight, request, first=False)

    def _call(self, request: DecisionRequest) -> Deferred[Decision]:
        """Make a call for one request."""
        self._misses += 1
        call = self._authorizer.decide(request)
        return call.addCallbacks(
            self._record, self._failed, callbackArgs=(request, self._generation), errbackArgs=(request,)
        )

    def _record(self, decision: Decision, request: DecisionRequest, generation: int) -> Decision:
        scope = scope_of(request)
        if self._store.reusable(decision):
            self._not_shared.pop(scope, None)
        else:
            self._not_shared[scope] = None
            self._not_shared.move_to_end(scope)
            if len(self._not_shared) > self._max_scopes:
                self._not_shared.popitem(last=False)
            if not decision.stale_if_error and not self._store.may_contain(scope):
                return decision
        if generation == self._generation:
            self._store.add(request, decision, self._clock.seconds())
        return decision

    def _failed(self, failure: Failure, request: DecisionRequest) -> Decision | Failure:
        error = failure.value
        if isinstance(error, AuthorizerUnavailable) and error.kind not in NOT_STALE:
            found = self._store.stale(request, self._clock.seconds())
            if found is not None:
                self._stale += 1
                return found
        return failure

    # -- identical concurrent requests

    def _start(self, key: bytes, request: DecisionRequest) -> Deferred[Decision]:
        call = self._call(request)
        if call.called and not call.paused:
            return call
        in_flight = self._in_flight[key] = _InFlight(call)
        result = self._attach(key, in_flight, request, first=True)
        call.addBoth(self._finish, key, in_flight)
        return result

    def _attach(self, key: bytes, in_flight: _InFlight, request: DecisionRequest, *, first: bool) -> Deferred[Decision]:
        def on_cancel(_: object) -> None:
            if waiter.own is not None:
                cancel(waiter.own)
            elif waiter in in_flight.waiting:
                self._cancel(key, in_flight, waiter)

        result: Deferred[Decision] = Deferred(on_cancel)
        waiter = _Waiter(request, result, first)
        in_flight.waiting.append(waiter)
        return result

    def _cancel(self, key: bytes, in_flight: _InFlight, waiter: _Waiter) -> None:
        in_flight.waiting.remove(waiter)
        if not waiter.first:
            self._waiting -= 1
        if not in_flight.waiting:
            self._discard(key, in_flight)
            cancel(in_flight.call)

    def _discard(self, key: bytes, in_flight: _InFlight) -> None:
        if self._in_flight.get(key) is in_flight:
            del self._in_flight[key]

    def _finish(self, result: Decision | Failure, key: bytes, in_flight: _InFlight) -> None:
        """Pass the result to all requests that wait.  Requests that cannot use it make their own calls."""
        self._discard(key, in_flight)
        waiting, in_flight.waiting = in_flight.waiting, []
        self._waiting -= sum(not waiter.first for waiter in waiting)
        for waiter in waiting:
            if waiter.result.called:
                # It was cancelled by a callback of another request.
                continue
            if isinstance(result, Failure):
                waiter.result.errback(result if waiter.first else _copy(result))
            elif waiter.first or result.source == "stale":
                # A stale decision counts for the requests that waited, too.
                self._stale += not waiter.first
                waiter.result.callback(result)
            elif self._store.reusable(result):
                self._shared += 1
                waiter.result.callback(attrs.evolve(result, source="shared"))
            else:
                waiter.own = self._call(waiter.request)
                waiter.own.addBoth(waiter.result.callback)

    # -- statistics, reload and revocation

    def reuse(self) -> CacheStats:
        """Return the counts of decisions by source."""
        return CacheStats(self._hits, self._misses, self._stale, self._shared, len(self._store))

    def clear(self) -> None:
        """Drop every decision, and do not cache the results of calls in progress."""
        self._forget_calls()
        self._store.clear()

    def revoke(self, revocation: Revocation) -> int:
        """Drop the decisions that a revocation voids, and do not cache the results of calls in progress.

        @return: the number of decisions.
        """
        self._forget_calls()
        return self._store.revoke(revocation)

    def _forget_calls(self) -> None:
        """Do not cache or share the results of calls in progress."""
        self._generation += 1
        self._in_flight.clear()


def _copy(failure: Failure) -> Failure:
    """Copy a failure for another request: an exception has only one traceback."""
    error = failure.value
    if isinstance(error, AuthorizerUnavailable):
        return Failure(AuthorizerUnavailable(error.reason, error.kind, error.retry_after))  # type: ignore[no-untyped-call]
    return failure
