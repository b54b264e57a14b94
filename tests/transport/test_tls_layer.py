"""Tests for L{egress.transport.tls_layer}."""

from __future__ import annotations

import contextlib
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, ITCPTransport
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from egress.model.authority import Authority
from egress.transport.fair_turns import RoundRobin
from egress.transport.idle_buffers import IDLE_SECONDS
from egress.transport.tls import ServerTls, TlsFactory
from egress.transport.tls_layer import TlsLayer
from egress.transport.tls_records import MAX_RECORDS
from tests.proxy.fakes import Wire
from tests.transport.reactors import Recorder
from tests.transport.tls import TlsClient, leaves


@implementer(IOpenSSLClientConnectionCreator)
class _Trusting:
    """Creates sessions of a client that verifies nothing."""

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)


class TlsLayerTests(SynchronousTestCase):
    """TLS layers with the proxy's contexts, which write immediately."""

    def test_a_session(self) -> None:
        clock = Clock()
        above = Recorder()
        context = leaves().context_for(Authority("origin.test", 443))
        factory = TlsFactory(ServerTls(context), False, Factory.forProtocol(lambda: above), clock=clock)
        layer = factory.buildProtocol(None)
        self.assertIs(type(layer), TlsLayer)
        wire = Wire(clock).connect(layer)
        client = TlsClient(wire)
        client.shake()
        client.send(b"hello")
        self.assertEqual(above.received, b"hello")
        above.transport.write(b"answer")  # type: ignore[union-attr]
        self.assertEqual(clock.getDelayedCalls(), [], "no work is deferred to another turn")
        self.assertEqual(client.take(), b"answer")
        wire.lose()

    def connect(self) -> tuple[Recorder, Wire, TlsClient]:
        """A session after its handshake."""
        self.clock = clock = Clock()
        above = Recorder()
        context = leaves().context_for(Authority("origin.test", 443))
        factory = TlsFactory(ServerTls(context), False, Factory.forProtocol(lambda: above), clock=clock)
        wire = Wire(clock).connect(factory.buildProtocol(None))
        client = TlsClient(wire)
        client.shake()
        return above, wire, client

    def test_buffers_of_an_idle_session(self) -> None:
        """Those of the handshake are freed while the session is idle. A session that has ended is not stored."""
        clock = Clock()
        context = leaves().context_for(Authority("origin.test", 443))
        turns = RoundRobin(clock)
        factory = TlsFactory(ServerTls(context), False, Factory.forProtocol(Recorder), clock=clock, turns=turns)
        sessions = []
        for _ in range(3):
            layer = factory.buildProtocol(None)
            wire = Wire(clock).connect(layer)
            client = TlsClient(wire)
            self.assertLess(len(turns.buffers), 2, "a handshake is not idle")
            client.shake()
            layer.wrappedProtocol.transport.write(b"answer")
            sessions.append((layer, wire, client))
            clock.advance(IDLE_SECONDS)
            self.assertEqual(len(turns.buffers), 1)
        for layer, wire, client in sessions:
            client.send(b"hello")
            self.assertEqual(layer.wrappedProtocol.received, b"hello")
            wire.lose()
        clock.advance(0)
        self.assertEqual(len(turns.buffers), 0)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_the_output_of_a_receiver(self) -> None:
        """It is sent once, also if the received data is one record."""
        above, wire, client = self.connect()
        wire.take()
        above.dataReceived = lambda data: above.transport.write(data.upper())  # type: ignore[method-assign,union-attr]
        client.send(b"one")
        self.assertEqual(client.take(), b"ONE")
        wire.lose()

    def test_several_records_are_passed_on_as_one_read(self) -> None:
        above, wire, client = self.connect()
        reads: list[bytes] = []
        above.dataReceived = reads.append  # type: ignore[method-assign,assignment]
        client.connection.send(b"one, ")
        client.connection.send(b"two")
        client.read()
        client.send(b"three")
        self.assertEqual(reads, [b"one, two", b"three"])
        wire.lose()

    def test_tiny_records_wait_for_their_turn(self) -> None:
        above, wire, client = self.connect()
        for number in range(3 * MAX_RECORDS):
            client.connection.send(b"%d," % (number % 10))
        wire.protocol.dataReceived(client.connection.bio_read(1 << 16))
        self.assertEqual(above.received.count(b","), MAX_RECORDS)
        self.assertTrue(wire.paused)
        client.connection.send(b"end")
        wire.protocol.dataReceived(client.connection.bio_read(1 << 16))
        above.transport.pauseProducing()  # type: ignore[union-attr]
        self.clock.advance(0)
        self.assertEqual(above.received.count(b","), MAX_RECORDS, "a paused receiver takes no more")
        above.transport.resumeProducing()  # type: ignore[union-attr]
        self.clock.advance(0)
        self.assertEqual(above.received.count(b","), 3 * MAX_RECORDS)
        self.assertTrue(above.received.endswith(b"1,end"))
        self.assertFalse(wire.paused)
        above.transport.pauseProducing()  # type: ignore[union-attr]
        self.assertTrue(wire.paused)
        above.transport.resumeProducing()  # type: ignore[union-attr]
        self.assertFalse(wire.paused)
        wire.lose()

    def test_pending_data_of_a_lost_client_is_dropped(self) -> None:
        for leave in ("lose", "abort"):
            with self.subTest(leave):
                above, wire, client = self.connect()
                for _ in range(3 * MAX_RECORDS):
                    client.connection.send(b"a")
                wire.protocol.dataReceived(client.connection.bio_read(1 << 16))
                if leave == "abort":
                    above.transport.abortConnection()  # type: ignore[union-attr]
                else:
                    wire.lose()
                self.clock.advance(0)
                self.assertEqual(len(above.received), MAX_RECORDS)
                self.assertEqual(len(above.lost), 1)

    def test_pending_data_of_a_lost_server_is_processed(self) -> None:
        clock = Clock()
        above = Recorder()
        factory = TlsFactory(_Trusting(), True, Factory.forProtocol(lambda: above), clock=clock)
        wire = Wire(clock).connect(factory.buildProtocol(None))
        server = SSL.Connection(leaves().context_for(Authority("origin.test", 443)), None)
        server.set_accept_state()
        for _ in range(2):
            server.bio_write(wire.take())
            with contextlib.suppress(SSL.WantReadError):
                server.do_handshake()
            wire.feed(server.bio_read(1 << 16))
        for _ in range(3 * MAX_RECORDS):
            server.send(b"a")
        wire.protocol.dataReceived(server.bio_read(1 << 16))
        above.transport.pauseProducing()  # type: ignore[union-attr]
        wire.lose()
        self.assertEqual((len(above.received), above.lost), (MAX_RECORDS, []))
        clock.advance(0)
        self.assertEqual((len(above.received), len(above.lost)), (3 * MAX_RECORDS, 1))

    def test_bulk(self) -> None:
        above, wire, client = self.connect()
        data = bytes(range(256)) * 2000
        above.transport.write(data)  # type: ignore[union-attr]
        self.assertEqual(client.take(), data)
        wire.lose()

    def test_data_and_the_end_in_one_read(self) -> None:
        above, wire, client = self.connect()
        client.connection.send(b"last words")
        client.connection.shutdown()
        client.read()
        self.assertEqual(above.received, b"last words")
        wire.lose()
        self.assertIsInstance(above.lost[0].value, ConnectionDone)

    def test_data_followed_by_invalid_tls(self) -> None:
        above, wire, client = self.connect()
        client.connection.send(b"words")
        wire.feed(client.connection.bio_read(1 << 16) + b"nonsense, and enough of it to be a head")
        self.assertEqual(above.received, b"words")
        wire.lose()
        self.assertNotIsInstance(above.lost[0].value, ConnectionDone)

    def test_data_after_an_abort_is_dropped(self) -> None:
        above, wire, client = self.connect()
        client.connection.send(b"unheard")
        data = client.connection.bio_read(1 << 16)
        layer = above.transport
        above.transport.abortConnection()  # type: ignore[union-attr]
        layer.dataReceived(data)  # type: ignore[union-attr]
        self.assertEqual(above.received, b"")
        layer.write(b"unsent")  # type: ignore[union-attr]
        wire.lose()


class _Paused:
    """A producer that records its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class TransportTests(SynchronousTestCase):
    """The layer as the transport of the protocol inside it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.above = Recorder()
        context = leaves().context_for(Authority("origin.test", 443))
        factory = TlsFactory(ServerTls(context), False, Factory.forProtocol(lambda: self.above), clock=self.clock)
        self.layer: Any = factory.buildProtocol(None)

    def connect(self) -> Wire:
        self.wire = Wire(self.clock).connect(self.layer)
        self.client = TlsClient(self.wire)
        return self.wire

    def test_before_the_connection(self) -> None:
        self.assertIsNone(self.layer.getHandle())
        self.assertIsNone(self.layer.getPeerCertificate())
        self.assertIsNone(self.layer.negotiatedProtocol)
        self.layer.write(b"nowhere")
        self.layer.loseConnection()
        self.assertFalse(self.layer.disconnecting)

    def test_description(self) -> None:
        wire = self.connect()
        self.client.shake()
        self.assertIsInstance(self.layer.getHandle(), SSL.Connection)
        self.assertIsNone(self.layer.getPeerCertificate())
        self.assertEqual((self.layer.getPeer(), self.layer.getHost()), (wire.getPeer(), wire.getHost()))
        self.assertEqual(self.layer.logPrefix(), "Recorder (TLS)")
        self.assertFalse(ITCPTransport.providedBy(self.layer), "it cannot close one direction")
        wire.lose()

    def test_writes_during_the_handshake(self) -> None:
        """They are kept, and sent after the handshake."""
        producer = _Paused()
        wire = self.connect()
        self.layer.registerProducer(producer, True)
        self.layer.writeSequence([b"ear", b"ly"])
        self.assertEqual(producer.calls, ["pause"])
        self.client.shake()
        self.client.send(b"x")
        self.assertEqual((self.client.take(), self.above.received), (b"early", b"x"))
        self.assertEqual(producer.calls, ["pause", "resume"])
        wire.lose()

    def test_close_during_the_handshake(self) -> None:
        """Data that was written before is sent first."""
        wire = self.connect()
        self.layer.write(b"early")
        self.layer.loseConnection()
        self.assertFalse(wire.disconnecting)
        self.client.shake()
        self.client.read()
        self.assertEqual((self.client.plain, self.client.closed), (b"early", True))
        self.client.close()
        self.clock.advance(0)
        self.assertIsInstance(self.above.lost[0].value, ConnectionDone)

    def test_close_without_data_during_the_handshake(self) -> None:
        wire = self.connect()
        self.layer.loseConnection()
        self.assertTrue(wire.aborted)
        wire.feed(self.client.hello())
        self.clock.advance(0)
        self.assertEqual(len(self.above.lost), 1)

    def test_close_waits_for_the_producer(self) -> None:
        wire = self.connect()
        self.client.shake()
        self.layer.registerProducer(_Paused(), True)
        self.layer.loseConnection()
        self.layer.loseConnection()
        self.layer.write(b"the rest")
        self.client.read()
        self.assertEqual((self.client.plain, self.client.closed), (b"the rest", False))
        self.layer.unregisterProducer()
        self.layer.unregisterProducer()
        self.layer.write(b"too late")
        self.client.read()
        self.assertEqual((self.client.plain, self.client.closed), (b"the rest", True))
        wire.lose()

    def test_unregistered_producer_of_an_open_connection(self) -> None:
        wire = self.connect()
        self.client.shake()
        producer = _Paused()
        self.layer.registerProducer(producer, True)
        wire.producer.pauseProducing()
        wire.producer.resumeProducing()
        self.layer.unregisterProducer()
        self.assertEqual(producer.calls, ["pause", "resume"])
        self.assertIsNone(wire.producer)
        self.assertFalse(wire.disconnecting)
        wire.lose()

    def test_pull_producers(self) -> None:
        self.connect()
        self.assertRaises(NotImplementedError, self.layer.registerProducer, _Paused(), False)

    def test_producer_after_the_end(self) -> None:
        wire = self.connect()
        self.client.shake()
        self.client.close()
        producer = _Paused()
        self.layer.registerProducer(producer, True)
        self.assertEqual(producer.calls, ["stop"])
        wire.lose()

    def test_loss_during_the_handshake(self) -> None:
        wire = self.connect()
        wire.feed(self.client.hello())
        wire.lose()
        self.assertIsInstance(self.above.lost[0].value, ConnectionLost)
        self.assertIsNone(self.layer.getHandle())

    def test_failed_handshake(self) -> None:
        """The protocol inside learns the error, and the client receives an alert."""
        wire = self.connect()
        wire.feed(b"\x16\x03\x01\x00\x05nonsense")
        self.assertGreater(len(wire.take()), 0)
        self.clock.advance(0)
        self.assertIsInstance(self.above.lost[0].value, SSL.Error)
        self.layer.write(b"nowhere")

    def test_close_in_the_middle_of_a_write(self) -> None:
        """A write ends if the transport below reports its loss meanwhile."""
        wire = self.connect()
        self.client.shake()
        wire.take()
        self.layer.transport = _Breaking(self.layer, wire)
        self.layer.write(bytes(1 << 18))
        self.assertEqual(self.layer.transport.writes, 2, "a part of the data, and an alert")

    def test_openssl_fails(self) -> None:
        """A session that cannot encrypt closes the connection."""
        wire = self.connect()
        self.client.shake()
        wire.take()
        self.layer.getHandle().shutdown()
        self.layer.write(b"after the closing alert")
        self.clock.advance(0)
        self.assertIsInstance(self.above.lost[0].value, SSL.Error)
        self.client.read()
        self.assertEqual((self.client.plain, self.client.closed), (b"", True))


class _Breaking:
    """A transport whose connection breaks in the first write."""

    def __init__(self, layer: TlsLayer, below: Wire) -> None:
        self.writes = 0
        self._layer = layer
        self._below = below

    def write(self, data: bytes) -> None:
        self.writes += 1
        if self.writes == 1:
            self._layer.connectionLost()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)
