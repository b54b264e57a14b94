"""The protocol of a connection that the proxy opens."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.transport.tcp import no_delay


@implementer(IHandshakeListener)
class DialedProtocol(Protocol):
    """The protocol of an outgoing connection, which reports when its transport is ready, including TLS.

    Nothing may be written before: data written during a handshake would reach a peer that is not verified yet.
    """

    _on_ready: Callable[[], None] | None = None
    _on_lost: Callable[[Failure], None] | None = None
    _over_tls = False

    def prepare(self, over_tls: bool, ready: Callable[[], None], lost: Callable[[Failure], None]) -> None:
        """Set the callbacks; one of them is called once."""
        self._over_tls = over_tls
        self._on_ready = ready
        self._on_lost = lost

    def connectionMade(self) -> None:
        """Report the connection as ready, unless a TLS handshake follows."""
        no_delay(self.transport)
        if not self._over_tls:
            self._ready()

    def handshakeCompleted(self) -> None:
        """Report the connection as ready, unless the peer's certificate was rejected.

        Twisted reports the handshake in that case too, with the connection already aborted.
        """
        if not self.transport.disconnecting:  # type: ignore[union-attr]
            self._ready()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report a connection that was lost before it was ready."""
        lost, self._on_lost, self._on_ready = self._on_lost, None, None
        if lost is not None:
            lost(reason)

    def _ready(self) -> None:
        ready, self._on_lost, self._on_ready = self._on_ready, None, None
        if ready is not None:
            ready()
