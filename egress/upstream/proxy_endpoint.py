"""An endpoint that connects through the upstream proxy, for the proxy's own calls to the authorization service."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from egress.interfaces import IDialer
from egress.model.authority import Authority, Origin, UpstreamProxy
from egress.model.route import Route
from egress.transport.dialed import ProtocolAdapter


@implementer(IStreamClientEndpoint)
class UpstreamEndpoint:
    """Connects to an authority through the upstream proxy's CONNECT."""

    def __init__(self, dialer: IDialer, upstream: UpstreamProxy, authority: Authority) -> None:
        self._dialer = dialer
        self._route = Route(Origin("https", authority), (), upstream, tls=False, connect=True)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See C{IStreamClientEndpoint.connect}."""
        inner = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
        if inner is None:
            return fail(ConnectError(string="the factory built no protocol"))  # type: ignore[no-untyped-call]
        bridge = ProtocolAdapter(inner)
        return self._dialer.dial(self._route, bridge).addCallback(lambda _: bridge.attach())
