"""The limiter of an authorizer: a concurrency limit, a bounded queue and a circuit breaker.

The limiter only rejects requests.  It never allows one.
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
from egress.model.statistics import AuthorizerStats

_log = Logger()

# The text that other clients see.  They do not see the reasons of the authorizer, which may describe the request.
# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_CLOSED: Final = State.CLOSED
_FAILURE_TEXT: Final = {
    AuthzFailure.CONNECTION: "the connection failed",
    AuthzFailure.TIMEOUT: "the request timed out",
}
# These kinds of failure prove that the authorizer responds, so they do not open the circuit breaker: the requests of
# one client may cause them.
_RESPONDED: Final = frozenset({AuthzFailure.RESPONSE, AuthzFailure.EXCEPTION})
_COUNTED: Final = (
    AuthzFailure.CONNECTION,
    AuthzFailure.TIMEOUT,
    AuthzFailure.RESPONSE,
    AuthzFailure.EXCEPTION,
    AuthzFailure.REQUEST,
)
_REJECTED: Final = (AuthzFailure.OVERLOAD, AuthzFailure.OPEN)


class _Waiting:
    """One authorization request in the queue.

    @ivar result: fires with the decision.
    @ivar call: the Deferred of the authorizer, once the request was forwarded.
    @ivar deadline: the delayed call that ends the wait in the queue and the call after it.
    """

    def __init__(self, request: DecisionRequest, since: float, on_cancel: Callable[[_Waiting], None]) -> None:
        self.request = request
        self.since = since
        self.dequeued_at = since
        self.result: Deferred[Decision] = Deferred(lambda _: on_cancel(self))
        self.call: Deferred[Decision] | None = None
        self.deadline: IDelayedCall | None = None
        self._pending = True

    def settle(self, result: Decision | Failure) -> None:
        """Pass the result on."""
        if self._pending:
            self.abandon()
            self.result.callback(result)

    def reject(self, error: AuthorizerUnavailable) -> None:
        """Fail with an error."""
        self.abandon()
        self.result.errback(error)

    def abandon(self) -> None:
        """Ignore any later result."""
        self._pending = False
        if self.deadline is not None and self.deadline.active():
            self.deadline.cancel()


class LimitedAuthorizer(Wrapper):
    """Limits the calls of an authorizer: a number of concurrent calls, a bounded queue, and a failure beyond that.

    The queue serves clients in turn, and the requests of one client in order: a client that floods delays only itself.
    When the queue is full, a client with less than its share displaces the newest request of the client that has most.

    When the authorizer does not respond, the circuit breaker opens: see L{Breaker}.  Then the limiter probes the
    connection by itself, so that the recovery puts no client's request at risk, and a proxy without traffic recovers,
    too.

    @param authorizer: fails only with L{AuthorizerUnavailable}, as an L{egress.authz.fail_closed.FailClosedAuthorizer}
        does.
    @param deadline: seconds for one request, including the time in the queue.
    @param max_concurrency: the concurrency limit.
    @param max_queue: the length of the queue.
    @param breaker_changed: is called with the cause when the circuit breaker opens, and with C{None} when it closes.
    """

    def __init__(
        self,
        clock: IReactorTime,
        authorizer: IAuthorizer,
        breaker: Breaker,
        *,
        deadline: float,
        max_concurrency: int,
        max_queue: int,
        breaker_changed: Callable[[str | None], object] = lambda cause: None,
    ) -> None:
        super().__init__(authorizer)
        self._clock = clock
        self._breaker = breaker
        self._deadline = deadline
        self._max_concurrency = max_concurrency
        self._max_queue = max_queue
        self._breaker_changed = breaker_changed
        self._in_flight = 0
        self._waiting: FairQueue[_Waiting] = FairQueue()
        self._draining = False
        self._failures = dict.fromkeys(_COUNTED, 0)
        self._rejected = dict.fromkeys(_REJECTED, 0)
        self._latest_kind = AuthzFailure.CONNECTION
        self._checking: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._closed = False

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Forward the request, queue it, or fail; see L{IAuthorizer.decide}."""
        if self._breaker.state is not _CLOSED:
            return self._forward_if_admitted(request)
        if self._in_flight >= self._max_concurrency or self._waiting:
            return self._enqueue(request)
        return self._forward(request)

    def _forward(self, request: DecisionRequest) -> Deferred[Decision]:
        call = self._authorizer.decide(request)
        if call.called and not call.paused and type(call.result) is Decision:
            if self._breaker.failures:
                self._record_response(request.client.limit_key)
            return call
        self._in_flight += 1
        client = request.client.limit_key
        term = self._breaker.term
        return call.addCallbacks(self._decided, self._failed, callbackArgs=(client,), errbackArgs=(client, term))

    def _decided(self, decision: Decision, client: str) -> Decision:
        self._in_flight -= 1
        if self._breaker.failures:
            self._record_response(client)
        if self._waiting:
            self._drain_queue()
        return decision

    def _failed(self, failure: Failure, client: str, term: int) -> Failure:
        self._in_flight -= 1
        error = failure.value
        kind = error.kind if isinstance(error, AuthorizerUnavailable) else AuthzFailure.CANCELLED
        if kind in self._failures:
            self._failures[kind] += 1
        elif kind in self._rejected:
            self._rejected[kind] += 1
        if kind in _FAILURE_TEXT:
            was = self._breaker.state
            if self._breaker.record_failure(self._clock.seconds(), client, term):
                self._latest_kind = kind
                self._open()
                if was is State.CLOSED:
                    _log.warn("authorizer circuit breaker opened: {what}", what=_FAILURE_TEXT[kind])
                    self._breaker_changed(_FAILURE_TEXT[kind])
        elif kind in _RESPONDED:
            self._record_response(client)
        else:
            self._breaker.abandoned(term)
        self._drain_queue()
        return failure

    # -- the queue

    def _enqueue(self, request: DecisionRequest) -> Deferred[Decision]:
        client = request.client.limit_key
        displaced = None
        if len(self._waiting) >= self._max_queue:
            full = f"{self._in_flight} requests are in progress and {len(self._waiting)} are queued"
            displaced = self._waiting.displaced_by(client)
            if displaced is None:
                return fail(self._overload(full))
            self._cancel(displaced)
        waiting = _Waiting(request, self._clock.seconds(), self._cancel)
        waiting.deadline = self._clock.callLater(self._deadline, self._expired, waiting)
        self._waiting.add(client, waiting)
        if displaced is not None:
            # This is the last step, because the callback may call decide() again.
            displaced.result.errback(self._overload(f"{full}, most of them from this client"))
        return waiting.result

    def _overload(self, why: str) -> AuthorizerUnavailable:
        self._rejected[AuthzFailure.OVERLOAD] += 1
        return AuthorizerUnavailable(f"the authorizer is overloaded: {why}", AuthzFailure.OVERLOAD, 1)

    def _drain_queue(self) -> None:
        """Forward queued requests, up to the concurrency limit."""
        # An authorizer that fails immediately calls this method from inside the loop.
        if self._draining:
            return
        self._draining = True
        try:
            while self._waiting and self._in_flight < self._max_concurrency:
                waiting = self._waiting.next
                waiting.dequeued_at = self._clock.seconds()
                if waiting.dequeued_at - waiting.since >= self._deadline:
                    self._expired(waiting)
                    continue
                self._waiting.take()
                waiting.call = self._forward(waiting.request)
                waiting.call.addBoth(waiting.settle)
        finally:
            self._draining = False

    def _cancel(self, waiting: _Waiting) -> None:
        waiting.abandon()
        if waiting.call is None:
            self._waiting.remove(waiting.request.client.limit_key, waiting)
        else:
            cancel(waiting.call)

    def _expired(self, waiting: _Waiting) -> None:
        if waiting.call is None:
            kind = AuthzFailure.OVERLOAD
            reason = f"the authorizer is overloaded: the request was queued for {self._deadline:g} s"
            self._rejected[kind] += 1
        else:
            # Part of the time was spent in the queue, so the failure does not count for the breaker.
            kind = AuthzFailure.TIMEOUT
            waited = f"the request was queued for {waiting.dequeued_at - waiting.since:.1f} s of this time"
            reason = f"the authorizer did not decide within {self._deadline:g} s; {waited}"
            self._failures[kind] += 1
        self._cancel(waiting)
        waiting.result.errback(AuthorizerUnavailable(reason, kind, 1))

    # -- the circuit breaker

    def _forward_if_admitted(self, request: DecisionRequest) -> Deferred[Decision]:
        now = self._clock.seconds()
        # The concurrency limit is not reached: the calls that opened the breaker, and each probe, have ended.
        if self._breaker.admit(now, request.client.limit_key):
            return self._forward(request)
        self._rejected[AuthzFailure.OPEN] += 1
        return fail(self._refusal(now))

    def _refusal(self, now: float) -> AuthorizerUnavailable:
        if self._breaker.state is State.OPEN:
            seconds = max(1, math.ceil(self._breaker.retry_at - now))
            retry = f"next attempt in {seconds} s"
        else:
            seconds, retry = 1, "an attempt is in progress"
        reason = (
            f"the authorizer circuit breaker is {self._breaker.state.value}: no response for "
            f"{max(0.0, now - self._breaker.since):.0f} s, last failure: {_FAILURE_TEXT[self._latest_kind]}; {retry}"
        )
        return AuthorizerUnavailable(reason, AuthzFailure.OPEN, seconds)

    def _open(self) -> None:
        self._retry()
        refusal = self._refusal(self._clock.seconds())
        while self._waiting:
            self._rejected[AuthzFailure.OPEN] += 1
            self._waiting.take().reject(refusal)

    def _record_response(self, client: str) -> None:
        was = self._breaker.state
        self._breaker.record_response(self._clock.seconds(), client)
        if was is not State.CLOSED:
            self._stop_checking()
            _log.info("authorizer circuit breaker closed: the authorizer responds again")
            self._breaker_changed(None)

    def _retry(self) -> None:
        if not self._closed:
            delay = max(0.0, self._breaker.retry_at - self._clock.seconds())
            self._timer = self._clock.callLater(delay, self._check)

    def _check(self) -> None:
        """Check whether the authorizer can be connected to."""
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
            self._latest_kind = AuthzFailure.CONNECTION
            self._breaker.unreached(self._clock.seconds())
            self._retry()

    def _stop_checking(self) -> None:
        checking, self._checking = self._checking, None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if checking is not None:
            cancel(checking)

    # -- statistics and the end

    def stats(self) -> AuthorizerStats:
        """Return the counts of requests by result."""
        return AuthorizerStats(
            in_flight=self._in_flight,
            queued=len(self._waiting),
            failures={kind.value: number for kind, number in self._failures.items()},
            rejected={kind.value: number for kind, number in self._rejected.items()},
            states={state.value: state is self._breaker.state for state in State},
            opened=self._breaker.opened,
        )

    def check_ready(self) -> Deferred[None]:
        """See L{IAuthorizer.check_ready}; while the circuit breaker is open, the authorizer is not ready."""
        if self._breaker.state is State.OPEN:
            return fail(self._refusal(self._clock.seconds()))
        return self._authorizer.check_ready()

    def close(self) -> Deferred[None]:
        """See L{IAuthorizer.close}."""
        self._closed = True
        self._stop_checking()
        while self._waiting:
            self._waiting.take().reject(AuthorizerUnavailable("the proxy is stopping", AuthzFailure.CANCELLED))
        return self._authorizer.close()
