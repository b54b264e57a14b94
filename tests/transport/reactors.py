"""An in-memory reactor for outgoing connections, whose name resolution and connection attempts a test controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import UserError
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from egress.transport.dialed import ProtocolAdapter
from tests.proxy.fakes import Wire


class Attempt:
    """One C{connectTCP} call, which is also its connector.

    @ivar given_up: whether the attempt was cancelled.
    """

    def __init__(self, reactor: DialingReactor, host: str, port: int, factory: Any, timeout: float) -> None:
        self.host = host
        self.port = port
        self.timeout = timeout
        self.given_up = False
        self.factory = factory
        self._reactor = reactor

    def accept(self) -> Wire:
        """Let the attempt succeed."""
        protocol = self.factory.buildProtocol(None)
        wire = Wire(self._reactor)
        self._reactor.wires.append(wire)
        if protocol is None:
            wire.disconnected = True
            return wire
        return wire.connect(protocol)

    def fail(self, error: Exception) -> None:
        """Let the attempt fail."""
        self.factory.clientConnectionFailed(self, Failure(error))

    def disconnect(self) -> None:
        """See C{IConnector}."""
        self.given_up = True
        self.fail(UserError())


class DialingReactor(Clock):
    """The clock, the resolver and C{connectTCP}.

    @ivar names: the addresses of each name.
    @ivar pending: receivers of names that are not in L{names}.
    @ivar refused: hosts that refuse a connection immediately, inside C{connectTCP}.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, Sequence[str]] = {}
        self.pending: list[Any] = []
        self.looked_up: list[str] = []
        self.attempts: list[Attempt] = []
        self.wires: list[Wire] = []
        self.refused: set[str] = set()

    @property
    def nameResolver(self) -> DialingReactor:
        return self

    def resolveHostName(self, receiver: Any, hostName: str, portNumber: int = 0) -> None:
        """See C{IHostnameResolver}."""
        self.looked_up.append(hostName)
        receiver.resolutionBegan(None)
        if hostName in self.names:
            self.resolve(receiver, self.names[hostName], portNumber)
        else:
            self.pending.append(receiver)

    def resolve(self, receiver: Any, addresses: Sequence[str], port: int = 0) -> None:
        """Complete a name resolution."""
        for text in addresses:
            kind = IPv6Address if ":" in text else IPv4Address
            receiver.addressResolved(kind("TCP", text, port))
        receiver.resolutionComplete()

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Attempt:
        attempt = Attempt(self, host, port, factory, timeout)
        self.attempts.append(attempt)
        if host in self.refused:
            attempt.fail(Refused())
        return attempt


class Recorder(Protocol):
    """Records the results that it receives."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: list[Failure] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.append(reason)


class DialedRecorder(Recorder):
    """Records the results of a connection that the proxy opens.

    @ivar dialed: the protocol of the connection; its C{attach} passes on the end of the connection, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dialed = ProtocolAdapter(self)
