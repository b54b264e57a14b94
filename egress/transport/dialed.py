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
    """A protocol at the far end of a dial: tells when its transport is ready for it, TLS included.

    Nothing may be written before: what is written during a handshake would be sent to an origin that then turns out
    not to be the one.
    """

    _on_ready: Callable[[], None] | None = None
    _on_lost: Callable[[Failure], None] | None = None
    _over_tls = False

    def prepare(self, over_tls: bool, ready: Callable[[], None], lost: Callable[[Failure], None]) -> None:
        """Say whom to tell, once."""
        self._over_tls = over_tls
        self._on_ready = ready
        self._on_lost = lost

    def connectionMade(self) -> None:
        """Ready, unless a TLS handshake comes first."""
        no_delay(self.transport)
        if not self._over_tls:
            self._ready()

    def handshakeCompleted(self) -> None:
        """Ready, unless the handshake ended with a certificate that was turned down.

        Twisted reports the handshake in that case too, with the connection already aborted.
        """
        if not self.transport.disconnecting:  # type: ignore[union-attr]
            self._ready()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Never was ready: tell why."""
        lost, self._on_lost, self._on_ready = self._on_lost, None, None
        if lost is not None:
            lost(reason)

    def _ready(self) -> None:
        ready, self._on_lost, self._on_ready = self._on_ready, None, None
        if ready is not None:
            ready()
