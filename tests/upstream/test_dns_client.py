"""Tests for L{egress.upstream.dns_client}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.names import dns
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.model.dns_server import DnsServer
from egress.model.errors import NameNotResolved, ResolutionTimeout
from egress.upstream.dns_client import SILENT_SECONDS, DnsLookups
from egress.upstream.hosts_file import HostsFile
from tests.upstream.names import asked, record, response

FIRST, SECOND = "192.0.2.53", "[2001:db8::53]:5353"


class Socket:
    """A UDP socket in memory.

    @ivar sent: the query.
    """

    def __init__(self, network: Network, protocol: Any, interface: str) -> None:
        self.protocol = protocol
        self.interface = interface
        self.peer: tuple[str, int] | None = None
        self.sent = b""
        self.open = True
        self._network = network

    def connect(self, host: str, port: int) -> None:
        """See C{IUDPTransport}."""
        if host in self._network.unreachable:
            raise OSError("no route")
        self.peer = (host, port)

    def write(self, data: bytes) -> None:
        """See C{IUDPTransport}."""
        self.sent = data

    def stopListening(self) -> None:
        """See C{IListeningPort}."""
        self.open = False

    @property
    def asked(self) -> tuple[str, int]:
        """Return the name and the type of the query."""
        return asked(self.sent)

    def respond(self, *records: tuple[str, str], **changes: Any) -> None:
        """Send a response from the server."""
        made = [record(*each) for each in records]
        self.protocol.datagramReceived(response(self.sent, made, **changes), self.peer)


class Connection:
    """A pending TCP connection, and its connector."""

    def __init__(self, host: str, port: int, factory: Any) -> None:
        self.where = (host, port)
        self.factory = factory
        self.given_up = False
        self.transport = StringTransportWithDisconnection()

    def disconnect(self) -> None:
        """See C{IConnector}."""
        self.given_up = True
        self.factory.clientConnectionFailed(self, Failure(Refused()))

    def accept(self) -> Any:
        """Establish the connection."""
        protocol = self.factory.buildProtocol(None)
        if protocol is not None:
            self.transport.protocol = protocol
            protocol.makeConnection(self.transport)
        return protocol

    def respond(self, *records: tuple[str, str]) -> None:
        """Send a response from the server."""
        data = response(self.transport.value()[2:], [record(*each) for each in records])
        self.transport.protocol.dataReceived(len(data).to_bytes(2, "big") + data)


class Network(Clock):
    """UDP and TCP in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets: list[Socket] = []
        self.connections: list[Connection] = []
        self.unreachable: set[str] = set()
        self.no_sockets = False

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192) -> Socket:
        """See C{IReactorUDP}."""
        assert port == 0
        if self.no_sockets:
            raise CannotListenError(interface, port, OSError("too many open files"))
        socket = Socket(self, protocol, interface)
        self.sockets.append(socket)
        protocol.makeConnection(socket)
        return socket

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float) -> Connection:
        """See C{IReactorTCP}."""
        connection = Connection(host, port, factory)
        self.connections.append(connection)
        return connection


class DnsTestCase(SynchronousTestCase):
    """Base class: two DNS servers."""

    def setUp(self) -> None:
        self.network = Network()
        self.look_up = self.make(FIRST, SECOND)

    def tearDown(self) -> None:
        self.assertEqual([socket for socket in self.network.sockets if socket.open], [])
        self.assertEqual(self.network.getDelayedCalls(), [])

    def make(self, *servers: str, timeout: float = 10) -> DnsLookups:
        hosts = HostsFile.parse("192.0.2.9 known")
        return DnsLookups(self.network, [DnsServer.parse(server) for server in servers], timeout, hosts)

    def ask(self, host: str = "a.test") -> Deferred[Any]:
        return self.look_up(host)

    def take(self) -> list[Socket]:
        """Return the sockets that wait for a response."""
        found, self.network.sockets = self.network.sockets, []
        self.addCleanup(lambda: self.assertEqual([socket.open for socket in found], [False] * len(found)))
        return found

    def texts(self, done: Deferred[Any]) -> list[str]:
        return list(map(str, self.successResultOf(done)))


class DnsLookUpsTests(DnsTestCase):
    """Servers are queried in order for both address families, with a timeout."""

    def test_both_families(self) -> None:
        done = self.ask()
        six, four = self.take()
        self.assertEqual((six.asked, four.asked), (("a.test", dns.AAAA), ("a.test", dns.A)))
        self.assertEqual((six.peer, six.interface), (("192.0.2.53", 53), ""))
        four.respond(("a.test", "192.0.2.1"))
        self.assertNoResult(done)
        six.respond(("a.test", "2001:db8::1"))
        self.assertEqual(self.texts(done), ["2001:db8::1", "192.0.2.1"])

    def test_no_such_name(self) -> None:
        done = self.ask()
        for socket in self.take():
            socket.respond(rCode=dns.ENAME)
        self.assertEqual(self.texts(done), [])
        self.assertEqual(self.take(), [], "the answer of one server counts")

    def test_one_family(self) -> None:
        done = self.ask()
        six, four = self.take()
        six.respond()
        four.respond(("a.test", "192.0.2.1"))
        self.assertEqual(self.texts(done), ["192.0.2.1"])

    def test_hosts_file(self) -> None:
        self.assertEqual(self.texts(self.ask("known")), ["192.0.2.9"])
        self.assertEqual(self.texts(self.ask("localhost")), ["127.0.0.1", "::1"])

    def test_invalid_name(self) -> None:
        self.assertEqual(self.texts(self.ask("x" * 64 + ".test")), [])

    def test_ids_differ(self) -> None:
        done = self.ask()
        sockets = self.take()
        self.assertEqual(len({socket.sent[:2] for socket in sockets}), 2)
        done.cancel()
        self.failureResultOf(done, CancelledError)

    def test_other_datagrams_are_ignored(self) -> None:
        done = self.ask()
        six, four = self.take()
        four.respond(("a.test", "203.0.113.66"), id=(int.from_bytes(four.sent[:2], "big") + 1) & 0xFFFF)
        four.protocol.datagramReceived(b"garbage", four.peer)
        four.respond(("a.test", "192.0.2.1"))
        four.respond(("a.test", "203.0.113.66"))
        six.respond()
        self.assertEqual(self.texts(done), ["192.0.2.1"])

    def test_failing_server(self) -> None:
        for code in (dns.ESERVER, dns.EREFUSED):
            done = self.ask()
            for socket in self.take():
                socket.respond(rCode=code)
            for socket in self.take():
                self.assertEqual((socket.peer, socket.interface), (("2001:db8::53", 5353), "::"))
                socket.respond(("a.test", "192.0.2.1"), ("a.test", "2001:db8::1"))
            self.assertEqual(self.texts(done), ["2001:db8::1", "192.0.2.1"])

    def test_all_servers_fail(self) -> None:
        done = self.ask()
        for _ in range(2):
            for socket in self.take():
                socket.respond(rCode=dns.ESERVER)
        error = self.failureResultOf(done, NameNotResolved).value
        self.assertEqual(error.reason, "no DNS server could resolve a.test ([2001:db8::53]:5353: SERVFAIL)")

    def test_closed_port(self) -> None:
        done = self.ask()
        for socket in self.take():
            socket.protocol.connectionRefused()
            socket.protocol.connectionRefused()
        for socket in self.take():
            socket.respond()
        self.assertEqual(self.texts(done), [])

    def test_no_route_to_a_server(self) -> None:
        self.network.unreachable.add("192.0.2.53")
        done = self.ask()
        # The sockets that cannot be connected come first.
        for socket in self.take():
            if socket.peer is not None:
                socket.respond()
        self.assertEqual(self.texts(done), [])

    def test_no_sockets(self) -> None:
        self.network.no_sockets = True
        self.failureResultOf(self.ask(), NameNotResolved)

    def test_unresponsive_server(self) -> None:
        """The next server is queried, and the unresponsive one comes last for a while."""
        done = self.ask()
        self.take()
        self.network.advance(2)
        for socket in self.take():
            self.assertEqual(socket.peer, ("2001:db8::53", 5353))
            socket.respond()
        self.assertEqual(self.texts(done), [])
        for seconds, peer in ((0, "2001:db8::53"), (SILENT_SECONDS, "192.0.2.53")):
            self.network.advance(seconds)
            done = self.ask()
            for socket in self.take():
                assert socket.peer is not None
                self.assertEqual(socket.peer[0], peer)
                socket.respond()
            self.successResultOf(done)

    def test_all_servers_unresponsive(self) -> None:
        done = self.ask()
        asked: list[Any] = []
        for _ in range(4):
            asked += [socket.peer for socket in self.take()]
            self.assertNoResult(done)
            self.network.advance(2)
        self.failureResultOf(done, ResolutionTimeout)
        self.assertEqual(len(asked), 8)
        self.assertEqual(len(set(asked)), 2)

    def test_one_family_times_out(self) -> None:
        """The addresses of the other family are used."""
        self.look_up = self.make(FIRST)
        done = self.ask()
        _, four = self.take()
        four.respond(("a.test", "192.0.2.1"))
        for _ in range(2):
            self.network.advance(3)
        self.assertEqual(self.texts(done), ["192.0.2.1"])
        self.take()

    def test_one_family_times_out_and_the_other_is_empty(self) -> None:
        """Whether the name has addresses is unknown."""
        self.look_up = self.make(FIRST)
        done = self.ask()
        _, four = self.take()
        four.respond()
        for _ in range(2):
            self.network.advance(3)
        self.failureResultOf(done, ResolutionTimeout)
        self.take()

    def test_unresolved_aliases(self) -> None:
        done = self.ask()
        six, four = self.take()
        six.respond()
        four.respond(("a.test", "-> b.test"), recAv=0)
        (again,) = self.take()
        self.assertEqual(again.asked, ("b.test", dns.A))
        again.respond(("b.test", "192.0.2.1"), recAv=0)
        self.assertEqual(self.texts(done), ["192.0.2.1"])

    def test_endless_aliases(self) -> None:
        done = self.ask()
        six, four = self.take()
        six.respond()
        for number in range(8):
            name = four.asked[0]
            four.respond((name, f"-> n{number}.test"), recAv=0)
            if number < 7:
                (four,) = self.take()
        self.assertEqual(self.texts(done), [])

    def test_invalid_alias(self) -> None:
        self.look_up = self.make(FIRST)
        done = self.ask()
        six, four = self.take()
        six.respond()
        four.respond(("a.test", "-> a..test"), recAv=0)
        self.failureResultOf(done)

    def test_cancelled(self) -> None:
        done = self.ask()
        self.take()
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(self.network.sockets, [], "the next server is not asked")


class TruncatedTests(DnsTestCase):
    """A response that exceeds a datagram is requested over TCP."""

    def truncated(self) -> tuple[Deferred[Any], Connection]:
        done = self.ask()
        six, four = self.take()
        six.respond()
        four.respond(("a.test", "192.0.2.1"), trunc=1)
        (connection,) = self.network.connections
        self.assertEqual(connection.where, ("192.0.2.53", 53))
        return done, connection

    def next_server(self, done: Deferred[Any]) -> None:
        """Verify that the next server is queried."""
        (socket,) = self.take()
        self.assertEqual(socket.peer, ("2001:db8::53", 5353))
        socket.respond(("a.test", "192.0.2.7"))
        self.assertEqual(self.texts(done), ["192.0.2.7"])

    def test_response(self) -> None:
        done, connection = self.truncated()
        connection.accept()
        connection.respond(*(("a.test", f"192.0.2.{number}") for number in range(60)))
        self.assertEqual(len(self.successResultOf(done)), 60)
        self.assertTrue(connection.given_up)

    def test_connection_refused(self) -> None:
        done, connection = self.truncated()
        connection.factory.clientConnectionFailed(connection, Failure(Refused()))
        self.next_server(done)

    def test_connection_closed(self) -> None:
        done, connection = self.truncated()
        connection.accept()
        connection.transport.loseConnection()
        self.next_server(done)

    def test_response_too_long(self) -> None:
        done, connection = self.truncated()
        connection.accept().dataReceived(b"\xff\xff")
        self.next_server(done)

    def test_timeout(self) -> None:
        done, connection = self.truncated()
        connection.accept()
        self.network.advance(2)
        self.assertTrue(connection.given_up)
        self.next_server(done)

    def test_cancelled_while_connecting(self) -> None:
        done, connection = self.truncated()
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertIsNone(connection.accept())
        self.assertEqual(self.network.sockets, [])
