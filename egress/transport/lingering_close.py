"""Closing a connection in a way that does not destroy the last answer.

A TCP connection that is closed while unread data waits in it, or on which data arrives later, is reset.  The reset may
reach the client before it has read the answer, and its system then discards the answer (RFC 9112 section 9.6).
Therefore the proxy ends its own direction, and reads and discards until the client ends the other direction, for a
bounded time and a bounded number of bytes.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.protocols.tls import TLSMemoryBIOProtocol

from egress.config.model import MIB
from egress.transport.tcp import unshared
from egress.transport.watchdog import Watchdog

# What is read and discarded after the last answer.
LINGER_SECONDS: Final = 5.0
LINGER_BYTES: Final = 16 * MIB


class LingeringClose:
    """The end of one connection, after the last answer was written.

    Its owner passes on what it is told of the transport.  It has no registered producer any more.

    @param transport: the transport, with all layers.
    @param patience: seconds that the peer may take to receive what is still to be sent.
    @param linger: seconds that the peer may take after that to end its direction.
    """

    __slots__ = ("_linger", "_read", "_transport", "_watchdog")

    def __init__(self, transport: object, clock: IReactorTime, patience: float, linger: float = LINGER_SECONDS) -> None:
        self._transport = transport
        self._linger = linger
        self._read = 0
        self._watchdog = Watchdog(clock, self._expired)
        self._watchdog.set(patience)
        below = unshared(transport)
        # A TLS layer waits for the closing alert of the peer by itself, and reads meanwhile.
        if ITCPTransport.providedBy(below) and not isinstance(below, TLSMemoryBIOProtocol):
            below.loseWriteConnection()
        else:
            transport.loseConnection()  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Discard what the peer still sends, up to a bound."""
        self._read += len(data)
        if self._read > LINGER_BYTES:
            self._expired()

    def write_closed(self) -> None:
        """Everything was sent: wait for the end of the peer, but not for long."""
        self._watchdog.set(self._linger)

    def read_closed(self) -> None:
        """The peer has ended its direction."""
        self._transport.loseConnection()  # type: ignore[attr-defined]

    def stop(self) -> None:
        """The connection is gone."""
        self._watchdog.stop()

    def _expired(self) -> None:
        self._transport.abortConnection()  # type: ignore[attr-defined]
