"""Tests for L{egress.testing.transport}; the tests of the proxy use the rest of it."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.testing.transport import MemoryTransport


class Recorder(Protocol):
    """Records the data, and the end."""

    def __init__(self) -> None:
        self.data = b""
        self.lost: list[Any] = []

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if data == b"fail":
            raise KeyError(data)

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self.lost.append(reason.type)


class MemoryTransportTests(SynchronousTestCase):
    """It behaves like the transports of Twisted."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.protocol = Recorder()
        self.wire = MemoryTransport(self.clock).connect(self.protocol)

    def test_data(self) -> None:
        self.wire.feed(b"in")
        self.wire.writeSequence([b"o", b"ut"])
        self.assertEqual((self.protocol.data, self.wire.take(), self.wire.take()), (b"in", b"out", b""))
        self.assertRaises(TypeError, self.wire.write, "text")

    def test_paused(self) -> None:
        self.wire.pauseProducing()
        self.wire.feed(b"in")
        self.assertEqual((self.protocol.data, self.wire.undelivered), (b"", 2))
        self.wire.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(self.protocol.data, b"in")

    def test_ends(self) -> None:
        """The end is reported in a later turn."""
        self.wire.loseConnection()
        self.assertEqual(self.protocol.lost, [])
        self.clock.advance(0)
        self.wire.write(b"late")
        self.assertEqual((self.protocol.lost, self.wire.written), ([ConnectionDone], b""))
        self.setUp()
        self.wire.abortConnection()
        self.clock.advance(0)
        self.assertEqual(self.protocol.lost, [ConnectionAborted])
        self.setUp()
        self.wire.end()
        self.assertEqual(self.protocol.lost, [ConnectionDone])

    def test_exception(self) -> None:
        """An exception in a protocol ends its connection."""
        self.wire.feed(b"fail")
        self.assertEqual(self.protocol.lost, [KeyError])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_addresses(self) -> None:
        self.assertEqual(self.wire.getPeer(), IPv4Address("TCP", "198.51.100.7", 40000))
        self.assertEqual(self.wire.getHost().port, 8080)
        self.assertRaises(NotImplementedError, self.wire.setTcpKeepAlive, True)
        self.assertRaises(NotImplementedError, self.wire.getTcpKeepAlive)
        self.wire.setTcpNoDelay(True)
        self.assertTrue(self.wire.getTcpNoDelay())
