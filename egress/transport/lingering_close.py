"""A way to close a connection without losing the last response.

A TCP connection that is closed while unread data waits in it, or on which data arrives later, is reset. The reset may
reach the client before it has read the response, and its system then discards the response (RFC 9112 section 9.6).
Therefore the proxy ends its own direction, and reads and discards until the client ends the other direction, for a
bounded time and a bounded number of bytes.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime, ITCPTransport

from egress.config.model import MIB
from egress.transport.tcp import unshared
from egress.transport.tls_layer import TLS_LAYERS
from egress.transport.watchdog import Watchdog

# The limits on reading and discarding after the last response.
LINGER_SECONDS: Final = 5.0
LINGER_BYTES: Final = 16 * MIB


class LingeringClose:
    """The close of one connection after its last response.

    Its owner forwards the transport's events to it. The transport has no registered producer any more.

    @param transport: the transport, with all layers.
    @param timeout: seconds that the peer may take to receive the remaining data.
    @param linger: seconds that the peer may take after that to end its direction.
    """

    __slots__ = ("_linger", "_read", "_transport", "_watchdog")

    def __init__(self, transport: object, clock: IReactorTime, timeout: float, linger: float = LINGER_SECONDS) -> None:
        self._transport = transport
        self._linger = linger
        self._read = 0
        self._watchdog = Watchdog(clock, self._expired)
        self._watchdog.set(timeout)
        below = unshared(transport)
        # A TLS layer waits for the peer's closing alert itself, and reads meanwhile.
        if ITCPTransport.providedBy(below) and not isinstance(below, TLS_LAYERS):
            below.loseWriteConnection()
        else:
            transport.loseConnection()  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Discard data from the peer, up to a limit."""
        self._read += len(data)
        if self._read > LINGER_BYTES:
            self._expired()

    def write_closed(self) -> None:
        """Handle that all data was sent: wait for a short time for the end of the peer's data."""
        self._watchdog.set(self._linger)

    def read_closed(self) -> None:
        """Handle the end of the peer's data."""
        self._transport.loseConnection()  # type: ignore[attr-defined]

    def stop(self) -> None:
        """Handle the loss of the connection."""
        self._watchdog.stop()

    def _expired(self) -> None:
        self._transport.abortConnection()  # type: ignore[attr-defined]
