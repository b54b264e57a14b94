"""TCP transports that send at once.

Twisted's transports collect what is written and send it in the reactor's next turn, for which the socket is registered
for writing and taken out again.  A proxy writes whole messages, so these send in C{write} itself whenever nothing is
waiting before it, and leave to Twisted what the socket does not take.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, cast

from twisted.internet import tcp, unix
from twisted.internet.posixbase import PosixReactorBase
from zope.interface import directlyProvides, providedBy

from egress.transport.fair_turns import HEAD_READ
from egress.transport.reactor import IEgressReactor

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from twisted.internet.interfaces import IConnector, IListeningPort
    from twisted.internet.protocol import ClientFactory, ServerFactory

# How many connections may wait to be accepted, where nothing is said.  With Twisted's own default, a burst of clients
# loses its first packets and waits for a second.
BACKLOG = 1024
_TWISTEDS_BACKLOG = 50

# What is read at once, and held for a slow receiver, on a connection that has filled a smaller read once.
BULK_BYTES = 256 * 1024
# How many connections one port accepts in one turn of the reactor.  Twisted's own number grows without a bound.
MAX_ACCEPTED = 16


class _WriteThrough(tcp.Connection):
    """What both sides' transports do differently."""

    def write(self, data: bytes) -> None:
        """Send, and have Twisted keep the rest (C{ITransport})."""
        if (
            data
            and self.connected
            and not self._writeDisconnected
            and not self.disconnecting
            and not self._tempDataBuffer
            and len(self.dataBuffer) == self.offset
            and not self.TLS
        ):
            try:
                sent = self.socket.send(data)
            except OSError:
                # Full, or broken; Twisted finds out which, and tells the protocol from the reactor's loop.  To tell it
                # here would be to tell it inside its own call.
                sent = 0
            if sent == len(data):
                return
            # Not a copy, unless it stays in the buffer.
            data = data[sent:]
        super().write(data)  # type: ignore[no-untyped-call]

    def _dataReceived(self, data: bytes) -> Any:  # type: ignore[override]
        if len(data) == self.bufferSize < BULK_BYTES:
            # There is more than fits: a bulk transfer, which larger reads make cheaper.
            self.bufferSize = BULK_BYTES
        return super()._dataReceived(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send all (C{ITransport})."""
        self.write(b"".join(iovec))


class WriteThroughServer(_WriteThrough, tcp.Server):
    """A connection that was accepted.  It reads little at a time until a read is full."""

    bufferSize = HEAD_READ


class WriteThroughClient(_WriteThrough, tcp.Client):
    """A connection that was made."""


class _Connector(tcp.Connector):
    def _makeTransport(self) -> WriteThroughClient:
        return WriteThroughClient(self.host, self.port, self.bindAddress, self, self.reactor)  # type: ignore[no-untyped-call]


class WriteThroughReactor:
    """A reactor whose TCP connections are of these kinds; everything else is the reactor's own."""

    def __init__(self, reactor: PosixReactorBase) -> None:
        self._reactor = reactor
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._reactor, name)
        if callable(attribute):
            # Time is asked for often.
            self.__dict__[name] = attribute
        return attribute

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:
        """See C{IReactorTCP}."""
        connector = _Connector(host, port, factory, timeout, bindAddress, self._reactor)
        connector.connect()
        return connector

    def listenTCP(self, port: int, factory: ServerFactory, backlog: int = 50, interface: str = "") -> IListeningPort:
        """See C{IReactorTCP}."""
        backlog = BACKLOG if backlog == _TWISTEDS_BACKLOG else backlog
        return _accepting(self._reactor.listenTCP(port, factory, backlog, interface))  # type: ignore[no-untyped-call]

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: ServerFactory) -> IListeningPort:
        """See C{IReactorSocket}."""
        if addressFamily == socket.AF_UNIX:
            port = _Inherited._fromListeningDescriptor(self._reactor, fileDescriptor, factory)  # type: ignore[no-untyped-call]
            port.startListening()
            return cast("IListeningPort", port)
        return _accepting(self._reactor.adoptStreamPort(fileDescriptor, addressFamily, factory))  # type: ignore[no-untyped-call]


class _Inherited(unix.Port):
    """A UNIX socket that another process has bound, and will remove.

    Twisted would make it writable for everybody when it begins to listen, whatever mode it was given, and remove it at
    the end, while others still listen on it.
    """

    def startListening(self) -> None:
        """Listen, and leave the name alone: Twisted touches none in the abstract namespace."""
        self._bindPath = b"\0"
        super().startListening()  # type: ignore[no-untyped-call]


def _accepting(port: Any) -> IListeningPort:
    # UNIX sockets, which can be adopted too, have transports of their own.
    if isinstance(port, tcp.Port) and port.transport is tcp.Server:
        port.transport = WriteThroughServer
        accept = port.doRead

        def accept_few() -> None:
            port.numberAccepts = min(port.numberAccepts, MAX_ACCEPTED)
            accept()  # type: ignore[no-untyped-call]

        port.doRead = accept_few  # type: ignore[method-assign]
    return cast("IListeningPort", port)


def write_through(reactor: IEgressReactor) -> IEgressReactor:
    """Have a reactor's TCP connections send at once, if it is one whose transports are known."""
    if isinstance(reactor, PosixReactorBase):
        return cast("IEgressReactor", WriteThroughReactor(reactor))
    return reactor
