"""Tests for L{egress.transport.event_dispatch}."""

from __future__ import annotations

import socket
from typing import Any
from unittest import SkipTest

from twisted.internet import tcp
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure

try:
    from twisted.internet.epollreactor import EPollReactor
except ImportError:
    EPollReactor = None  # type: ignore[assignment,misc]

from egress.transport.event_dispatch import EventDispatch, dispatch_events
from egress.transport.tcp_reactor import write_through
from egress.transport.write_through import WriteThroughServer
from tests.transport.sockets import SocketsTestCase, reset, server


class _Broken(Exception):
    pass


class _Receiver(Protocol):
    """Records data, and fails where a test requires it."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: list[BaseException | None] = []

    def dataReceived(self, data: bytes) -> None:
        if data == b"broken":
            raise _Broken
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason.value)
        if self.received.endswith(b"broken end"):
            raise _Broken


class EventDispatchTests(SocketsTestCase):
    """Reads of the proxy's transports, in Twisted's own reactor."""

    def setUp(self) -> None:
        if EPollReactor is None:
            raise SkipTest("this system has no epoll")
        self.reactor: Any = EPollReactor()
        self.addCleanup(self.close)
        dispatch_events(self.reactor)
        self.receiver, self.transport, self.peer = self.connect()

    def close(self) -> None:
        """Close what the reactor has opened for itself; the sockets are closed already."""
        self.reactor.waker.connectionLost(Failure(ConnectionDone()))
        self.reactor._poller.close()  # noqa: SLF001 - only tests have several reactors

    def connect(self, kind: Any = WriteThroughServer) -> tuple[_Receiver, Any, socket.socket]:
        """Create a connection."""
        ours, peer = self.tcp_pair()
        receiver = _Receiver()
        return receiver, server(self.reactor, ours, receiver, kind), peer

    def test_reads(self) -> None:
        self.peer.send(b"one ")
        self.reactor.iterate(1)
        self.peer.send(b"two")
        self.reactor.iterate(1)
        self.assertEqual(self.receiver.received, b"one two")

    def test_no_event(self) -> None:
        self.reactor.iterate(0)
        self.assertEqual(self.receiver.received, b"")

    def test_the_end(self) -> None:
        self.peer.close()
        self.reactor.iterate(1)
        self.assertEqual([type(error) for error in self.receiver.lost], [ConnectionDone])
        self.assertNotIn(self.transport, self.reactor.getReaders())

    def test_reset(self) -> None:
        reset(self.peer)
        self.reactor.iterate(1)
        self.assertEqual([type(error) for error in self.receiver.lost], [ConnectionLost])

    def test_an_error_of_the_protocol(self) -> None:
        """It is logged, and closes the connection; other connections remain."""
        other, _, others_peer = self.connect()
        self.peer.send(b"broken")
        others_peer.send(b"data")
        while not (self.receiver.lost and other.received):
            self.reactor.iterate(1)
        (error,) = self.flushLoggedErrors(_Broken)
        self.assertIn("dataReceived", error.getTraceback())
        self.assertIsInstance(self.receiver.lost[0], _Broken)
        self.assertEqual((other.received, other.lost), (b"data", []))

    def test_an_error_at_the_end(self) -> None:
        self.peer.send(b"a broken end")
        self.reactor.iterate(1)
        self.peer.close()
        self.reactor.iterate(1)
        self.assertEqual(len(self.flushLoggedErrors(_Broken)), 1)
        self.assertEqual(len(self.receiver.lost), 1)

    def test_a_connection_that_an_event_before_closes(self) -> None:
        other, transport, others_peer = self.connect()
        for receiver, loser in ((self.receiver, transport), (other, self.transport)):
            receiver.dataReceived = lambda _, loser=loser: loser.connectionLost(connectionDone)  # type: ignore[method-assign,misc]
        for peer in (self.peer, others_peer):
            peer.send(b"data")
        self.reactor.iterate(1)
        self.assertEqual(len(self.receiver.lost + other.lost), 1)

    def test_writes(self) -> None:
        data = bytes(1 << 22)
        self.transport.write(data)
        received = 0
        while received < len(data):
            self.reactor.iterate(0)
            try:
                received += len(self.peer.recv(1 << 20))
            except BlockingIOError:
                continue
        self.assertEqual(received, len(data))

    def test_transports_that_count_themselves(self) -> None:
        """Workers use a subclass."""
        lost: list[Any] = []

        class Counted(WriteThroughServer):
            def connectionLost(self, reason: Failure) -> None:
                super().connectionLost(reason)
                lost.append(self)

        other, transport, peer = self.connect(Counted)
        peer.send(b"data")
        self.reactor.iterate(1)
        self.assertEqual(other.received, b"data")
        transport.loseConnection()
        self.reactor.iterate(0)
        self.assertEqual(lost, [transport])

    def test_other_transports(self) -> None:
        """Twisted's own transports are read by Twisted."""
        other, _, peer = self.connect(tcp.Server)
        peer.send(b"data")
        self.reactor.iterate(1)
        self.assertEqual(other.received, b"data")

    def test_once(self) -> None:
        dispatch = self.reactor.doIteration
        self.assertIsInstance(dispatch, EventDispatch)
        write_through(self.reactor)
        self.assertIs(self.reactor.doIteration, dispatch)

    def test_no_other_reactor(self) -> None:
        other: Any = SelectReactor()
        self.addCleanup(other.waker.connectionLost, Failure(ConnectionDone()))
        write_through(other)
        self.assertNotIsInstance(other.doIteration, EventDispatch)

    def test_another_version_of_the_reactor(self) -> None:
        del self.reactor.doIteration
        del vars(self.reactor)["_selectables"]
        dispatch_events(self.reactor)
        self.assertNotIsInstance(self.reactor.doIteration, EventDispatch)
