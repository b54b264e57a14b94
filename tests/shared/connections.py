"""Connections in memory, for tests of clients of an engine and of sentinels."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectError
from twisted.internet.testing import MemoryReactorClock, StringTransportWithDisconnection
from twisted.python.failure import Failure

from egress.model.shared_location import SharedLocation

LOCATION = SharedLocation.parse("redis+sentinel://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/mymaster")


def named(port: int, host: str = "127.0.0.1") -> bytes:
    """Return the reply of a sentinel with an address."""
    return b"*2\r\n$%d\r\n%b\r\n$%d\r\n%d\r\n" % (len(host), host.encode(), len(str(port)), port)


class Transport(StringTransportWithDisconnection):
    """A transport of a connection over TCP."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Do nothing (C{ITCPTransport})."""

    def write(self, data: bytes) -> None:
        """Ignore data after the end of the connection, as a real one does."""
        if self.connected:
            super().write(data)


class Connections:
    """The connections that a client opens over TCP.

    @ivar reactor: the reactor of the client.
    """

    def __init__(self) -> None:
        self.reactor: Any = MemoryReactorClock()

    @property
    def ports(self) -> list[int]:
        """The ports to which it connected."""
        return [port for _, port, *_ in self.reactor.tcpClients]

    def accept(self) -> Transport:
        """Accept the last connection."""
        protocol = self.reactor.tcpClients[-1][2].buildProtocol(None)
        transport = Transport()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return transport

    def refuse(self) -> None:
        """Refuse the last connection."""
        factory = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(None, Failure(ConnectError(string="Connection was refused")))
        # Twisted looks for another address of the host after this time.
        self.reactor.advance(0.3)

    def receive(self, transport: Transport, *replies: bytes) -> bytes:
        """Reply to commands one after another, and return what was sent."""
        sent = b""
        for reply in replies:
            self.reactor.advance(0)
            sent += transport.value()
            transport.clear()
            transport.protocol.dataReceived(reply)
        return sent
