"""Tests for L{egress.transport.write_through}."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.error import (
    ConnectError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    UserError,
)
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import classImplements

from egress.transport.fair_turns import HEAD_READ
from egress.transport.tcp_reactor import _Connector
from egress.transport.write_through import BULK_BYTES, WriteThroughClient, WriteThroughServer
from tests.transport.sockets import SocketsTestCase, TurnedReactor, read_all, reset, server


class _Producer:
    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class WriteThroughTests(SynchronousTestCase):
    """Data is sent immediately and in order, and nothing is lost when the socket is full."""

    def setUp(self) -> None:
        self.reactor = TurnedReactor()
        ours, self.peer = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(self.peer.close)
        for end in (ours, self.peer):
            end.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        self.protocol = Protocol()
        self.transport = WriteThroughServer(ours, self.protocol, ("", 0), None, 1, self.reactor)  # type: ignore[arg-type]
        self.protocol.makeConnection(self.transport)

    def drain(self) -> bytes:
        """Read the data that the peer received, and let the transport send its rest."""
        read: list[bytes] = []
        while True:
            try:
                data = self.peer.recv(1 << 20)
            except BlockingIOError:
                if self.transport not in self.reactor.writing:
                    return b"".join(read)
                self.transport.doWrite()
            else:
                if not data:
                    return b"".join(read)
                read.append(data)

    def test_immediately(self) -> None:
        self.transport.write(b"one")
        self.transport.writeSequence([b"two", b"three"])
        self.assertEqual(self.peer.recv(100), b"onetwothree")
        self.assertEqual(self.reactor.writing, set())

    def test_nothing(self) -> None:
        self.transport.write(b"")
        self.assertEqual(self.reactor.writing, set())

    def test_a_full_socket(self) -> None:
        data = bytes(range(256)) * 4096
        self.transport.write(data)
        self.assertEqual(self.reactor.writing, {self.transport})
        # Later data waits behind the buffered data.
        self.transport.write(b"later")
        self.assertEqual(self.drain(), data + b"later")
        self.transport.write(b"at once again")
        self.assertEqual(self.peer.recv(100), b"at once again")

    def test_backpressure(self) -> None:
        producer = _Producer()
        self.transport.registerProducer(producer, True)
        self.transport.write(b"little")
        self.assertEqual(producer.told, [])
        self.transport.write(b"x" * (1 << 20))
        self.assertEqual(producer.told, ["pause"])
        self.drain()
        self.assertEqual(producer.told, ["pause", "resume"])

    def test_reads_grow_with_the_available_data(self) -> None:
        read: list[bytes] = []
        self.protocol.dataReceived = read.append  # type: ignore[method-assign,assignment]
        sizes = (100, HEAD_READ, 100)
        for size in sizes:
            self.assertEqual(self.peer.send(b"x" * size), size)
            self.transport.doRead()
        self.assertEqual([len(data) for data in read], list(sizes))
        self.assertEqual(self.transport.bufferSize, BULK_BYTES)
        other = WriteThroughServer(self.peer, Protocol(), ("", 0), None, 1, self.reactor)  # type: ignore[arg-type]
        self.assertEqual(other.bufferSize, HEAD_READ, "only this connection has larger reads")
        self.assertGreater(WriteThroughClient.bufferSize, HEAD_READ, "origins send no requests")

    def test_a_broken_socket(self) -> None:
        self.peer.close()
        self.transport.write(b"lost")
        # The protocol is not notified inside the call; the reactor will detect the error.
        self.assertEqual(self.reactor.writing, {self.transport})
        self.assertTrue(self.transport.connected)

    def test_after_the_end(self) -> None:
        self.transport.write(b"x" * (1 << 20))
        self.transport.loseConnection()
        self.transport.write(b"still sent, as Twisted does")
        self.assertTrue(self.drain().endswith(b"still sent, as Twisted does"))

    def test_after_half_closing(self) -> None:
        self.transport.loseWriteConnection()
        self.reactor.advance(0)
        self.transport.write(b"too late")
        self.assertEqual(self.peer.recv(100), b"")
        self.assertTrue(self.transport.connected)
        self.assertEqual(self.reactor.writing, set())


class _Events(Protocol):
    """Records what happens to a connection, including the end of each direction."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def connectionMade(self) -> None:
        self.events.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.events.append(data)

    def readConnectionLost(self) -> None:
        self.events.append("read closed")

    def writeConnectionLost(self) -> None:
        self.events.append("write closed")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.events.append(type(reason.value))


classImplements(_Events, IHalfCloseableProtocol)


class EventsTests(SocketsTestCase):
    """Sockets are registered with the reactor only for events that are needed."""

    def setUp(self) -> None:
        self.reactor = TurnedReactor()
        ours, self.peer = self.tcp_pair()
        self.protocol = _Events()
        self.transport = server(self.reactor, ours, self.protocol)
        self.protocol.events.clear()

    def test_a_short_pause(self) -> None:
        """It needs no change in the reactor."""
        self.transport.pauseProducing()
        self.assertEqual(self.reactor.reading, {self.transport})
        self.transport.resumeProducing()
        self.peer.send(b"data")
        self.reactor.settle()
        self.assertEqual(self.protocol.events, [b"data"])

    def test_data_in_a_pause(self) -> None:
        self.transport.pauseProducing()
        self.peer.send(b"data")
        self.reactor.settle()
        self.assertEqual((self.protocol.events, self.reactor.reading), ([], set()))
        self.transport.resumeProducing()
        self.reactor.settle()
        self.assertEqual(self.protocol.events, [b"data"])

    def test_the_end_in_a_pause(self) -> None:
        self.transport.pauseProducing()
        self.peer.close()
        self.reactor.settle()
        self.assertEqual((self.protocol.events, self.reactor.reading), ([], set()))
        self.transport.resumeProducing()
        self.reactor.settle()
        self.assertEqual(self.protocol.events, ["read closed"])

    def test_an_end_that_a_reactor_reports_in_a_pause(self) -> None:
        """With kqueue, there is no read before."""
        self.transport.pauseProducing()
        self.peer.close()
        self.reactor.removeReader(self.transport)
        self.transport.readConnectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.protocol.events, [])
        self.transport.resumeProducing()
        self.reactor.settle()
        self.assertEqual(self.protocol.events, ["read closed"])

    def test_no_data(self) -> None:
        self.assertIsNone(self.transport.doRead())
        self.assertEqual(self.protocol.events, [])

    def test_reset(self) -> None:
        reset(self.peer)
        self.reactor.settle()
        self.assertEqual(self.protocol.events, [ConnectionLost])

    def test_closing(self) -> None:
        self.transport.loseConnection()
        self.transport.loseConnection()
        self.assertEqual((self.protocol.events, self.reactor.reading, self.reactor.writing), ([], set(), set()))
        self.reactor.advance(0)
        self.assertEqual(self.protocol.events, [ConnectionDone])
        self.assertEqual(self.peer.recv(1), b"")

    def test_writing_while_closing(self) -> None:
        """The data is sent, as by Twisted."""
        self.transport.loseConnection()
        self.transport.write(b"last")
        self.reactor.settle()
        self.assertEqual(self.protocol.events, [ConnectionDone])
        self.assertEqual(self.peer.recv(10), b"last")

    def test_aborting_while_closing(self) -> None:
        for close in (self.transport.loseConnection, self.transport.loseWriteConnection):
            self.setUp()
            close()
            self.transport.abortConnection()
            self.reactor.advance(0)
            self.assertEqual(self.protocol.events, [ConnectionAborted])

    def test_closing_one_direction(self) -> None:
        self.transport.loseWriteConnection()
        self.transport.write(b"last")
        self.assertEqual((self.protocol.events, self.reactor.writing), ([], set()))
        self.reactor.advance(0)
        self.assertEqual(self.protocol.events, ["write closed"])
        self.assertEqual((self.peer.recv(10), self.peer.recv(10)), (b"last", b""))
        self.peer.send(b"more")
        self.peer.shutdown(socket.SHUT_WR)
        self.reactor.settle()
        self.assertEqual(self.protocol.events, ["write closed", b"more", "read closed"])
        self.transport.loseConnection()
        self.assertEqual(self.protocol.events[3:], [ConnectionDone])

    def test_closing_both_directions_in_one_turn(self) -> None:
        self.transport.loseWriteConnection()
        self.transport.loseConnection()
        self.reactor.settle()
        self.assertEqual(self.protocol.events[-1], ConnectionDone)
        self.assertEqual(self.protocol.events.count(ConnectionDone), 1)

    def test_closing_one_direction_with_buffered_data(self) -> None:
        data = bytes(1 << 22)
        self.transport.write(data)
        self.transport.loseWriteConnection()
        received = 0
        while "write closed" not in self.protocol.events:
            self.reactor.turn()
            received += len(read_all(self.peer))
        self.assertEqual(received + len(read_all(self.peer)), len(data))


class ConnectingTests(SocketsTestCase):
    """Outgoing connections."""

    def setUp(self) -> None:
        self.reactor = TurnedReactor()
        self.protocol = _Events()
        self.failures: list[Any] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.port = self.listener.getsockname()[1]

    def connect(self, host: str = "127.0.0.1", timeout: float | None = None) -> Any:
        """Begin a connection attempt."""
        factory = ClientFactory()
        factory.noisy = False
        factory.buildProtocol = lambda address: self.protocol  # type: ignore[assignment,method-assign]
        factory.clientConnectionFailed = lambda _, reason: self.failures.append(type(reason.value))  # type: ignore[assignment,method-assign]
        connector = _Connector(host, self.port, factory, timeout, None, self.reactor)  # type: ignore[arg-type]
        connector.connect()
        return connector

    def test_connected(self) -> None:
        connector = self.connect()
        self.assertEqual((self.reactor.reading, self.reactor.writing), ({connector.transport}, {connector.transport}))
        self.reactor.turn(1)
        self.assertEqual((self.protocol.events, self.reactor.writing), (["made"], set()))
        peer, address = self.listener.accept()
        self.addCleanup(peer.close)
        self.assertEqual(connector.transport.getPeer().port, self.port)
        self.assertEqual(connector.transport.getHost().port, address[1])
        peer.send(b"data")
        self.reactor.settle()
        self.assertEqual(self.protocol.events, ["made", b"data"])
        connector.transport.pauseProducing()
        peer.send(b"more")
        self.reactor.settle()
        self.assertEqual(self.reactor.reading, set())
        connector.disconnect()
        self.reactor.settle()
        self.assertEqual(self.protocol.events[2:], [ConnectionDone])
        self.assertEqual(self.failures, [])

    def test_data_before_the_first_event(self) -> None:
        """Reactors report the readable socket first."""
        connector = self.connect()
        peer, _ = self.listener.accept()
        self.addCleanup(peer.close)
        peer.send(b"early")
        self.reactor.settle()
        self.assertEqual(self.protocol.events, ["made", b"early"])
        connector.transport.abortConnection()
        self.reactor.advance(0)

    def test_refused(self) -> None:
        self.listener.close()
        connector = self.connect()
        transport = connector.transport
        self.assertEqual(self.failures, [], "the caller does not have the connector yet")
        self.reactor.settle()
        self.assertEqual(self.failures, [Refused])
        self.assertEqual((self.reactor.reading, self.reactor.writing), (set(), set()))
        self.assertIsNone(transport.doWrite(), "a reactor may report the same event for both directions")

    def test_refused_without_a_packet(self) -> None:
        """The system refuses the attempt itself: a broadcast address."""
        self.connect("255.255.255.255")
        self.assertEqual(self.failures, [])
        self.reactor.advance(0)
        self.assertEqual(len(self.failures), 1)
        self.assertTrue(issubclass(self.failures[0], ConnectError))

    def test_given_up(self) -> None:
        for host in ("127.0.0.1", "255.255.255.255"):
            self.failures.clear()
            self.connect(host).stopConnecting()
            self.reactor.settle()
            self.assertEqual((self.failures, self.protocol.events), ([UserError], []))

    def test_timeout(self) -> None:
        self.connect(timeout=3)
        self.reactor.advance(3)
        self.assertEqual(self.failures, [ConnectTimeout])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_name(self) -> None:
        """Twisted resolves it."""
        looked_up: list[str] = []
        self.reactor.resolve = lambda name: looked_up.append(name) or succeed("127.0.0.1")  # type: ignore[attr-defined,func-returns-value]
        self.connect("localhost")
        self.reactor.settle()
        self.assertEqual((looked_up, self.protocol.events), (["localhost"], ["made"]))
