"""A reactor in memory: its time passes when a test says so, and its connections need no sockets."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionLost, UserError
from twisted.internet.error import ConnectionRefusedError as ConnectRefused
from twisted.internet.interfaces import IAddress, IConnector, IListeningPort
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.testing.resolver import FixedResolver
from egress.testing.transport import MemoryTransport

T = TypeVar("T")

# The maximum number of rounds of L{MemoryReactor.settle}: more are an endless exchange of messages.
_MAX_ROUNDS: Final = 100_000
_FIRST_FREE_PORT: Final = 49152
# A real thread is polled at this interval, in seconds.
_POLL_SECONDS: Final = 0.005
_EVERYWHERE: Final = ("", "0.0.0.0", "::")


class End(Protocol):
    """One end of a connection that is no protocol of Twisted: a client or an origin in memory."""

    def step(self) -> bool:
        """Process the data that has arrived.

        @return: whether there was any.
        """


Accept = Callable[[MemoryTransport], End]
"""Accepts a connection of the code under test: receives its transport."""


def _address(host: str, port: int) -> IPv4Address | IPv6Address:
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


@implementer(IListeningPort)
class _Port:
    def __init__(self, ports: dict[tuple[str, int], _Port], interface: str, number: int, factory: Any) -> None:
        self.factory = factory
        self._ports = ports
        self._key = interface, number

    def startListening(self) -> None:
        if self._key in self._ports:
            raise CannotListenError(*self._key, OSError("the port is in use"))  # type: ignore[no-untyped-call]
        self._ports[self._key] = self
        self.factory.doStart()

    def stopListening(self) -> None:
        if self._ports.pop(self._key, None) is not None:
            self.factory.doStop()

    def getHost(self) -> IAddress:
        interface, number = self._key
        return _address(interface or "0.0.0.0", number)


@implementer(IConnector)
class _Connector:
    """One C{connectTCP} call."""

    def __init__(self, host: str, port: int, factory: Any, start: Callable[[_Connector], object]) -> None:
        self.destination = host, port
        self.factory = factory
        self._start = start
        self.transport: MemoryTransport | None = None
        self.is_stopped = False

    def connect(self) -> None:
        self.transport, self.is_stopped = None, False
        self.factory.doStart()
        self.factory.startedConnecting(self)
        self._start(self)

    def disconnect(self) -> None:
        if self.transport is None:
            self.stopConnecting()
        else:
            self.transport.loseConnection()

    def stopConnecting(self) -> None:
        if not self.is_stopped:
            self.fail(UserError())  # type: ignore[no-untyped-call]

    def fail(self, error: Exception) -> None:
        self.is_stopped = True
        self.factory.clientConnectionFailed(self, Failure(error))  # type: ignore[no-untyped-call]
        self.factory.doStop()

    def getDestination(self) -> IAddress:
        return _address(*self.destination)


class _Pipe:
    """A connection between two protocols of the code under test."""

    def __init__(self, one: MemoryTransport, other: MemoryTransport) -> None:
        self._directions = [(one, other), (other, one)]

    def step(self) -> bool:
        moved = False
        for direction in list(self._directions):
            sender, receiver = direction
            data = sender.take()
            if data:
                receiver.feed(data)
                moved = True
            if sender.aborted and sender.disconnected:
                receiver.lose(ConnectionLost())
            elif sender.write_closed or sender.disconnected:
                receiver.end()
            else:
                continue
            self._directions.remove(direction)
            moved = True
        return moved


class MemoryReactor(MemoryReactorClock):
    """A reactor with a clock, a resolver, and a network in memory.

    An application under test listens and connects on it as on the global reactor.  A connection succeeds if the
    application listens on the address, or L{listen} was called for it; otherwise it is refused.

    @ivar resolver: resolves names, unless the application installs another resolver.

    @param resolver: by default, one without names.
    """

    def __init__(self, resolver: FixedResolver | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.resolver = FixedResolver() if resolver is None else resolver
        self.installNameResolver(self.resolver)
        self._ports: dict[tuple[str, int], _Port] = {}
        self._servers: dict[tuple[str, int], Accept] = {}
        self._ends: list[End] = []
        self._from_threads: deque[Callable[[], object]] = deque()

    # -- the network

    def listen(self, host: str, port: int, accept: Accept) -> None:
        """Accept the connections of the application to an address."""
        self._servers[host, port] = accept

    def connect(
        self, port: int, end: Callable[[MemoryTransport], End], client: IPv4Address | None = None
    ) -> MemoryTransport:
        """Connect to a port on which the application listens.

        @param port: the number of the port.
        @param end: makes the other end of the connection.
        @param client: the address of the client.
        @return: the transport of the application.
        @raise ConnectRefused: if the application does not listen on the port.
        """
        found = [each for (_, number), each in self._ports.items() if number == port]
        if not found:
            raise ConnectRefused(string=f"nothing listens on port {port}")  # type: ignore[no-untyped-call]
        peer = IPv4Address("TCP", "127.0.0.1", 54321) if client is None else client
        transport = self._accepted(found[0], peer)
        self._ends.append(end(transport))
        return transport

    def _accepted(self, port: _Port, peer: IPv4Address) -> MemoryTransport:
        transport = MemoryTransport(self, peer)
        protocol = port.factory.buildProtocol(peer)
        if protocol is None:
            transport.disconnected = True
            return transport
        return transport.connect(protocol)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> _Port:
        """See C{IReactorTCP.listenTCP}; port 0 is a free port."""
        if port == 0:
            port = max([_FIRST_FREE_PORT, *(number + 1 for _, number in self._ports)])
        listening = _Port(self._ports, interface, port, factory)
        listening.startListening()
        return listening

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> _Connector:
        """See C{IReactorTCP.connectTCP}; the connection is made, or refused, in a later turn."""
        connector = _Connector(host, port, factory, lambda started: self.callLater(0, self._connect, started))
        connector.connect()
        return connector

    def _connect(self, connector: _Connector) -> None:
        if connector.is_stopped:
            return
        host, port = connector.destination
        accept = self._servers.get((host, port))
        server = next((found for where in (host, *_EVERYWHERE) if (found := self._ports.get((where, port)))), None)
        if accept is None and server is None:
            connector.fail(ConnectRefused())  # type: ignore[no-untyped-call]
            return
        address = _address(host, port)
        protocol = connector.factory.buildProtocol(address)
        connector.transport = transport = MemoryTransport(self, cast("IPv4Address", address))
        if protocol is None:
            transport.disconnected = True
            return
        transport.connect(protocol)
        if accept is not None:
            self._ends.append(accept(transport))
        elif server is not None:
            self._ends.append(_Pipe(transport, self._accepted(server, IPv4Address("TCP", "127.0.0.1", 54322))))

    # -- threads, and time

    def callFromThread(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        """See C{IReactorFromThreads}; L{settle} makes the call."""
        self._from_threads.append(lambda: call(*arguments, **named))

    def settle(self) -> None:
        """Deliver all data, and make all calls that are due, until nothing is left to do."""
        for _ in range(_MAX_ROUNDS):
            self.advance(0)
            moved = False
            while self._from_threads:
                self._from_threads.popleft()()
                moved = True
            for end in list(self._ends):
                moved = end.step() or moved
            if not moved:
                return
        raise AssertionError("the exchange of messages does not end")

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with each delayed call at its time."""
        end = self.seconds() + seconds
        self.settle()
        while (due := [call.getTime() for call in self.getDelayedCalls() if call.getTime() <= end]) != []:
            self.advance(max(0.0, min(due) - self.seconds()))
            self.settle()
        self.advance(max(0.0, end - self.seconds()))
        self.settle()

    def wait_for(self, result: Deferred[T], seconds: float = 10.0) -> T:
        """Wait for a result that needs a thread, such as that of a reload or of a password check.

        @param result: the result.
        @param seconds: the maximum time, of the system's clock.
        @return: the result.
        @raise AssertionError: if there is no result in time.
        """
        found: list[Any] = []
        result.addBoth(found.append)
        end = time.monotonic() + seconds
        self.settle()
        while not found:
            if time.monotonic() > end:
                raise AssertionError(f"there was no result within {seconds:g} s")
            time.sleep(_POLL_SECONDS)
            self.settle()
        if isinstance(found[0], Failure):
            found[0].raiseException()
        return cast("T", found[0])
