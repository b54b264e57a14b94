"""Tests for L{egress.testing.reactor}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, clientFromString, serverFromString
from twisted.internet.error import CannotListenError, ConnectionDone, ConnectionLost, UserError
from twisted.internet.error import ConnectionRefusedError as ConnectRefused
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.runtime.threads import Threads
from egress.testing.reactor import MemoryReactor
from egress.testing.resolver import FixedResolver
from egress.testing.transport import MemoryTransport
from tests.testing.test_transport import Recorder


class Silent:
    """An end that takes data."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport
        self.data = b""

    def step(self) -> bool:
        data = self.transport.take()
        self.data += data
        return bool(data)


class Endless(Silent):
    """An end that always has something to do."""

    def step(self) -> bool:
        return True


class NetworkTests(SynchronousTestCase):
    """Connections of the application, with itself and with others."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor(FixedResolver({"a.test": ["192.0.2.1"]}))
        self.servers: list[Any] = []
        verifyObject(IReactorTCP, self.reactor)
        verifyObject(IReactorTime, self.reactor)

    def serve(self, description: str = "tcp:80") -> Any:
        def protocol() -> Recorder:
            server = Recorder()
            self.servers.append(server)
            return server

        return self.successResultOf(serverFromString(self.reactor, description).listen(Factory.forProtocol(protocol)))

    def connect(self, description: str = "tcp:127.0.0.1:80") -> Deferred[Any]:
        connecting: Deferred[Any] = clientFromString(self.reactor, description).connect(Factory.forProtocol(Recorder))
        self.reactor.settle()
        return connecting

    def test_own_port(self) -> None:
        """Data and the end go from one protocol to the other."""
        port = self.serve()
        self.assertEqual((port.getHost().host, port.getHost().port), ("0.0.0.0", 80))
        client = self.successResultOf(self.connect())
        client.transport.write(b"ping")
        self.reactor.settle()
        (server,) = self.servers
        server.transport.write(b"pong")
        server.transport.loseConnection()
        self.reactor.settle()
        self.assertEqual((server.data, client.data), (b"ping", b"pong"))
        self.assertEqual((server.lost, client.lost), ([ConnectionDone], [ConnectionDone]))
        other = self.successResultOf(self.connect())
        other.transport.abortConnection()
        self.reactor.settle()
        self.assertEqual(self.servers[1].lost, [ConnectionLost])

    def test_ports(self) -> None:
        port = self.serve("tcp:80:interface=127.0.0.1")
        self.assertRaises(CannotListenError, self.reactor.listenTCP, 80, Factory(), interface="127.0.0.1")
        free = self.serve("tcp:0").getHost().port, self.serve("tcp:0").getHost().port
        self.assertEqual(len({0, *free}), 3)
        port.stopListening()
        port.stopListening()
        self.failureResultOf(self.connect(), ConnectRefused)
        self.assertRaises(ConnectRefused, self.reactor.connect, 80, Silent)

    def test_others(self) -> None:
        """Only the addresses for which a test listens accept connections; names are resolved."""
        ends: list[Silent] = []

        def accept(transport: MemoryTransport) -> Silent:
            ends.append(Silent(transport))
            return ends[-1]

        self.reactor.listen("192.0.2.1", 443, accept)
        endpoint = HostnameEndpoint(self.reactor, "a.test", 443)
        connecting = endpoint.connect(Factory.forProtocol(Recorder))
        self.reactor.settle()
        connected: Any = self.successResultOf(connecting)
        connected.transport.write(b"hello")
        self.reactor.settle()
        self.assertEqual([end.data for end in ends], [b"hello"])
        self.failureResultOf(self.connect("tcp:192.0.2.1:80"), ConnectRefused)

    def test_clients_of_a_port(self) -> None:
        self.serve()
        ends: list[Silent] = []

        def end(transport: MemoryTransport) -> Silent:
            ends.append(Silent(transport))
            return ends[0]

        self.reactor.connect(80, end).feed(b"hello")
        self.assertEqual((self.servers[0].data, self.servers[0].transport.getPeer().host), (b"hello", "127.0.0.1"))

    def test_no_protocol(self) -> None:
        """A factory can reject a connection."""

        class Rejecting(Factory):
            def buildProtocol(self, addr: object) -> Protocol | None:
                return None

        self.reactor.listenTCP(80, Rejecting())
        self.assertTrue(self.reactor.connect(80, Silent).disconnected)
        self.reactor.connectTCP("127.0.0.1", 80, Connecting(build=False))
        self.reactor.settle()

    def test_connectors(self) -> None:
        """A connection attempt can be cancelled, and a connection closed."""
        self.serve()
        factory = Connecting()
        connector = self.reactor.connectTCP("127.0.0.1", 80, factory)
        destination: Any = connector.getDestination()
        self.assertEqual(destination.port, 80)
        connector.disconnect()
        connector.stopConnecting()
        self.reactor.settle()
        self.assertEqual(factory.failed, [UserError])
        connector = self.reactor.connectTCP("127.0.0.1", 80, factory)
        self.reactor.settle()
        connector.disconnect()
        self.reactor.settle()
        self.assertEqual(self.servers[-1].lost, [ConnectionDone])
        connector.connect()
        self.reactor.settle()
        self.assertEqual(len(self.servers), 2)

    def test_an_endless_exchange(self) -> None:
        self.serve()
        self.reactor.connect(80, Endless)
        self.assertRaises(AssertionError, self.reactor.settle)


class Connecting(Factory):
    """A client factory that records failures."""

    protocol = Recorder

    def __init__(self, *, build: bool = True) -> None:
        self.failed: list[Any] = []
        self.build = build

    def startedConnecting(self, connector: object) -> None:
        pass

    def buildProtocol(self, addr: Any) -> Protocol | None:
        return Recorder() if self.build else None

    def clientConnectionFailed(self, connector: object, reason: Any) -> None:
        self.failed.append(reason.type)


class TimeTests(SynchronousTestCase):
    """Time passes as a test says."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()

    def test_each_call_at_its_time(self) -> None:
        times: list[float] = []

        def again() -> None:
            times.append(self.reactor.seconds())
            self.reactor.callLater(2, again)

        again()
        self.reactor.pass_time(5)
        self.assertEqual((times, self.reactor.seconds()), ([0, 2, 4], 5))

    def test_threads(self) -> None:
        threads = Threads(self.reactor, "test", 1)
        self.addCleanup(threads.stop)
        self.assertEqual(self.reactor.wait_for(threads(lambda: 7)), 7)
        self.assertRaises(ZeroDivisionError, self.reactor.wait_for, threads(lambda: 1 / 0))
        self.assertRaises(AssertionError, self.reactor.wait_for, Deferred(), 0.01)
