"""The base class of authorizers that wrap another authorizer."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import classImplements

from egress.interfaces import IAuthorizer
from egress.model.decision import Decision, DecisionRequest
from egress.runtime.native import mypyc_attr


# Some subclasses are compiled, others are not.
@mypyc_attr(allow_interpreted_subclasses=True)
class Wrapper:
    """An L{IAuthorizer} that forwards every call to another one.  A subclass overrides C{decide}."""

    def __init__(self, authorizer: IAuthorizer) -> None:
        self._authorizer = authorizer

    @property
    def name(self) -> str:
        """See L{IAuthorizer}."""
        name: str = self._authorizer.name
        return name

    @property
    def needs_body(self) -> bool:
        """See L{IAuthorizer}."""
        needs_body: bool = self._authorizer.needs_body
        return needs_body

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Forward the call."""
        return self._authorizer.decide(request)

    def check_ready(self) -> Deferred[None]:
        """Forward the call."""
        return self._authorizer.check_ready()

    def close(self) -> Deferred[None]:
        """Forward the call."""
        return self._authorizer.close()


# A decorator would keep the compiler from making the class a native one.
classImplements(Wrapper, IAuthorizer)
