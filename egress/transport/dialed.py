"""The protocol of a connection that the proxy opens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHandshakeListener, IProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import classImplements

from egress.transport.tcp import no_delay


class DialedProtocol:
    """The protocol of an outgoing connection, which reports when its transport is ready, including TLS.

    Nothing may be written before: data written during a handshake would reach a peer that is not verified yet.

    It has no base class of Twisted, so that it can be compiled.

    @ivar transport: the transport; C{None} before there is a connection.
    """

    transport: Any = None
    _on_ready: Callable[[], None] | None = None
    _on_lost: Callable[[Failure], None] | None = None
    _over_tls = False

    def prepare(self, over_tls: bool, ready: Callable[[], None], lost: Callable[[Failure], None]) -> None:
        """Set the callbacks; one of them is called once."""
        self._over_tls = over_tls
        self._on_ready = ready
        self._on_lost = lost

    def makeConnection(self, transport: Any) -> None:
        """Use a transport (C{IProtocol})."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """Report the connection as ready, unless a TLS handshake follows."""
        no_delay(self.transport)
        if not self._over_tls:
            self._ready()

    def handshakeCompleted(self) -> None:
        """Report the connection as ready, unless the peer's certificate was rejected.

        Twisted reports the handshake in that case too, with the connection already aborted.
        """
        if not self.transport.disconnecting:
            self._ready()

    def dataReceived(self, data: bytes) -> None:
        """Process data (C{IProtocol})."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report a connection that was lost before it was ready."""
        lost, self._on_lost, self._on_ready = self._on_lost, None, None
        if lost is not None:
            lost(reason)

    def _ready(self) -> None:
        ready, self._on_lost, self._on_ready = self._on_ready, None, None
        if ready is not None:
            ready()


class ProtocolAdapter(DialedProtocol):
    """Provides the transport to an ordinary protocol after the connection is established."""

    def __init__(self, inner: IProtocol) -> None:
        self._inner = inner
        self._attached = False

    def attach(self) -> IProtocol:
        """Connect the inner protocol: the connection is established."""
        self._attached = True
        self._inner.makeConnection(self.transport)
        return self._inner

    def dataReceived(self, data: bytes) -> None:
        """Forward data to the inner protocol."""
        self._inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report the end of the connection to the inner protocol."""
        super().connectionLost(reason)
        if self._attached:
            self._inner.connectionLost(reason)


# Not as a decorator, which would prevent the compilation of the class.
classImplements(DialedProtocol, IProtocol, IHandshakeListener)
