"""Tests for L{egress.net.transport}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.net.transport import no_delay
from tests.net.fakes import Wire


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
