"""An endpoint that resolves names with the resolver of the proxy.

C{HostnameEndpoint} uses the threads of the reactor, for which a process waits at its end.  A lookup without a DNS
response must not delay that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from egress.model.authority import Authority
from egress.transport.reactor import IEgressReactor
from egress.upstream.happy_eyeballs import connect_first

if TYPE_CHECKING:
    from egress.upstream.lookups import Addresses
    from egress.upstream.resolver import Resolver

_MAX_CONCURRENT: Final = 2


@implementer(IStreamClientEndpoint)
class ResolvedEndpoint:
    """Connects to the first address of a host that accepts the connection.

    @param reactor: provides TCP.
    @param resolver: resolves the host.
    @param authority: the host and the port.
    @param timeout: seconds for each attempt.
    """

    def __init__(self, reactor: IEgressReactor, resolver: Resolver, authority: Authority, timeout: float) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._authority = authority
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See C{IStreamClientEndpoint.connect}."""
        protocol = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
        if protocol is None:
            return fail(ConnectError(string="the factory built no protocol"))  # type: ignore[no-untyped-call]

        def connect(addresses: Addresses) -> Deferred[None]:
            return connect_first(
                self._reactor,
                addresses,
                self._authority.port,
                protocol,
                timeout=self._timeout,
                max_concurrent=_MAX_CONCURRENT,
            )

        return self._resolver.resolve(self._authority).addCallback(connect).addCallback(lambda _: protocol)
