"""TLS layers that Twisted builds from contexts of ours."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer


class TlsFactory(TLSMemoryBIOFactory):
    """Makes TLS layers without a write buffer of their own.

    What is written is aggregated where it is made; a second buffer would only add a turn of the reactor.
    """

    noisy = False
    protocol = TLSMemoryBIOProtocol


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """Begins TLS sessions with clients on one context, for L{TlsFactory}."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See L{IOpenSSLServerConnectionCreator}."""
        return SSL.Connection(self._context, None)
