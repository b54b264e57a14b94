"""The base class of authorizers that wrap another authorizer."""

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
        """The class that C{proxyForInterface} makes, for type checkers."""

        name: str
        needs_body: bool

        def __init__(self, original: IAuthorizer) -> None:
            """Wrap an authorizer."""
            self._authorizer = original

        def decide(self, request: DecisionRequest) -> Deferred[Decision]:
            """Forward the call."""

        def check_ready(self) -> Deferred[None]:
            """Forward the call."""

        def close(self) -> Deferred[None]:
            """Forward the call."""

else:
    Wrapper = proxyForInterface(IAuthorizer, "_authorizer")
    """An L{IAuthorizer} that forwards every call to C{_authorizer}.  A wrapper overrides C{decide}."""
