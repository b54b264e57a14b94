"""What an authorizer in front of another is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.python.components import proxyForInterface

from egress.interfaces import IAuthorizer

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from zope.interface import implementer

    from egress.model.decision import Decision, DecisionRequest

    @implementer(IAuthorizer)
    class Wrapper:
        """What L{proxyForInterface} makes, for type checkers."""

        name: str
        needs_body: bool

        def __init__(self, original: IAuthorizer) -> None:
            """Stand before an authorizer."""
            self._authorizer = original

        def decide(self, request: DecisionRequest) -> Deferred[Decision]:
            """Ask."""

        def check_ready(self) -> Deferred[None]:
            """Find out whether decisions can be had."""

        def close(self) -> Deferred[None]:
            """Let go of everything."""

else:
    Wrapper = proxyForInterface(IAuthorizer, "_authorizer")
    """An L{IAuthorizer} that passes everything on to C{_authorizer}; what stands before it overrides C{decide}."""
