"""The wrapper that fails closed while the policy of a URL is not loaded or not current."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail

from egress.authz.wrapper import Wrapper
from egress.interfaces import IAuthorizer
from egress.model.decision import Decision, DecisionRequest
from egress.model.errors import AuthorizerUnavailable


class CurrentPolicyAuthorizer(Wrapper):
    """Calls an authorizer while its policy may be used.

    @param fault: returns why the policy may not be used; C{None} if it may.
    """

    def __init__(self, authorizer: IAuthorizer, fault: Callable[[], str | None]) -> None:
        super().__init__(authorizer)
        self._fault = fault

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Forward the request, or fail; see L{IAuthorizer.decide}."""
        fault = self._fault()
        if fault is not None:
            return fail(AuthorizerUnavailable(fault))
        return self._authorizer.decide(request)
