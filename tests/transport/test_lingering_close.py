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

TIMEOUT = 60.0


@implementer(IHalfCloseableProtocol)
class _Owner(Protocol):
    lingering: LingeringClose | None = None

    def begin(self, transport: object, clock: Clock) -> None:
        self.lingering = LingeringClose(transport, clock, TIMEOUT)

    def dataReceived(self, data: bytes) -> None:
        assert self.lingering is not None
        self.lingering.data_received(data)

    def readConnectionLost(self) -> None:
        assert self.lingering is not None
        self.lingering.read_closed()

    def writeConnectionLost(self) -> None:
        assert self.lingering is not None
        self.lingering.write_closed()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        assert self.lingering is not None
        self.lingering.stop()


class LingeringCloseTests(SynchronousTestCase):
    """The proxy's direction ends first; the peer's data is read up to a limit."""

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

    def test_a_slow_peer_has_more_time_for_the_response(self) -> None:
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
    """A transport that cannot close one direction, like a TLS layer."""

    lost = False

    def loseConnection(self) -> None:
        self.lost = True


class LayerTests(SynchronousTestCase):
    """A TLS layer ends with its own closing alert."""

    def test_closed_as_a_whole(self) -> None:
        layer = _Layer()
        LingeringClose(layer, Clock(), TIMEOUT)
        self.assertTrue(layer.lost)
