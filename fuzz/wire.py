"""The transport of a connection in memory: it stores what is written, and delivers nothing after its end."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

_LOST = Failure(ConnectionDone())  # type: ignore[no-untyped-call]


class Wire:
    """The part of a transport that the code under test uses.

    An exception of the protocol is not caught, so it ends the run.

    @ivar written: the data that the protocol wrote.
    @ivar closed: whether the protocol has closed or aborted the connection.
    @ivar paused: whether the protocol does not read.
    """

    def __init__(self, protocol: Any) -> None:
        self.written = bytearray()
        self.closed = self.aborted = self.paused = False
        self.protocol = protocol
        self.peer = IPv4Address("TCP", "198.51.100.7", 40000)
        protocol.makeConnection(self)

    def lose(self) -> None:
        """End the connection."""
        self.closed = True
        self.protocol.connectionLost(_LOST)

    def write(self, data: bytes) -> None:
        """Store data; see C{ITransport.write}."""
        assert not self.closed, "data is written after the end"
        self.written += data

    def loseConnection(self) -> None:
        """See C{ITransport.loseConnection}."""
        self.closed = True

    def abortConnection(self) -> None:
        """See C{ITCPTransport.abortConnection}."""
        self.closed = self.aborted = True

    def getPeer(self) -> IPv4Address:
        """Return the address of the other side."""
        return self.peer

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """See C{IConsumer.registerProducer}: data is taken at once."""

    def unregisterProducer(self) -> None:
        """See C{IConsumer.unregisterProducer}."""

    def pauseProducing(self) -> None:
        """See C{IPushProducer.pauseProducing}."""
        self.paused = True

    def resumeProducing(self) -> None:
        """See C{IPushProducer.resumeProducing}."""
        self.paused = False
