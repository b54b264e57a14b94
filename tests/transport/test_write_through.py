"""Tests for L{egress.transport.write_through}."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.transport.fair_turns import HEAD_READ
from egress.transport.write_through import (
    BACKLOG,
    BULK_BYTES,
    MAX_ACCEPTED,
    WriteThroughClient,
    WriteThroughReactor,
    WriteThroughServer,
    write_through,
)
from tests.transport.sockets import Descriptors


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
        self.reactor = Descriptors()
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
        self.assertEqual(WriteThroughServer.bufferSize, HEAD_READ, "only this connection has larger reads")
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
        self.transport.doWrite()
        self.transport.write(b"too late")
        self.assertEqual(self.peer.recv(100), b"")
        self.assertTrue(self.transport.connected)
        self.assertEqual(self.reactor.writing, set())


class _Port(tcp.Port):
    def __init__(self) -> None:
        self.accepted: list[int] = []

    def doRead(self) -> None:
        self.accepted.append(self.numberAccepts)
        self.numberAccepts += 20


class _Posix(PosixReactorBase):
    """A reactor that does nothing."""

    def __init__(self) -> None:
        self.listened: tuple[Any, ...] = ()
        self.adopted: tuple[Any, ...] = ()

    def listenTCP(self, *args: Any) -> Any:
        self.listened = args
        return _Port()

    def callLater(self, *args: Any) -> Any:  # type: ignore[override]
        return args

    def adoptStreamPort(self, *args: Any) -> Any:
        self.adopted = args
        return _Port()


class ReactorTests(SynchronousTestCase):
    """Every TCP connection of a wrapped reactor writes immediately."""

    def setUp(self) -> None:
        self.reactor = _Posix()
        self.wrapped: Any = write_through(self.reactor)  # type: ignore[arg-type]

    def test_an_in_memory_reactor_is_unchanged(self) -> None:
        clock: Any = Clock()
        self.assertIs(write_through(clock), clock)

    def test_everything_else(self) -> None:
        self.assertIsInstance(self.wrapped, WriteThroughReactor)
        self.assertEqual(self.wrapped.listened, ())
        self.assertEqual(self.wrapped.callLater(3, print), (3, print))
        self.assertIn("callLater", vars(self.wrapped))

    def test_listening(self) -> None:
        factory = Factory()
        for given, used in ((50, BACKLOG), (7, 7)):
            port: Any = self.wrapped.listenTCP(80, factory, given, "127.0.0.1")
            self.assertIs(port.transport, WriteThroughServer)
            self.assertEqual(self.reactor.listened, (80, factory, used, "127.0.0.1"))

    def test_accepted_connections_per_turn_are_limited(self) -> None:
        port: Any = self.wrapped.listenTCP(80, Factory(), 50, "127.0.0.1")
        port.numberAccepts = 3
        for _ in range(3):
            port.doRead()
        self.assertEqual(port.accepted, [3, MAX_ACCEPTED, MAX_ACCEPTED])

    def test_adopting(self) -> None:
        factory = Factory()
        port: Any = self.wrapped.adoptStreamPort(3, socket.AF_INET, factory)
        self.assertIs(port.transport, WriteThroughServer)
        self.assertEqual(self.reactor.adopted, (3, socket.AF_INET, factory))

    def test_connecting(self) -> None:
        made: list[Any] = []

        def connect(transport: Any) -> None:
            made.append(transport)

        self.patch(WriteThroughClient, "__init__", lambda self, *args: connect((self, args)))
        factory = Factory()
        factory.doStart = factory.startedConnecting = lambda *_: None  # type: ignore[attr-defined,method-assign]
        connector = self.wrapped.connectTCP("192.0.2.1", 80, factory, None)
        [(transport, args)] = made
        self.assertIsInstance(transport, tcp.Client)
        self.assertEqual(args, ("192.0.2.1", 80, None, connector, self.reactor))
