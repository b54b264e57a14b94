"""Tests for L{egress.transport.tls}."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from egress.model.authority import Authority
from egress.transport.tls import MAX_RECORDS, Records, ServerTls, TlsFactory, TlsLayer
from tests.proxy.fakes import Wire
from tests.transport.reactors import Recorder
from tests.transport.tls import TlsClient, leaves


def record(kind: int, size: int) -> bytes:
    """A TLS record with content of a given length."""
    return bytes((kind, 3, 3, size >> 8, size & 255)) + b"x" * size


class RecordsTests(SynchronousTestCase):
    """Detection of reads that are exactly one record."""

    def test_table(self) -> None:
        one, empty, large = record(23, 300), record(23, 0), record(23, 16401)
        for reads, wanted in (
            ((one,), [True]),
            ((one, one, large), [True, True, True]),
            ((one + one,), [False]),
            ((one + one, one), [False, True]),
            ((one[:-1], one[-1:], one), [False, False, True]),
            ((one[:3], one[3:], one), [False, False, True]),
            ((one + one[:4], one[4:], one), [False, False, True]),
            ((one[:5], one[5:], one), [False, False, True]),
            ((one[:-1], one[-1:] + one, one), [False, False, True]),
            ((one[:1], one[1:2], one[2:], one), [False, False, False, True]),
            ((large[:9000], large[9000:] + one[:2], one[2:], one), [False, False, False, True]),
            # No record with content is this short.
            ((empty, one), [False, True]),
            ((one, b"", one), [True, False, True]),
        ):
            with self.subTest([len(read) for read in reads]):
                records = Records()
                self.assertEqual([records.is_single_record(read) for read in reads], wanted)

    @given(st.lists(st.integers(0, 700), max_size=12), st.lists(st.integers(1, 400)))
    def test_splits(self, sizes: list[int], cuts: list[int]) -> None:
        data = b"".join(record(23, size) for size in sizes)
        ends = {0}
        at = 0
        for size in sizes:
            at += 5 + size
            ends.add(at)
        records, at = Records(), 0
        for cut in [*cuts, len(data)]:
            read = data[at : at + cut]
            whole = records.is_single_record(read)
            if whole:
                self.assertTrue({at, at + len(read)} <= ends)
                self.assertFalse(any(at < end < at + len(read) for end in ends))
            at += len(read)

    def test_records_per_turn_are_limited(self) -> None:
        records, one = Records(), record(23, 20)
        data = one[7:] + one * (2 * MAX_RECORDS)
        self.assertFalse(records.is_single_record(one[:7]))
        self.assertFalse(records.is_single_record(data))
        self.assertEqual(records.taken, len(one) - 7 + MAX_RECORDS * len(one))
        self.assertFalse(records.is_single_record(data[records.taken :]))
        self.assertEqual(records.taken, MAX_RECORDS * len(one))
        self.assertTrue(records.is_single_record(one))


@implementer(IOpenSSLClientConnectionCreator)
class _Trusting:
    """Creates sessions of a client that verifies nothing."""

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)


class TlsFactoryTests(SynchronousTestCase):
    """TLS layers with the proxy's contexts, which write immediately."""

    def test_a_session(self) -> None:
        clock = Clock()
        above = Recorder()
        above.prepare(True, lambda: None, lambda _: None)
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
        above.prepare(True, lambda: None, lambda _: None)
        context = leaves().context_for(Authority("origin.test", 443))
        factory = TlsFactory(ServerTls(context), False, Factory.forProtocol(lambda: above), clock=clock)
        wire = Wire(clock).connect(factory.buildProtocol(None))
        client = TlsClient(wire)
        client.shake()
        return above, wire, client

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
        self.assertEqual(above.received.count(b","), MAX_RECORDS, "nobody takes more now")
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
        above.prepare(True, lambda: None, lambda _: None)
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

    def test_each_session_has_its_own_connection(self) -> None:
        tls = ServerTls(SSL.Context(SSL.TLS_SERVER_METHOD))
        first, second = (tls.serverConnectionForTLS(object()) for _ in range(2))  # type: ignore[arg-type]
        self.assertIsNot(first, second)
