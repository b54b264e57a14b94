"""The embedded policy as an authorizer."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from egress.interfaces import IAuthorizer
from egress.model.decision import Decision, DecisionRequest
from egress.policy.rules import RuleSet


@implementer(IAuthorizer)
class LocalAuthorizer:
    """Decides by rules that are in memory; rules do not look at contents, so these stream through."""

    needs_body = False

    def __init__(self, rules: RuleSet) -> None:
        self.name = rules.name
        self._rules = rules

    def use(self, rules: RuleSet) -> None:
        """Decide by other rules from now on."""
        self.name = rules.name
        self._rules = rules

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Decide at once; see L{IAuthorizer.decide}."""
        return succeed(self._rules.decide(request))

    def check_ready(self) -> Deferred[None]:
        """Rules are always ready."""
        return succeed(None)

    def close(self) -> Deferred[None]:
        """There is nothing to let go of."""
        return succeed(None)
