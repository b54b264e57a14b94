"""Tests for L{egress.net.transport}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.net.transport import cut, no_delay
from tests.net.fakes import Wire


class _Cut:
    def __init__(self) -> None:
        self.cut = False

    def abortConnection(self) -> None:
        self.cut = True


class _Layer:
    def __init__(self, below: object) -> None:
        self.transport = below


class NoDelayTests(SynchronousTestCase):
    """Nagle's algorithm is turned off wherever TCP is."""

    def test_tcp(self) -> None:
        wire = Wire(Clock())
        no_delay(wire)
        self.assertTrue(wire.no_delay)

    def test_below_layers(self) -> None:
        wire = Wire(Clock())
        no_delay(_Layer(_Layer(wire)))
        self.assertTrue(wire.no_delay)

    def test_not_tcp(self) -> None:
        layer = _Layer(None)
        no_delay(layer)
        self.assertIsNone(layer.transport)


class CutTests(SynchronousTestCase):
    """Below TLS; L{tests.net.test_intercept} has the TLS."""

    def test_plain(self) -> None:
        transport = _Cut()
        cut(transport)
        self.assertTrue(transport.cut)
