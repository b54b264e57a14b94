"""Tests for L{egress.relay.socket_relay}."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, ILoggingContext
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.model.decision import Obligations
from egress.model.errors import EgressError, LimitReached
from egress.proxy.lease import Lease, lease_for
from egress.relay.buffered import BUFFER, BufferedFlows, Flow, Flows
from egress.relay.socket_relay import FAIR_SHARE_BYTES, SocketEnd, SocketRelay, relay_between
from egress.relay.splice import SplicedFlows, can_splice
from tests.proxy.fakes import Proxy, Wire
from tests.proxy.test_budget_count import FakeCharge
from tests.proxy.test_lease import QUESTION
from tests.transport.sockets import SocketsTestCase, TurnedReactor, read_all, reset, server

DATA = bytes(range(256)) * 4096


@implementer(IHalfCloseableProtocol)
class _Side(Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.lost: list[Failure] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def readConnectionLost(self) -> None:
        pass

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason)


class _Cases:
    """Prevents trial from running the cases themselves."""

    class AnySocketRelay(SocketsTestCase):
        """client <-> client transport, socket relay, origin transport <-> origin."""

        flows: Flows

        def make(self) -> Flows:
            raise NotImplementedError

        def setUp(self) -> None:
            self.reactor = TurnedReactor()
            self.flows = self.make()
            self.addCleanup(lambda: self.flows.close())
            self.client, near = self.tcp_pair()
            self.origin, far = self.tcp_pair()
            self.near_side, self.far_side = _Side(), _Side()
            self.near = server(self.reactor, near, self.near_side)
            self.far = server(self.reactor, far, self.far_side, tcp.Server)
            self.active = 0
            self.ends: list[SocketEnd | None] = []
            pump = relay_between(self.near, self.far, self.flows, self._note_active, self.ends.append)
            assert pump is not None
            self.pump: SocketRelay = pump
            self.addCleanup(self._finish)

        def _finish(self) -> None:
            self.pump.stop()
            for transport in (self.near, self.far):
                transport.abortConnection()
            self.reactor.settle()
            self.assertEqual((self.reactor.reading, self.reactor.writing), (set(), set()))
            self.assertEqual((len(self.near_side.lost), len(self.far_side.lost)), (1, 1))
            if isinstance(self.flows, SplicedFlows):
                self.assertEqual(self.flows.pipes.made, self.flows.pipes.idle, "all pipes were returned")

        def _note_active(self) -> None:
            self.active += 1

        def transfer(self, data: bytes, sender: socket.socket, receiver: socket.socket) -> bytes:
            """Send all data, and read the data that arrives."""
            received = bytearray()
            rest = memoryview(data)
            while rest:
                with contextlib.suppress(BlockingIOError):
                    rest = rest[sender.send(rest) :]
                self.reactor.turn()
                received += read_all(receiver)
            self.reactor.settle()
            return bytes(received + read_all(receiver))

        def fill_up(self, sender: socket.socket) -> int:
            """Send until the socket takes no more.

            @return: the number of bytes sent.
            """
            sent = 0
            while True:
                try:
                    while True:
                        sent += sender.send(DATA)
                except BlockingIOError:
                    if not self.reactor.turn():
                        return sent

        def test_both_ways(self) -> None:
            self.assertEqual(self.transfer(DATA, self.client, self.origin), DATA)
            self.assertEqual(self.transfer(DATA[::-1], self.origin, self.client), DATA[::-1])
            self.assertEqual((self.pump.client.moved, self.pump.origin.moved), (len(DATA), len(DATA)))
            self.assertGreater(self.active, 0)
            self.assertEqual((self.near_side.received, self.far_side.received, self.ends), (b"", b"", []))

        def test_the_transports_are_out_of_the_reactor(self) -> None:
            self.assertEqual(self.reactor.reading, {self.pump.client, self.pump.origin})
            self.assertEqual(self.reactor.writing, set())
            self.assertEqual(self.pump.client.fileno(), self.near.fileno())

        def test_backpressure(self) -> None:
            sent = self.fill_up(self.client)
            self.assertEqual((self.reactor.reading, self.reactor.writing), ({self.pump.origin}, {self.pump.origin}))
            # The other direction continues.
            self.assertEqual(self.transfer(b"answer", self.origin, self.client), b"answer")
            received = 0
            while received < sent:
                received += len(read_all(self.origin))
                self.reactor.settle()
            self.assertEqual(received, sent)
            self.assertEqual(
                (self.reactor.reading, self.reactor.writing), ({self.pump.client, self.pump.origin}, set())
            )
            self.assertEqual(self.pump.client.moved, sent)

        def test_a_full_socket_causes_no_busy_loop(self) -> None:
            self.fill_up(self.client)
            self.assertFalse(self.reactor.turn())

        def lease(self, most: int | None) -> Lease:
            """Create a lease with a byte limit."""
            self.faults: list[EgressError] = []

            def failed(error: EgressError) -> None:
                self.faults.append(error)
                self.pump.stop()

            terms = Obligations(max_bytes=most, expires_in=None if most is not None else 5)
            made = lease_for(Proxy().parts.authz, QUESTION, terms, failed)
            assert made is not None
            self.pump.budget = made
            return made

        def test_a_limit(self) -> None:
            lease = self.lease(len(DATA) + 3)
            self.assertEqual(self.transfer(DATA, self.client, self.origin), DATA)
            self.assertEqual(self.transfer(b"abc", self.origin, self.client), b"abc")
            self.assertEqual((lease.used, lease.next_read(100), self.faults), (len(DATA) + 3, 1, []))
            active = self.active
            self.origin.send(b"d")
            self.reactor.settle()
            self.assertEqual([type(fault) for fault in self.faults], [LimitReached])
            self.assertEqual((read_all(self.client), self.active, self.ends), (b"", active, []))
            self.assertTrue(self.pump.over)

        def test_a_wait(self) -> None:
            """Nothing is read until the budget continues."""
            charge = FakeCharge(1 << 30)
            charge.room = 1000
            lease = lease_for(Proxy().parts.authz, QUESTION, Obligations(), lambda error: None, charge)
            assert lease is not None
            lease.transfer = self.pump
            self.pump.budget = lease
            self.assertEqual(self.transfer(DATA[:1500], self.client, self.origin), DATA[:1500])
            charge.crowded_at = charge.most - 1000
            self.assertEqual(self.transfer(DATA[:2500], self.client, self.origin), DATA[:1000])
            self.assertEqual(self.transfer(b"answer", self.origin, self.client), b"")
            # An event that was reported before.
            self.pump.origin.doRead()
            self.assertEqual((self.reactor.reading, self.reactor.writing, lease.used), (set(), set(), 2500))
            # The next read finds that another exchange was faster.
            charge.waiting.pop()()
            self.reactor.settle()
            self.assertEqual((read_all(self.origin), read_all(self.client), self.reactor.reading), (b"", b"", set()))
            charge.crowded_at = -1
            charge.waiting.pop()()
            self.reactor.settle()
            self.assertEqual((read_all(self.origin), read_all(self.client)), (DATA[1000:2500], b"answer"))

        def test_a_wait_of_a_slow_receiver(self) -> None:
            """What was read before is passed on, and a full receiver is not read for at the end of the wait."""
            self.fill_up(self.client)
            self.pump.hold()
            self.pump.release()
            self.assertEqual((self.reactor.reading, self.reactor.writing), ({self.pump.origin}, {self.pump.origin}))
            self.pump.hold()
            while read_all(self.origin):
                self.reactor.settle()
            self.assertEqual((self.reactor.reading, self.reactor.writing), (set(), set()))
            self.pump.release()
            self.reactor.settle()
            while read_all(self.origin):
                self.reactor.settle()
            self.assertEqual(self.reactor.reading, {self.pump.client, self.pump.origin})

        def test_a_wait_at_the_end(self) -> None:
            self.client.shutdown(socket.SHUT_WR)
            self.reactor.settle()
            self.pump.hold()
            self.pump.release()
            self.assertEqual(self.reactor.reading, {self.pump.origin})
            self.pump.hold()
            self.pump.stop()
            self.pump.release()
            self.assertEqual(self.reactor.reading, set())

        def test_a_limit_inside_a_read(self) -> None:
            self.lease(len(DATA) // 2)
            with contextlib.suppress(BlockingIOError):
                self.client.send(DATA)
            self.reactor.settle()
            self.assertEqual([type(fault) for fault in self.faults], [LimitReached])
            self.assertLessEqual(len(read_all(self.origin)), len(DATA) // 2)

        def test_a_limit_not_reached(self) -> None:
            lease = self.lease(None)
            self.assertEqual(self.transfer(DATA, self.client, self.origin), DATA)
            self.assertEqual((lease.used, self.faults), (len(DATA), []))

        def test_the_client_ends_first(self) -> None:
            self.client.send(b"question")
            self.client.shutdown(socket.SHUT_WR)
            self.reactor.settle()
            self.assertEqual(self.origin.recv(100), b"question")
            self.assertEqual(self.origin.recv(100), b"")
            self.assertTrue(self.pump.client.ended)
            self.assertEqual(self.transfer(DATA, self.origin, self.client), DATA)
            self.assertEqual(self.ends, [])
            self.origin.close()
            self.reactor.settle()
            self.assertEqual(self.client.recv(100), b"")
            self.assertEqual(self.ends, [None])
            self.assertTrue(self.pump.over)

        def test_the_origin_ends_first(self) -> None:
            self.origin.shutdown(socket.SHUT_WR)
            self.reactor.settle()
            self.assertEqual(self.client.recv(100), b"")
            self.assertEqual(self.transfer(DATA, self.client, self.origin), DATA)
            self.client.close()
            self.reactor.settle()
            self.assertEqual((self.ends, self.origin.recv(100)), ([None], b""))

        def test_held_data_is_sent_before_the_end(self) -> None:
            sent = self.fill_up(self.client)
            self.client.shutdown(socket.SHUT_WR)
            received = 0
            while received < sent:
                self.reactor.settle()
                received += len(read_all(self.origin))
            self.reactor.settle()
            self.assertEqual(self.origin.recv(100), b"")
            self.assertEqual((received, self.pump.client.moved), (sent, sent))

        def test_a_reset_of_the_client(self) -> None:
            reset(self.client)
            self.reactor.settle()
            self.assertEqual(self.ends, [self.pump.client])

        def test_a_reset_of_the_origin(self) -> None:
            reset(self.origin)
            self.reactor.settle()
            self.assertEqual(self.ends, [self.pump.origin])

        def test_a_reset_while_data_is_held(self) -> None:
            self.fill_up(self.client)
            reset(self.origin)
            self.reactor.settle()
            self.assertEqual(self.ends, [self.pump.origin])

        def test_an_end_that_cannot_be_passed_on(self) -> None:
            self.far.getHandle().close()
            self.client.shutdown(socket.SHUT_WR)
            self.reactor.removeReader(self.pump.origin)
            self.reactor.settle()
            self.assertEqual(self.ends, [self.pump.origin])

        def test_a_hang_up_reported_by_the_reactor(self) -> None:
            # As epoll reports it: no readable data, and the reader removed already.
            self.client.send(b"last words")
            self.client.close()
            self.reactor.removeReader(self.pump.client)
            self.pump.client.readConnectionLost(Failure(connectionDone.value))
            self.assertEqual(self.origin.recv(100), b"last words")
            self.reactor.settle()
            self.assertTrue(self.pump.client.ended)
            # As reported when only writing is watched.
            self.pump.origin.writeConnectionLost(Failure(ConnectionLost()))
            self.assertEqual(self.ends, [self.pump.origin])
            self.pump.origin.connectionLost(Failure(ConnectionLost()))
            self.assertEqual(self.ends, [self.pump.origin])

        def test_work_per_turn_is_limited(self) -> None:
            moved = []

            class Endless:
                held = 0

                def fill(self, max_bytes: int = BUFFER) -> int:
                    self.held = FAIR_SHARE_BYTES // 4
                    return self.held

                def drain(self) -> int:
                    moved.append(self.held)
                    self.held = 0
                    return moved[-1]

                def close(self) -> None:
                    pass

            class EndlessFlows:
                def between(self, source: socket.socket, sink: socket.socket) -> Flow:
                    return Endless()

                def close(self) -> None:
                    pass

            self.pump.stop()
            pump = relay_between(self.near, self.far, EndlessFlows(), self._note_active, self.ends.append)
            assert pump is not None
            self.pump = pump
            pump.client.doRead()
            self.assertEqual(sum(moved), FAIR_SHARE_BYTES)
            self.assertIn(pump.client, self.reactor.reading)

        def test_the_sockets_are_returned(self) -> None:
            self.transfer(DATA, self.client, self.origin)
            self.pump.stop()
            self.pump.stop()
            self.assertEqual((self.reactor.reading, self.reactor.writing), (set(), set()))
            for transport in (self.near, self.far):
                transport.loseConnection()
            self.reactor.settle()
            self.assertEqual((self.client.recv(100), self.origin.recv(100)), (b"", b""))
            self.assertEqual((len(self.near_side.lost), len(self.far_side.lost)), (1, 1))
            self.assertEqual(self.ends, [], "stop() does not notify the owner")

        def test_a_half_closed_pair_is_returned(self) -> None:
            self.client.shutdown(socket.SHUT_WR)
            self.reactor.settle()
            self.pump.stop()
            self.far.loseConnection()
            self.reactor.settle()
            self.assertEqual(len(self.far_side.lost), 1)

        def test_a_closing_transport_gets_its_socket_back_first(self) -> None:
            self.fill_up(self.client)
            self.near.abortConnection()
            self.reactor.settle()
            self.assertTrue(self.pump.over)
            self.assertEqual((self.reactor.reading, self.reactor.writing), (set(), set()))
            self.assertEqual((len(self.near_side.lost), self.ends), (1, []))

        def test_late_events(self) -> None:
            self.client.send(b"x")
            self.pump.stop()
            for end in (self.pump.client, self.pump.origin):
                end.doRead()
                end.doWrite()
                end.pauseProducing()
                end.resumeProducing()
                end.stopProducing()
            self.assertEqual((self.pump.client.moved, self.reactor.reading, self.ends), (0, set(), []))

        def test_logging(self) -> None:
            self.assertTrue(ILoggingContext.providedBy(self.pump.client))
            self.assertEqual(self.pump.client.logPrefix(), "relay")


class BufferedTests(_Cases.AnySocketRelay):
    """With a buffer."""

    def make(self) -> Flows:
        return BufferedFlows()


class SplicedTests(_Cases.AnySocketRelay):
    """With pipes."""

    def make(self) -> Flows:
        if not can_splice():
            self.skipTest("this system does not splice")
        return SplicedFlows()

    def test_an_idle_relay_has_no_pipe(self) -> None:
        self.transfer(DATA, self.client, self.origin)
        assert isinstance(self.flows, SplicedFlows)
        self.assertEqual((self.flows.pipes.made, self.flows.pipes.idle), (1, 1))


class ReadyTests(SocketsTestCase):
    """The conditions for a takeover of sockets."""

    def setUp(self) -> None:
        self.reactor = TurnedReactor()
        self.peers: list[Any] = []

    def transport(self) -> Any:
        """A transport whose socket can be taken over."""
        ours, peer = self.pair()
        self.peers.append(peer)
        return server(self.reactor, ours, _Side(), tcp.Server)

    def take(self, near: object, far: object) -> bool:
        """Try to take over."""
        pump = relay_between(near, far, BufferedFlows(), lambda: None, lambda _: None)
        if pump is not None:
            pump.stop()
        return pump is not None

    def test_ready(self) -> None:
        near, far = self.transport(), self.transport()
        # As in a proxy.
        near.registerProducer(near, True)
        self.assertTrue(self.take(near, far))

    def test_not_sockets(self) -> None:
        for other in (Wire(self.reactor), None):
            self.assertFalse(self.take(self.transport(), other))
            self.assertFalse(self.take(other, self.transport()))

    def test_not_while_data_is_unsent(self) -> None:
        near = self.transport()
        near.write(b"x")
        self.assertFalse(self.take(near, self.transport()))
        self.reactor.settle()
        self.assertTrue(self.take(near, self.transport()))
        near.write(bytes(1 << 20))
        near.doWrite()
        self.assertGreater(len(near.dataBuffer), near.offset)
        self.assertFalse(self.take(self.transport(), near), "the rest is in the other buffer")

    def test_not_when_it_is_closing(self) -> None:
        near = self.transport()
        near.loseConnection()
        self.assertFalse(self.take(near, self.transport()))
        self.reactor.settle()
        self.assertFalse(self.take(near, self.transport()))

    def test_not_tls(self) -> None:
        near = self.transport()
        near.TLS = True
        self.assertFalse(self.take(near, self.transport()))
        near.TLS = False
