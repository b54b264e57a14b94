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
        """What the query asks for."""
        return asked(self.sent)

    def answer(self, *records: tuple[str, str], **changes: Any) -> None:
        """Have the server answer."""
        made = [record(*each) for each in records]
        self.protocol.datagramReceived(response(self.sent, made, **changes), self.peer)


class Connection:
    """A TCP connection in the making, and its connector."""

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
        """Have the server take it."""
        protocol = self.factory.buildProtocol(None)
        if protocol is not None:
            self.transport.protocol = protocol
            protocol.makeConnection(self.transport)
        return protocol

    def answer(self, *records: tuple[str, str]) -> None:
        """Have the server answer."""
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
    """Base: two DNS servers."""

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
        """The sockets that wait for an answer."""
        found, self.network.sockets = self.network.sockets, []
        self.addCleanup(lambda: self.assertEqual([socket.open for socket in found], [False] * len(found)))
        return found

    def texts(self, done: Deferred[Any]) -> list[str]:
        return list(map(str, self.successResultOf(done)))


class DnsLookUpsTests(DnsTestCase):
    """Servers are asked for both families, in order, in bounded time."""

    def test_both_families(self) -> None:
        done = self.ask()
        six, four = self.take()
        self.assertEqual((six.asked, four.asked), (("a.test", dns.AAAA), ("a.test", dns.A)))
        self.assertEqual((six.peer, six.interface), (("192.0.2.53", 53), ""))
        four.answer(("a.test", "192.0.2.1"))
        self.assertNoResult(done)
        six.answer(("a.test", "2001:db8::1"))
        self.assertEqual(self.texts(done), ["2001:db8::1", "192.0.2.1"])

    def test_no_such_name(self) -> None:
        done = self.ask()
        for socket in self.take():
            socket.answer(rCode=dns.ENAME)
        self.assertEqual(self.texts(done), [])
        self.assertEqual(self.take(), [], "the answer of one server counts")

    def test_one_family(self) -> None:
        done = self.ask()
        six, four = self.take()
        six.answer()
        four.answer(("a.test", "192.0.2.1"))
        self.assertEqual(self.texts(done), ["192.0.2.1"])

    def test_known_names(self) -> None:
        self.assertEqual(self.texts(self.ask("known")), ["192.0.2.9"])
        self.assertEqual(self.texts(self.ask("localhost")), ["127.0.0.1", "::1"])

    def test_what_is_no_name(self) -> None:
        self.assertEqual(self.texts(self.ask("x" * 64 + ".test")), [])

    def test_ids_differ(self) -> None:
        done = self.ask()
        sockets = self.take()
        self.assertEqual(len({socket.sent[:2] for socket in sockets}), 2)
        done.cancel()
        self.failureResultOf(done, CancelledError)

    def test_what_is_not_the_response_is_ignored(self) -> None:
        done = self.ask()
        six, four = self.take()
        four.answer(("a.test", "203.0.113.66"), id=(int.from_bytes(four.sent[:2], "big") + 1) & 0xFFFF)
        four.protocol.datagramReceived(b"garbage", four.peer)
        four.answer(("a.test", "192.0.2.1"))
        four.answer(("a.test", "203.0.113.66"))
        six.answer()
        self.assertEqual(self.texts(done), ["192.0.2.1"])

    def test_a_server_that_fails_is_followed_by_the_next(self) -> None:
        for code in (dns.ESERVER, dns.EREFUSED):
            done = self.ask()
            for socket in self.take():
                socket.answer(rCode=code)
            for socket in self.take():
                self.assertEqual((socket.peer, socket.interface), (("2001:db8::53", 5353), "::"))
                socket.answer(("a.test", "192.0.2.1"), ("a.test", "2001:db8::1"))
            self.assertEqual(self.texts(done), ["2001:db8::1", "192.0.2.1"])

    def test_all_servers_fail(self) -> None:
        done = self.ask()
        for _ in range(2):
            for socket in self.take():
                socket.answer(rCode=dns.ESERVER)
        error = self.failureResultOf(done, NameNotResolved).value
        self.assertEqual(error.reason, "no DNS server could resolve a.test ([2001:db8::53]:5353: SERVFAIL)")

    def test_nobody_is_there(self) -> None:
        done = self.ask()
        for socket in self.take():
            socket.protocol.connectionRefused()
            socket.protocol.connectionRefused()
        for socket in self.take():
            socket.answer()
        self.assertEqual(self.texts(done), [])

    def test_no_way_to_a_server(self) -> None:
        self.network.unreachable.add("192.0.2.53")
        done = self.ask()
        # The sockets that could not be connected come first.
        for socket in self.take():
            if socket.peer is not None:
                socket.answer()
        self.assertEqual(self.texts(done), [])

    def test_no_sockets(self) -> None:
        self.network.no_sockets = True
        self.failureResultOf(self.ask(), NameNotResolved)

    def test_a_silent_server(self) -> None:
        """It is followed by the next one, and asked last for a while."""
        done = self.ask()
        self.take()
        self.network.advance(2)
        for socket in self.take():
            self.assertEqual(socket.peer, ("2001:db8::53", 5353))
            socket.answer()
        self.assertEqual(self.texts(done), [])
        for seconds, peer in ((0, "2001:db8::53"), (SILENT_SECONDS, "192.0.2.53")):
            self.network.advance(seconds)
            done = self.ask()
            for socket in self.take():
                assert socket.peer is not None
                self.assertEqual(socket.peer[0], peer)
                socket.answer()
            self.successResultOf(done)

    def test_all_servers_are_silent(self) -> None:
        done = self.ask()
        asked: list[Any] = []
        for _ in range(4):
            asked += [socket.peer for socket in self.take()]
            self.assertNoResult(done)
            self.network.advance(2)
        self.failureResultOf(done, ResolutionTimeout)
        self.assertEqual(len(asked), 8)
        self.assertEqual(len(set(asked)), 2)

    def test_one_family_is_silent(self) -> None:
        """What the other has found counts."""
        self.look_up = self.make(FIRST)
        done = self.ask()
        _, four = self.take()
        four.answer(("a.test", "192.0.2.1"))
        for _ in range(2):
            self.network.advance(3)
        self.assertEqual(self.texts(done), ["192.0.2.1"])
        self.take()

    def test_one_family_is_silent_and_the_other_empty(self) -> None:
        """Nobody knows that there is no address."""
        self.look_up = self.make(FIRST)
        done = self.ask()
        _, four = self.take()
        four.answer()
        for _ in range(2):
            self.network.advance(3)
        self.failureResultOf(done, ResolutionTimeout)
        self.take()

    def test_aliases_that_are_left_to_us(self) -> None:
        done = self.ask()
        six, four = self.take()
        six.answer()
        four.answer(("a.test", "-> b.test"), recAv=0)
        (again,) = self.take()
        self.assertEqual(again.asked, ("b.test", dns.A))
        again.answer(("b.test", "192.0.2.1"), recAv=0)
        self.assertEqual(self.texts(done), ["192.0.2.1"])

    def test_aliases_without_end(self) -> None:
        done = self.ask()
        six, four = self.take()
        six.answer()
        for number in range(8):
            name = four.asked[0]
            four.answer((name, f"-> n{number}.test"), recAv=0)
            if number < 7:
                (four,) = self.take()
        self.assertEqual(self.texts(done), [])

    def test_an_alias_that_is_no_name(self) -> None:
        self.look_up = self.make(FIRST)
        done = self.ask()
        six, four = self.take()
        six.answer()
        four.answer(("a.test", "-> a..test"), recAv=0)
        self.failureResultOf(done)

    def test_giving_up(self) -> None:
        done = self.ask()
        self.take()
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(self.network.sockets, [], "the next server is not asked")


class TruncatedTests(DnsTestCase):
    """What does not fit into a datagram is asked for over TCP."""

    def truncated(self) -> tuple[Deferred[Any], Connection]:
        done = self.ask()
        six, four = self.take()
        six.answer()
        four.answer(("a.test", "192.0.2.1"), trunc=1)
        (connection,) = self.network.connections
        self.assertEqual(connection.where, ("192.0.2.53", 53))
        return done, connection

    def next_server(self, done: Deferred[Any]) -> None:
        """The next one is asked."""
        (socket,) = self.take()
        self.assertEqual(socket.peer, ("2001:db8::53", 5353))
        socket.answer(("a.test", "192.0.2.7"))
        self.assertEqual(self.texts(done), ["192.0.2.7"])

    def test_answer(self) -> None:
        done, connection = self.truncated()
        connection.accept()
        connection.answer(*(("a.test", f"192.0.2.{number}") for number in range(60)))
        self.assertEqual(len(self.successResultOf(done)), 60)
        self.assertTrue(connection.given_up)

    def test_no_connection(self) -> None:
        done, connection = self.truncated()
        connection.factory.clientConnectionFailed(connection, Failure(Refused()))
        self.next_server(done)

    def test_closed(self) -> None:
        done, connection = self.truncated()
        connection.accept()
        connection.transport.loseConnection()
        self.next_server(done)

    def test_too_long(self) -> None:
        done, connection = self.truncated()
        connection.accept().dataReceived(b"\xff\xff")
        self.next_server(done)

    def test_silent(self) -> None:
        done, connection = self.truncated()
        connection.accept()
        self.network.advance(2)
        self.assertTrue(connection.given_up)
        self.next_server(done)

    def test_given_up_while_it_connects(self) -> None:
        done, connection = self.truncated()
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertIsNone(connection.accept())
        self.assertEqual(self.network.sockets, [])
