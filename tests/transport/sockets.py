"""Real local sockets, and a reactor that a test runs turn by turn, for tests below the transport layer."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.transport.write_through import WriteThroughServer


class Descriptors:
    """The part of a reactor that watches descriptors."""

    def __init__(self) -> None:
        super().__init__()
        self.reading: set[Any] = set()
        self.writing: set[Any] = set()

    def addReader(self, descriptor: Any) -> None:
        self.reading.add(descriptor)

    def addWriter(self, descriptor: Any) -> None:
        self.writing.add(descriptor)

    def removeReader(self, descriptor: Any) -> None:
        self.reading.discard(descriptor)

    def removeWriter(self, descriptor: Any) -> None:
        self.writing.discard(descriptor)


class TurnedReactor(Descriptors, Clock):
    """Watches descriptors, each with one object, and handles their events when a test calls it."""

    def turn(self, timeout: float = 0.0) -> bool:
        """Handle the events of each ready descriptor once.

        @param timeout: data may take a moment to arrive, even locally.
        @return: whether any descriptor was ready.
        """
        self.advance(0)
        readable, writable, _ = select.select(self.reading, self.writing, [], timeout)
        for descriptors, ready, method in ((self.reading, readable, "doRead"), (self.writing, writable, "doWrite")):
            for descriptor in ready:
                if descriptor in descriptors:
                    why = getattr(descriptor, method)()
                    if why is not None:
                        self._disconnect(descriptor, why, method == "doRead")
        self.advance(0)
        return bool(readable or writable)

    def _disconnect(self, descriptor: Any, why: Exception, reading: bool) -> None:
        self.removeReader(descriptor)
        if reading and isinstance(why, ConnectionDone) and IHalfCloseableDescriptor.providedBy(descriptor):
            descriptor.readConnectionLost(Failure(ConnectionDone()))
        else:
            self.removeWriter(descriptor)
            descriptor.connectionLost(Failure(why if isinstance(why, ConnectionDone) else ConnectionLost()))

    def settle(self) -> None:
        """Run turns until no descriptor is ready."""
        for _ in range(100_000):
            if not self.turn(0.01):
                return
        raise AssertionError("it never settles")


class SocketsTestCase(SynchronousTestCase):
    """Creates pairs of sockets with small buffers, and closes them at the end."""

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Create both ends of a connection."""
        ends = socket.socketpair()
        for end in ends:
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            self.addCleanup(end.close)
        return ends

    def tcp_pair(self) -> tuple[socket.socket, socket.socket]:
        """Create both ends of a TCP connection, which can be reset."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            one = socket.create_connection(listener.getsockname())
            other, _ = listener.accept()
        for end in (one, other):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setblocking(False)
            self.addCleanup(end.close)
        return one, other


def server(
    reactor: Any, sock: socket.socket, protocol: Any, kind: Callable[..., tcp.Connection] = WriteThroughServer
) -> Any:
    """Create a transport on a socket, with its protocol."""
    transport = kind(sock, protocol, ("", 0), None, 1, reactor)
    protocol.makeConnection(transport)
    return transport


def read_all(sock: socket.socket) -> bytes:
    """Read the available data."""
    read: list[bytes] = []
    while True:
        try:
            data = sock.recv(1 << 20)
        except BlockingIOError:
            data = b""
        if not data:
            return b"".join(read)
        read.append(data)


def reset(sock: socket.socket) -> None:
    """Close a socket so that its other end sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
