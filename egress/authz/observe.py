"""Observe mode: requests that would be denied are allowed, and recorded as such in the audit log."""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from egress.authz.wrapper import Wrapper
from egress.model.decision import NEEDS, NO_OBLIGATIONS, Decision, DecisionRequest, Verdict
from egress.model.errors import AuthorizerUnavailable

DENIED: Final = "deny"
UNAVAILABLE: Final = "unavailable"

# Verdicts that stay as they are: an allow, and the need for more of the request.
_PASSED_ON: Final = frozenset({Verdict.ALLOW, *NEEDS})


class ObservingAuthorizer(Wrapper):
    """Calls an authorizer, and allows what it denies, leaves to an approver or cannot decide.

    A denial with L{Decision.enforce_in_observe} is enforced, as the denials of the address guard are, which no
    authorizer decides.  The obligations of a denial are dropped: they were meant for another decision.

    The proxy resolves the host names of requests that it allows.  So where the addresses are withheld, a denial becomes
    a need for them: with the addresses, it may be one to enforce.
    """

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Forward the request; see L{egress.interfaces.IAuthorizer.decide}."""
        return self._authorizer.decide(request).addCallbacks(_observed, self._allow_undecided, callbackArgs=(request,))

    def _allow_undecided(self, failure: Failure) -> Decision:
        """Allow a request without a decision."""
        error = failure.value
        if not isinstance(error, AuthorizerUnavailable):
            failure.raiseException()
        return Decision(Verdict.ALLOW, error.reason, self.name, observed=UNAVAILABLE)


def lets_pass(decision: Decision) -> bool:
    """Return whether observe mode turns a decision into an allow."""
    return decision.verdict not in _PASSED_ON and not (decision.enforce_in_observe and decision.verdict is Verdict.DENY)


def _observed(decision: Decision, request: DecisionRequest) -> Decision:
    if not lets_pass(decision):
        return decision
    # The reason and the rule of the denial remain, for readers of the audit log.
    verdict = Verdict.NEED_ADDRESSES if request.addresses_withheld else Verdict.ALLOW
    return attrs.evolve(decision, verdict=verdict, obligations=NO_OBLIGATIONS, observed=DENIED)
