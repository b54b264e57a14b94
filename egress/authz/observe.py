"""Observe mode: what would have been refused leaves all the same, and is on record as such."""

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

# What is passed on as it is: an allow, and the wish to see more of the request first.
_PASSED_ON: Final = frozenset({Verdict.ALLOW, *NEEDS})


class ObservingAuthorizer(Wrapper):
    """Asks an authorizer, and lets pass what it denies, leaves to a person or cannot decide.

    A denial that is L{firm<Decision.firm>} holds, as those of the address guard do, which nobody is asked about.  None
    of the terms of a denial are kept: they were meant for something else.

    The name of what is let pass is looked up.  So where the addresses are withheld, a denial asks for them: with these,
    it may be a firm one.
    """

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Ask; see L{egress.interfaces.IAuthorizer.decide}."""
        return self._authorizer.decide(request).addCallbacks(_observed, self._without, callbackArgs=(request,))

    def _without(self, failure: Failure) -> Decision:
        """There was no decision."""
        error = failure.value
        if not isinstance(error, AuthorizerUnavailable):
            failure.raiseException()
        return Decision(Verdict.ALLOW, error.reason, self.name, observed=UNAVAILABLE)


def lets_pass(decision: Decision) -> bool:
    """Whether observe mode makes an allow of a decision that is none."""
    return decision.verdict not in _PASSED_ON and not (decision.enforce_in_observe and decision.verdict is Verdict.DENY)


def _observed(decision: Decision, request: DecisionRequest) -> Decision:
    if not lets_pass(decision):
        return decision
    # The reason and the rule remain those of the denial, for whoever reads the audit log.
    verdict = Verdict.NEED_ADDRESSES if request.addresses_withheld else Verdict.ALLOW
    return attrs.evolve(decision, verdict=verdict, obligations=NO_OBLIGATIONS, observed=DENIED)
