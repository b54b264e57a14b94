"""The wrapper that fails closed: no failure of an authorizer results in an allow."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.authz.wrapper import Wrapper
from egress.interfaces import IAuthorizer
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import Decision, DecisionRequest
from egress.model.errors import AuthorizerUnavailable
from egress.runtime.deferred_call import call_for_deferred

_log = Logger()


def cancel(call: Deferred[Any]) -> None:
    """Cancel a call of an authorizer.  Log an exception that this raises."""
    try:
        call.cancel()
    except Exception:  # noqa: BLE001 - the faults of an authorizer are not the client's
        _log.failure("cancelling an authorization request failed")


class FailClosedAuthorizer(Wrapper):
    """Calls an authorizer and fails closed.

    Every result other than a L{Decision} within the deadline (an exception, another value, no result) becomes
    L{AuthorizerUnavailable}.

    @param deadline: seconds for one decision, whatever deadline the authorizer itself has; C{None} for an authorizer
        that has a deadline of its own and can be cancelled.
    """

    def __init__(self, clock: IReactorTime, authorizer: IAuthorizer, deadline: float | None) -> None:
        super().__init__(authorizer)
        self._clock = clock
        self._deadline = deadline

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Forward the request; see L{IAuthorizer.decide}."""
        call: Deferred[Decision] = call_for_deferred(self._authorizer.decide, request)
        if call.called and not call.paused and type(call.result) is Decision:
            return call
        call.addCallbacks(self._validated, self._failed)
        # A Deferred that was called may still be paused: it waits for one that its callback returned.
        if self._deadline is None or (call.called and not call.paused):
            return call
        return self._within_deadline(call, self._deadline)

    def _within_deadline(self, call: Deferred[Decision], deadline: float) -> Deferred[Decision]:
        """Return a separate Deferred, so that an authorizer that ignores cancellation delays no client."""
        pending = True

        def abandon(_: object = None) -> None:
            nonlocal pending
            pending = False
            if timer.active():
                timer.cancel()
            cancel(call)

        def expired() -> None:
            abandon()
            reason = f"the authorizer did not decide within {deadline:g} s"
            outcome.errback(AuthorizerUnavailable(reason, AuthzFailure.TIMEOUT))

        def settle(result: Decision | Failure) -> None:
            if pending:
                timer.cancel()
                outcome.callback(result)

        outcome: Deferred[Decision] = Deferred(abandon)
        timer = self._clock.callLater(deadline, expired)
        call.addBoth(settle)
        return outcome

    def _validated(self, decision: object) -> Decision:
        if type(decision) is Decision:
            return decision
        _log.error("the authorizer returned {kind} instead of a Decision", kind=type(decision).__name__)
        raise AuthorizerUnavailable("the authorizer returned no decision", AuthzFailure.EXCEPTION)

    def _failed(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, AuthorizerUnavailable):
            return failure
        if isinstance(error, CancelledError):
            raise AuthorizerUnavailable("the authorizer cancelled the request", AuthzFailure.CANCELLED)
        _log.failure("the authorizer failed", failure=failure)
        raise AuthorizerUnavailable("the authorizer failed; the operator's log has the details", AuthzFailure.EXCEPTION)

    def check_ready(self) -> Deferred[None]:
        """See L{IAuthorizer.check_ready}."""
        return maybeDeferred(self._authorizer.check_ready)

    def close(self) -> Deferred[None]:
        """See L{IAuthorizer.close}."""
        return maybeDeferred(self._authorizer.close)
