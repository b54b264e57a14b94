"""Tests for L{egress.transport.shared}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.transport.shared import SharedTransport, unshared
from tests.proxy.fakes import Wire


class SharedTransportTests(SynchronousTestCase):
    """It is the transport below, but for its producer."""

    def test_shared(self) -> None:
        wire = Wire(Clock())
        producer = object()
        wire.registerProducer(producer, True)
        shared = SharedTransport(wire)
        shared.registerProducer(object(), True)
        self.assertIs(wire.producer, producer)
        shared.write(b"x")  # type: ignore[operator]
        self.assertEqual(wire.take(), b"x")
        shared.unregisterProducer()
        self.assertIsNone(wire.producer)

    def test_unshared(self) -> None:
        wire = Wire(Clock())
        self.assertIs(unshared(SharedTransport(wire)), wire)
        self.assertIs(unshared(wire), wire)
