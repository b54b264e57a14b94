"""Tests for L{egress.upstream.http2_output}."""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.http2.engine import Engine, EngineSettings
from egress.testing.transport import MemoryTransport
from egress.upstream.http2_output import MAX_UNSENT, Http2Output


class Http2OutputTests(SynchronousTestCase):
    """Frames are written as far as the transport takes them."""

    def setUp(self) -> None:
        self.engine = Engine(client=True, settings=EngineSettings(1000))
        self.resumed = 0
        self.output = Http2Output(self.engine, self.resume)
        self.transport = MemoryTransport(Clock())
        self.output.connect(self.transport)
        self.engine.begin()

    def resume(self) -> None:
        self.resumed += 1

    def test_producer(self) -> None:
        verifyObject(IPushProducer, self.output)
        self.assertIs(self.transport.producer, self.output)
        self.output.stopProducing()

    def test_flush(self) -> None:
        self.assertEqual(self.output.flush(), [])
        self.assertTrue(self.transport.take().startswith(b"PRI * HTTP/2.0"))
        stream = self.engine.open([(b":method", b"POST")], end=False)
        self.engine.send_data(stream, b"abc")
        self.assertEqual(self.output.flush(), [stream])
        self.assertTrue(self.transport.take().endswith(b"abc"))
        self.assertEqual(self.output.flush(), [])
        self.assertEqual(self.transport.take(), b"")

    def test_backpressure(self) -> None:
        self.transport.choke()
        self.assertEqual((self.output.flush(), self.transport.take(), self.resumed), ([], b"", 0))
        self.transport.unchoke()
        self.assertEqual(self.resumed, 1)
        self.output.flush()
        self.assertNotEqual(self.transport.take(), b"")

    def test_flood(self) -> None:
        self.output.flush()
        self.transport.choke()
        for _ in range(MAX_UNSENT // 17 + 1):
            self.assertFalse(self.output.is_flooded)
            self.engine.ping(b"12345678")
        self.assertTrue(self.output.is_flooded)
        self.transport.unchoke()
        self.assertFalse(self.output.is_flooded)
