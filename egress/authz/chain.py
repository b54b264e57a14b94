"""What stands before every authorizer, whoever wrote it: no failure of one becomes an allow."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as DeadlinePassed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.interfaces import IAuthorizer
from egress.model.decision import Decision, DecisionRequest
from egress.model.errors import AuthorizerUnavailable

_log = Logger()


@implementer(IAuthorizer)
class AuthorizationChain:
    """Asks an authorizer, and fails closed.

    Whatever is not a L{Decision} within the deadline, an exception, another value, silence, is
    L{AuthorizerUnavailable}.

    @param deadline: seconds for one decision, whatever the authorizer itself keeps to.
    """

    def __init__(self, clock: IReactorTime, authorizer: IAuthorizer, deadline: float) -> None:
        self._clock = clock
        self._authorizer = authorizer
        self._deadline = deadline

    @property
    def name(self) -> str:
        """The authorizer's name."""
        return self._authorizer.name

    @property
    def needs_body(self) -> bool:
        """Whether the authorizer looks at contents."""
        return self._authorizer.needs_body

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Ask; see L{IAuthorizer.decide}."""
        asked: Deferred[Decision] = maybeDeferred(self._authorizer.decide, request)
        if not asked.called:
            asked.addTimeout(self._deadline, self._clock)
        return asked.addCallbacks(self._checked, self._failed)

    def _checked(self, decision: object) -> Decision:
        if type(decision) is Decision:
            return decision
        _log.error("the authorizer answered with {kind}, not with a Decision", kind=type(decision).__name__)
        raise AuthorizerUnavailable("the authorizer gave no decision")

    def _failed(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, (AuthorizerUnavailable, CancelledError)):
            return failure
        if isinstance(error, DeadlinePassed):
            raise AuthorizerUnavailable(f"the authorizer did not decide within {self._deadline:g} s")
        _log.failure("the authorizer failed", failure=failure)
        raise AuthorizerUnavailable("the authorizer failed; the operator's log has the details")

    def check_ready(self) -> Deferred[None]:
        """See L{IAuthorizer.check_ready}."""
        return maybeDeferred(self._authorizer.check_ready)

    def close(self) -> Deferred[None]:
        """See L{IAuthorizer.close}."""
        return maybeDeferred(self._authorizer.close)
