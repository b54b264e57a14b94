"""Tests for L{egress.transport.lingering_close}."""

from __future__ import annotations

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from egress.transport.lingering_close import LINGER_BYTES, LINGER_SECONDS, LingeringClose
from egress.transport.tcp import SharedTransport
from tests.proxy.fakes import Wire

PATIENCE = 60.0


@implementer(IHalfCloseableProtocol)
class _Owner(Protocol):
    farewell: LingeringClose | None = None

    def begin(self, transport: object, clock: Clock) -> None:
        self.farewell = LingeringClose(transport, clock, PATIENCE)

    def dataReceived(self, data: bytes) -> None:
        assert self.farewell is not None
        self.farewell.data_received(data)

    def readConnectionLost(self) -> None:
        assert self.farewell is not None
        self.farewell.read_closed()

    def writeConnectionLost(self) -> None:
        assert self.farewell is not None
        self.farewell.write_closed()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        assert self.farewell is not None
        self.farewell.stop()


class FarewellTests(SynchronousTestCase):
    """The own direction ends first; what still comes is read, up to a bound."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.owner = _Owner()
        self.wire = Wire(self.clock).connect(self.owner)
        self.wire.polite = False

    def tearDown(self) -> None:
        self.wire.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def begin(self) -> None:
        self.owner.begin(SharedTransport(self.wire), self.clock)
        self.clock.advance(0)
        self.assertTrue(self.wire.write_closed)

    def test_the_peer_ends(self) -> None:
        self.begin()
        self.wire.feed(b"still sent")
        self.assertEqual((self.wire.undelivered, self.wire.disconnecting), (0, False))
        self.wire.end()
        self.assertTrue(self.wire.disconnected)
        self.assertFalse(self.wire.aborted)

    def test_the_peer_never_ends(self) -> None:
        self.begin()
        self.clock.advance(LINGER_SECONDS - 0.1)
        self.wire.feed(b"x")
        self.assertFalse(self.wire.aborted)
        self.clock.advance(0.1)
        self.assertTrue(self.wire.aborted)
        self.clock.advance(0)

    def test_the_peer_sends_too_much(self) -> None:
        self.begin()
        self.wire.feed(b"x" * LINGER_BYTES)
        self.assertFalse(self.wire.aborted)
        self.wire.feed(b"x")
        self.assertTrue(self.wire.aborted)
        self.clock.advance(0)

    def test_a_slow_peer_has_longer_for_the_answer(self) -> None:
        self.wire.registerProducer(_Producer(), True)
        self.wire.choke()
        self.begin()
        self.clock.advance(LINGER_SECONDS + 1)
        self.assertFalse(self.wire.aborted)
        self.wire.unchoke()
        self.clock.advance(LINGER_SECONDS)
        self.assertTrue(self.wire.aborted)
        self.clock.advance(0)


class _Producer:
    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


class _Layer:
    """A transport that cannot close one direction, as a TLS layer."""

    lost = False

    def loseConnection(self) -> None:
        self.lost = True


class LayerTests(SynchronousTestCase):
    """TLS ends with an alert of its own."""

    def test_closed_as_a_whole(self) -> None:
        layer = _Layer()
        LingeringClose(layer, Clock(), PATIENCE)
        self.assertTrue(layer.lost)
