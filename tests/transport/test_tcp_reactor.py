"""Tests for L{egress.transport.tcp_reactor}."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.transport.tcp_reactor import BACKLOG, MAX_ACCEPTED, WriteThroughReactor, write_through
from egress.transport.write_through import WriteThroughClient, WriteThroughServer


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
