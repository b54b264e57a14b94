"""An authorization server in memory, for the tests of its clients."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.error import ConnectionRefusedError as ConnectRefused
from twisted.internet.interfaces import IStreamClientEndpoint, ITCPTransport
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(ITCPTransport)
class Transport(StringTransport):  # type: ignore[misc]
    """One connection, at its server end.

    @ivar protocol: the protocol of the client.
    """

    protocol: Any = None
    disconnecting = False
    aborted = False
    no_delay = False

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def take(self) -> bytes:
        """Return the data that the client sent since the last call."""
        sent: bytes = self.value()
        self.clear()
        return sent

    def answer(self, data: bytes) -> None:
        """Send data to the client."""
        self.protocol.dataReceived(data)

    def close(self, error: Exception | None = None) -> None:
        """Close the connection."""
        self.protocol.connectionLost(Failure(error or ConnectionDone()))


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects immediately, or as a test directs.

    @ivar connections: all connections.
    @ivar failing: the error of the next attempts.
    @ivar waiting: the attempts in progress, if C{slow}.
    @ivar cancelled: the number of cancelled attempts.
    """

    def __init__(self) -> None:
        self.connections: list[Transport] = []
        self.failing: Exception | None = None
        self.slow = False
        self.waiting: list[Deferred[Any]] = []
        self.cancelled = 0

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        connecting: Deferred[Any] = Deferred(self._cancel)
        if self.slow:
            self.waiting.append(connecting)
        elif self.failing is not None:
            connecting.errback(self.failing)
        else:
            transport = Transport()
            transport.protocol = protocolFactory.buildProtocol(None)
            transport.protocol.makeConnection(transport)
            self.connections.append(transport)
            connecting.callback(transport.protocol)
        return connecting

    def _cancel(self, _: object) -> None:
        self.cancelled += 1

    @property
    def last(self) -> Transport:
        """The latest connection."""
        return self.connections[-1]


def refused() -> Exception:
    """The error of a connection that is refused."""
    return ConnectRefused()


def http(body: bytes = b"", status: bytes = b"200 OK", fields: bytes = b"", length: int | None = None) -> bytes:
    """Encode an HTTP response."""
    size = len(body) if length is None else length
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, fields, size, body)
