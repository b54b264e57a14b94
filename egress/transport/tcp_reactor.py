"""A reactor with the TCP transports of L{egress.transport.write_through}."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, cast

from twisted.internet import tcp, unix
from twisted.internet.posixbase import PosixReactorBase
from zope.interface import directlyProvides, providedBy

from egress.transport.event_dispatch import dispatch_events
from egress.transport.reactor import IEgressReactor
from egress.transport.write_through import WriteThroughClient, WriteThroughServer

if TYPE_CHECKING:
    from typing import Any

    from twisted.internet.interfaces import IConnector, IListeningPort
    from twisted.internet.protocol import ClientFactory, ServerFactory

# The default number of connections that may wait to be accepted. With Twisted's default, a burst of clients loses its
# first packets and waits for a second.
BACKLOG = 1024
TWISTED_BACKLOG = 50

# The number of connections that a port accepts in one turn of the reactor. Twisted's own number grows without a bound.
MAX_ACCEPTED = 16


class _Connector(tcp.Connector):
    def _makeTransport(self) -> WriteThroughClient:
        return WriteThroughClient(self.host, self.port, self.bindAddress, self, self.reactor)  # type: ignore[no-untyped-call]


class WriteThroughReactor:
    """A reactor with these TCP connections; everything else is unchanged."""

    def __init__(self, reactor: PosixReactorBase) -> None:
        self._reactor = reactor
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._reactor, name)
        if callable(attribute):
            # Cache it: the time is read often.
            self.__dict__[name] = attribute
        return attribute

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float | None = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:
        """See C{IReactorTCP}."""
        connector = _Connector(host, port, factory, timeout, bindAddress, self._reactor)  # type: ignore[arg-type]
        connector.connect()
        return connector

    def listenTCP(self, port: int, factory: ServerFactory, backlog: int = 50, interface: str = "") -> IListeningPort:
        """See C{IReactorTCP}."""
        backlog = BACKLOG if backlog == TWISTED_BACKLOG else backlog
        return _accepting(self._reactor.listenTCP(port, factory, backlog, interface))  # type: ignore[no-untyped-call]

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: ServerFactory) -> IListeningPort:
        """See C{IReactorSocket}."""
        if addressFamily == socket.AF_UNIX:
            port = _Inherited._fromListeningDescriptor(self._reactor, fileDescriptor, factory)  # type: ignore[no-untyped-call] # noqa: SLF001
            port.startListening()
            return cast("IListeningPort", port)
        return _accepting(self._reactor.adoptStreamPort(fileDescriptor, addressFamily, factory))  # type: ignore[no-untyped-call]


class _Inherited(unix.Port):
    """A UNIX socket that another process has bound, and will remove.

    Twisted would make it writable for all users when it starts to listen, whatever its mode, and would remove it at the
    end, while other processes still listen on it.
    """

    def startListening(self) -> None:
        """Listen without touching the file: Twisted does not change names in the abstract namespace."""
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
    """Return a reactor whose TCP connections send immediately, if its transports are known.

    An epoll reactor also dispatches their reads itself; see L{egress.transport.event_dispatch}.
    """
    if isinstance(reactor, PosixReactorBase):
        dispatch_events(reactor)
        return cast("IEgressReactor", WriteThroughReactor(reactor))
    return reactor
