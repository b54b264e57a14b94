"""TLS over another endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime, IStreamClientEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol, IProtocolFactory


class _TlsFactory(TLSMemoryBIOFactory):
    """Writes to OpenSSL without a buffer: a request is one write, and a buffer would cost a turn of the reactor."""

    noisy = False
    protocol = TLSMemoryBIOProtocol


@implementer(IStreamClientEndpoint)
class TlsEndpoint:
    """TLS over another endpoint.  C{wrapClientTLS} of older Twisted versions uses the clock of the global reactor."""

    def __init__(self, clock: IReactorTime, tls: IOpenSSLClientConnectionCreator, inner: IStreamClientEndpoint) -> None:
        self._clock = clock
        self._tls = tls
        self._inner = inner

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See C{IStreamClientEndpoint.connect}.  It fires before the handshake is complete."""
        factory = _TlsFactory(self._tls, True, protocolFactory, clock=self._clock)
        connecting: Deferred[Any] = self._inner.connect(factory)
        return connecting.addCallback(lambda layer: layer.wrappedProtocol)
