"""Tests for L{egress.relay.relay}, for cases that the tunnels of a whole proxy do not reach."""

from __future__ import annotations

import socket

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from egress.model.authority import Authority
from egress.model.decision import Obligations
from egress.proxy.lease import lease_for
from egress.relay.buffered import BufferedFlows
from egress.relay.relay import Relay
from egress.relay.socket_relay import TAKEOVER_BYTES
from egress.transport.fair_turns import RoundRobin
from egress.transport.tls import ServerTls
from egress.transport.tls_layer import TlsLayer
from tests.proxy.fakes import Proxy as FakeProxy
from tests.proxy.fakes import Wire
from tests.proxy.test_budget_count import FakeCharge
from tests.proxy.test_lease import QUESTION
from tests.relay.takeover import TakeoverTestCase
from tests.transport.sockets import TurnedReactor, read_all, reset, server
from tests.transport.tls import TlsClient, leaves


class _Layer:
    """A transport that cannot close one direction, like a TLS session."""

    def __init__(self, below: Wire) -> None:
        self.below = below

    def unregisterProducer(self) -> None:
        self.below.unregisterProducer()

    def loseConnection(self) -> None:
        self.below.loseConnection()

    def write(self, data: bytes) -> None:
        self.below.write(data)


class RelayTests(SynchronousTestCase):
    """Relaying of bytes, ends and pauses in both directions."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.over = 0
        self.broken = False
        self.active = 0
        self.near = Wire(self.clock)
        self.relay = Relay(self, self.near, BufferedFlows())
        self.far = Wire(self.clock).connect(self.relay.origin)

    def relay_active(self) -> None:
        self.active += 1

    def relay_over(self, *, broken: bool) -> None:
        self.over += 1
        self.broken = broken

    def test_both_ways(self) -> None:
        self.far.feed(b"banner")
        self.relay.begin(b"early")
        self.relay.client_data(b" more")
        self.far.feed(b" and more")
        self.assertEqual((self.far.written, self.near.written), (b"early more", b"banner and more"))
        self.assertEqual((self.relay.sent, self.relay.received, self.active), (10, 15, 4))

    def test_starts_without_data(self) -> None:
        self.relay.begin(b"")
        self.assertEqual((self.far.written, self.near.written, self.active), (b"", b"", 0))

    def test_ends_of_both_directions(self) -> None:
        self.relay.begin(b"")
        self.relay.client_end()
        self.assertTrue(self.far.write_closed)
        self.assertEqual(self.over, 0)
        self.far.end()
        self.assertEqual(self.over, 1)
        self.far.lose()
        self.assertEqual(self.over, 1)

    def test_remaining_data_is_sent_to_the_origin_first(self) -> None:
        for far_first in (False, True):
            with self.subTest(far_first=far_first):
                self.setUp()
                self.relay.begin(b"much")
                self.far.choke()
                ends = [self.relay.client_end, self.far.end]
                for end in reversed(ends) if far_first else ends:
                    end()
                self.assertEqual(self.over, 0)
                self.assertFalse(self.far.disconnected)
                self.far.unchoke()
                self.assertEqual(self.over, 1)
                self.assertFalse(self.far.aborted)

    def test_the_origin_ends_first(self) -> None:
        self.relay.begin(b"")
        self.far.end()
        self.assertTrue(self.near.write_closed)
        self.relay.client_end()
        self.clock.advance(0)
        self.assertEqual(self.over, 1)

    def test_a_side_that_cannot_close_one_direction_closes_both(self) -> None:
        relay = Relay(self, _Layer(self.near), BufferedFlows())  # type: ignore[arg-type]
        Wire(self.clock).connect(relay.origin)
        relay.begin(b"")
        relay.origin_end()
        self.assertTrue(self.near.disconnecting)

    def test_tls_to_an_upstream_proxy_is_ended_by_its_alert(self) -> None:
        context = leaves().context_for(Authority("origin.test", 443))
        relay = Relay(self, self.near, BufferedFlows())
        relay.origin.prepare(True, lambda: None, lambda _: None)
        layer = TlsLayer(ServerTls(context), False, relay.origin, RoundRobin(self.clock))
        wire = Wire(self.clock).connect(layer)
        other = TlsClient(wire)
        other.shake()
        relay.begin(b"all")
        relay.client_end()
        self.assertEqual(other.take(), b"all")
        self.assertTrue(other.closed)
        self.assertFalse(wire.write_closed)
        other.connection.send(b"answer")
        other.close()
        self.clock.advance(0)
        self.assertEqual(self.near.take(), b"answer")
        self.assertEqual(self.over, 1)

    def test_no_calls_on_a_lost_connection(self) -> None:
        self.relay.begin(b"")
        self.far.lose()
        pauses = self.far.pauses
        self.relay.client_end()
        self.relay.pause_origin()
        self.relay.resume_origin()
        self.relay.drop()
        self.assertEqual((self.far.pauses, self.far.aborted, self.far.write_closed), (pauses, False, False))

    def test_an_ended_direction_is_not_resumed(self) -> None:
        # A reactor would report its end repeatedly.
        self.relay.begin(b"")
        self.relay.client_end()
        self.near.paused = True
        self.relay.resume_client()
        self.assertTrue(self.near.paused)
        self.far.end()
        self.far.paused = True
        self.relay.resume_origin()
        self.assertTrue(self.far.paused)

    def test_dropped_before_the_origin_is_connected(self) -> None:
        relay = Relay(self, self.near, BufferedFlows())
        relay.drop()
        self.relay.drop()
        self.assertTrue(self.far.aborted)
        self.relay.origin.stopProducing()
        self.relay.origin.writeConnectionLost()
        self.assertEqual(self.over, 0)

    def test_a_connection_that_breaks(self) -> None:
        self.relay.begin(b"")
        self.far.lose(ConnectionLost())
        self.assertEqual((self.over, self.broken), (1, True))

    def test_a_connection_that_closes(self) -> None:
        self.relay.begin(b"")
        self.far.lose(ConnectionDone())
        self.assertEqual((self.over, self.broken), (1, False))

    def test_a_connection_that_breaks_after_its_end(self) -> None:
        # The client has everything; it only sent more than the origin read.
        self.relay.begin(b"")
        self.far.end()
        self.far.lose(ConnectionLost())
        self.assertEqual((self.over, self.broken), (1, False))

    def test_a_wait(self) -> None:
        """Both directions are paused until the budget continues, and a slow receiver still counts then."""
        charge = FakeCharge(1 << 30)
        lease = lease_for(FakeProxy().parts.authz, QUESTION, Obligations(), lambda error: None, charge)
        self.relay = Relay(self, self.near, BufferedFlows(), lease)
        self.far = Wire(self.clock).connect(self.relay.origin)
        self.relay.begin(b"")
        charge.crowded_at = 1 << 30
        self.relay.client_data(b"abc")
        self.assertEqual((self.far.take(), self.near.paused, self.far.paused), (b"abc", True, True))
        self.relay.pause_client()
        charge.waiting.pop()()
        self.assertEqual((self.near.paused, self.far.paused), (True, False))
        self.relay.client_data(b"def")
        self.relay.resume_client()
        self.relay.pause_origin()
        self.relay.resume_origin()
        self.assertEqual((self.near.paused, self.far.paused), (True, True))
        charge.waiting.pop()()
        self.assertEqual((self.near.paused, self.far.paused), (False, False))

    def test_a_wait_at_the_end(self) -> None:
        """A direction that has ended stays as it is; the client is read when the origin is lost."""
        self.relay.begin(b"")
        self.relay.client_end()
        self.far.end()
        self.setUp()
        self.relay.begin(b"")
        self.relay.client_end()
        pauses = self.near.pauses
        self.relay.hold()
        self.relay.release()
        self.assertEqual((self.near.pauses, self.far.paused), (pauses, False))
        self.setUp()
        self.relay.begin(b"")
        self.far.end()
        pauses = self.far.pauses
        self.relay.hold()
        self.assertEqual((self.near.paused, self.far.pauses), (True, pauses))
        self.far.lose()
        self.assertEqual((self.near.paused, self.over), (False, 1))

    def test_large_transfers_between_other_transports(self) -> None:
        self.relay.begin(b"")
        for _ in range(3):
            self.relay.client_data(bytes(TAKEOVER_BYTES))
        self.assertEqual((len(self.far.take()), self.relay.sent), (3 * TAKEOVER_BYTES, 3 * TAKEOVER_BYTES))


@implementer(IHalfCloseableProtocol)
class _ClientSide(Protocol):
    """The client side, as a tunnel implements it."""

    relay: Relay
    lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.relay.client_data(data)

    def pauseProducing(self) -> None:
        self.relay.pause_origin()

    def resumeProducing(self) -> None:
        self.relay.resume_origin()

    def stopProducing(self) -> None:
        pass

    def readConnectionLost(self) -> None:
        self.relay.client_end()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason
        self.relay.drop()


class SocketRelayTests(TakeoverTestCase):
    """Large transfers move to a socket relay."""

    def setUp(self) -> None:
        self.connect(self.tcp_pair(), self.tcp_pair())

    def take_over_after(self, size: int) -> None:
        self.relay.takeover_bytes = size

    def test_a_wait(self) -> None:
        """Nothing takes over meanwhile, and a socket relay waits, too."""
        self.relay.client_data(bytes(TAKEOVER_BYTES - 1))
        self.reactor.settle()
        self.relay.hold()
        self.client.send(b"a")
        self.origin.send(b"b")
        self.reactor.settle()
        self.assertEqual((len(read_all(self.origin)), read_all(self.client)), (TAKEOVER_BYTES - 1, b""))
        self.relay.client_data(b"c")
        self.reactor.settle()
        self.assertEqual((read_all(self.origin), read_all(self.client)), (b"c", b""))
        self.relay.release()
        self.reactor.settle()
        self.assertEqual((read_all(self.origin), read_all(self.client)), (b"a", b"b"))
        self.assertTrue(self.uses_socket_relay)
        self.relay.hold()
        self.client.send(b"more")
        self.reactor.settle()
        self.assertEqual((read_all(self.origin), self.reactor.reading), (b"", set()))
        self.relay.release()
        self.reactor.settle()
        self.assertEqual(read_all(self.origin), b"more")

    def connect(
        self, clients: tuple[socket.socket, socket.socket], origins: tuple[socket.socket, socket.socket]
    ) -> None:
        """Start a relay between two connections."""
        self.reactor = TurnedReactor()
        (self.client, near), (self.origin, far) = clients, origins
        self.side = _ClientSide()
        self.near = server(self.reactor, near, self.side)
        self.near.registerProducer(self.side, True)
        self.over: list[bool] = []
        self.relay = self.side.relay = Relay(self, self.near, BufferedFlows())
        self.far = server(self.reactor, far, self.relay.origin)
        self.relay.begin(b"")

    def relay_active(self) -> None:
        pass

    def relay_over(self, *, broken: bool) -> None:
        self.over.append(broken)

    def test_a_small_transfer(self) -> None:
        self.exchange(TAKEOVER_BYTES // 2 - 1)
        self.assertFalse(self.uses_socket_relay)

    def test_a_large_transfer(self) -> None:
        self.exchange()
        self.assertTrue(self.uses_socket_relay)
        self.exchange(3 * TAKEOVER_BYTES)
        self.assertEqual((self.relay.sent, self.relay.received), (4 * TAKEOVER_BYTES, 4 * TAKEOVER_BYTES))

    def test_early_data_does_not_start_the_socket_relay(self) -> None:
        # The caller of begin() resumes its transport afterwards.
        _client, near = self.tcp_pair()
        _origin, far = self.tcp_pair()
        relay = Relay(self, server(self.reactor, near, _ClientSide()), BufferedFlows())
        transport = server(self.reactor, far, relay.origin)
        relay.origin_data(bytes(TAKEOVER_BYTES))
        relay.begin(bytes(TAKEOVER_BYTES))
        self.assertIn(transport, self.reactor.reading)

    def test_takeover_after_a_slow_receiver_has_read_everything(self) -> None:
        for client_is_slow in (False, True):
            with self.subTest(client_is_slow=client_is_slow):
                self.connect(self.tcp_pair(), self.tcp_pair())
                sender, receiver = (self.origin, self.client) if client_is_slow else (self.client, self.origin)
                sent = self.fill(sender)
                self.assertFalse(self.uses_socket_relay, "the transport still has data to send")
                self.drain(receiver, sent)
                self.assertTrue(self.uses_socket_relay)

    def test_no_takeover_when_half_closed(self) -> None:
        self.client.shutdown(socket.SHUT_WR)
        self.reactor.settle()
        self.relay.origin_data(bytes(TAKEOVER_BYTES))
        self.assertIn(self.far, self.reactor.reading)

    def test_both_end(self) -> None:
        self.exchange()
        self.client.shutdown(socket.SHUT_WR)
        self.reactor.settle()
        self.assertEqual(self.origin.recv(100), b"")
        self.origin.close()
        self.reactor.settle()
        self.assertEqual(self.client.recv(100), b"")
        self.assertEqual(self.over, [False])
        self.assertTrue(self.relay.origin.closed)

    def test_the_origin_breaks(self) -> None:
        self.exchange()
        reset(self.origin)
        self.reactor.settle()
        self.assertEqual(self.over, [True])

    def test_the_origin_breaks_after_its_end(self) -> None:
        self.exchange()
        self.origin.send(b"all")
        self.origin.shutdown(socket.SHUT_WR)
        self.reactor.settle()
        self.origin.close()
        self.client.send(b"one")
        self.reactor.settle()
        self.client.send(b"two")
        self.reactor.settle()
        self.assertEqual(self.over, [False])
        self.assertEqual(read_all(self.client), b"all")

    def test_the_client_breaks(self) -> None:
        self.exchange()
        reset(self.client)
        self.reactor.settle()
        self.assertIsNotNone(self.side.lost)
        self.assertTrue(self.relay.origin.closed)
        self.assertRaises(ConnectionResetError, self.origin.recv, 100)
        self.assertEqual(self.over, [])

    def test_dropped(self) -> None:
        for drop in (lambda: self.near.abortConnection(), lambda: self.far.abortConnection()):
            self.setUp()
            self.exchange()
            drop()
            self.reactor.settle()
            self.assertTrue(self.relay.origin.closed)
            self.near.abortConnection()
            self.reactor.settle()
            self.assertEqual((self.reactor.reading, self.reactor.writing), (set(), set()))
            self.assertEqual((self.relay.sent, self.relay.received), (TAKEOVER_BYTES, TAKEOVER_BYTES))
