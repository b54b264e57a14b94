"""TLS in place of Twisted's: factories of the layers of L{egress.transport.tls_layer}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import ServerFactory
from zope.interface import implementer

from egress.transport.fair_turns import RoundRobin
from egress.transport.tls_layer import TlsLayer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IOpenSSLClientConnectionCreator, IProtocolFactory, IReactorTime

    ConnectionCreator = IOpenSSLClientConnectionCreator | IOpenSSLServerConnectionCreator


class TlsFactory(ServerFactory):
    """Creates TLS layers without a write buffer of their own.

    Writers aggregate their data; a second buffer would only add a turn of the reactor.
    """

    noisy = False

    def __init__(
        self,
        creator: ConnectionCreator,
        isClient: bool,
        wrappedFactory: IProtocolFactory,
        clock: IReactorTime,
        turns: RoundRobin | None = None,
    ) -> None:
        """Create a factory.

        @param turns: the scheduler of work for later turns of the reactor; C{None} for a separate one.
        """
        self.wrappedFactory = wrappedFactory
        self._creator = creator
        self._is_client = isClient
        self._turns = RoundRobin(clock) if turns is None else turns

    def doStart(self) -> None:
        """See C{IProtocolFactory}."""
        self.wrappedFactory.doStart()
        super().doStart()  # type: ignore[no-untyped-call]

    def doStop(self) -> None:
        """See C{IProtocolFactory}."""
        self.wrappedFactory.doStop()
        super().doStop()  # type: ignore[no-untyped-call]

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See C{IProtocolFactory}."""
        inner = self.wrappedFactory.buildProtocol(cast("IAddress", addr))
        return None if inner is None else TlsLayer(self._creator, self._is_client, inner, self._turns)


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """Creates TLS sessions with clients from one context, for L{TlsFactory}."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """See C{IOpenSSLServerConnectionCreator}."""
        return SSL.Connection(self._context, None)
