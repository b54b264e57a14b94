"""The embedded policy as an authorizer."""

from __future__ import annotations

from collections.abc import Callable
from time import time

from twisted.internet.defer import Deferred, succeed
from zope.interface import classImplements

from egress.interfaces import IAuthorizer
from egress.model.decision import Decision, DecisionRequest
from egress.policy.rules import RuleSet


class PolicyAuthorizer:
    """Decides by rules in memory.

    Content streams through.  A rule that reads the content returns L{Verdict.NEED_BODY}, and a rule that depends on the
    addresses returns L{Verdict.NEED_ADDRESSES}.

    @param now: returns the time, in seconds since the epoch.
    """

    needs_body = False

    def __init__(self, rules: RuleSet, now: Callable[[], float] = time) -> None:
        self.name = rules.name
        self._rules = rules
        self._now = now

    @property
    def rules(self) -> RuleSet:
        """The rules that decide."""
        return self._rules

    def use(self, rules: RuleSet) -> None:
        """Decide by other rules from now on."""
        self.name = rules.name
        self._rules = rules

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Decide immediately; see L{IAuthorizer.decide}."""
        return succeed(self._rules.decide(request, self._now()))

    def check_ready(self) -> Deferred[None]:
        """Succeed: rules are always ready."""
        return succeed(None)

    def close(self) -> Deferred[None]:
        """Succeed: there are no resources to release."""
        return succeed(None)


# A decorator would keep the compiler from making the class a native one.
classImplements(PolicyAuthorizer, IAuthorizer)
