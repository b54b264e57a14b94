"""What stands before every authorizer, whoever wrote it: no failure of one becomes an allow."""

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

_log = Logger()


def cancel(asked: Deferred[Any]) -> None:
    """Give up what an authorizer was asked."""
    try:
        asked.cancel()
    except Exception:  # noqa: BLE001 - the faults of an authorizer are not the client's
        _log.failure("the authorizer failed when it was cancelled")


class FailClosedAuthorizer(Wrapper):
    """Asks an authorizer, and fails closed.

    Whatever is not a L{Decision} within the deadline, an exception, another value, silence, is
    L{AuthorizerUnavailable}.

    @param deadline: seconds for one decision, whatever the authorizer itself keeps to; C{None} for one that keeps its
        own and can be cancelled.
    """

    def __init__(self, clock: IReactorTime, authorizer: IAuthorizer, deadline: float | None) -> None:
        super().__init__(authorizer)
        self._clock = clock
        self._deadline = deadline

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Ask; see L{IAuthorizer.decide}."""
        asked: Deferred[Decision] = maybeDeferred(self._authorizer.decide, request)
        if asked.called and not asked.paused and type(asked.result) is Decision:
            return asked
        asked.addCallbacks(self._checked, self._failed)
        # One that was called may yet wait for another that a callback of it returned.
        if self._deadline is None or (asked.called and not asked.paused):
            return asked
        return self._within_deadline(asked, self._deadline)

    def _within_deadline(self, asked: Deferred[Decision], deadline: float) -> Deferred[Decision]:
        """Give a Deferred of our own: an authorizer that ignores being cancelled keeps nobody waiting."""
        wanted = True

        def give_up(_: object = None) -> None:
            nonlocal wanted
            wanted = False
            if timer.active():
                timer.cancel()
            cancel(asked)

        def expired() -> None:
            give_up()
            reason = f"the authorizer did not decide within {deadline:g} s"
            answer.errback(AuthorizerUnavailable(reason, AuthzFailure.TIMEOUT))

        def settle(result: Decision | Failure) -> None:
            if wanted:
                timer.cancel()
                answer.callback(result)

        answer: Deferred[Decision] = Deferred(give_up)
        timer = self._clock.callLater(deadline, expired)
        asked.addBoth(settle)
        return answer

    def _checked(self, decision: object) -> Decision:
        if type(decision) is Decision:
            return decision
        _log.error("the authorizer answered with {kind}, not with a Decision", kind=type(decision).__name__)
        raise AuthorizerUnavailable("the authorizer gave no decision", AuthzFailure.FAILURE)

    def _failed(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, AuthorizerUnavailable):
            return failure
        if isinstance(error, CancelledError):
            raise AuthorizerUnavailable("the authorizer gave the question up", AuthzFailure.GIVEN_UP)
        _log.failure("the authorizer failed", failure=failure)
        raise AuthorizerUnavailable("the authorizer failed; the operator's log has the details", AuthzFailure.FAILURE)

    def check_ready(self) -> Deferred[None]:
        """See L{IAuthorizer.check_ready}."""
        return maybeDeferred(self._authorizer.check_ready)

    def close(self) -> Deferred[None]:
        """See L{IAuthorizer.close}."""
        return maybeDeferred(self._authorizer.close)
