"""Tests for L{egress.transport.dialed}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.transport.dialed import DialedProtocol
from tests.proxy.fakes import Wire


class DialedProtocolTests(SynchronousTestCase):
    """L{DialedProtocol}; L{egress.upstream.connector} uses it with every layer."""

    def setUp(self) -> None:
        self.events: list[str] = []
        self.protocol = DialedProtocol()
        self.wire = Wire(Clock())

    def prepare(self, over_tls: bool) -> None:
        def lost(reason: Failure) -> None:
            self.events.append("lost")

        self.protocol.prepare(over_tls, lambda: self.events.append("ready"), lost)

    def test_never_prepared(self) -> None:
        """An unprepared protocol reports nothing."""
        self.wire.connect(self.protocol)
        self.wire.lose()
        self.assertEqual(self.events, [])

    def test_ready(self) -> None:
        """Over TCP the protocol is ready immediately, and does not report the later end."""
        self.prepare(over_tls=False)
        self.wire.connect(self.protocol)
        self.assertEqual(self.events, ["ready"])
        self.wire.lose()
        self.assertEqual(self.events, ["ready"])

    def test_ready_after_the_handshake(self) -> None:
        """Over TLS the handshake comes first."""
        self.prepare(over_tls=True)
        self.wire.connect(self.protocol)
        self.assertEqual(self.events, [])
        self.protocol.handshakeCompleted()
        self.assertEqual(self.events, ["ready"])

    def test_lost(self) -> None:
        """A connection that ends before it is ready is reported once."""
        self.prepare(over_tls=True)
        self.wire.connect(self.protocol)
        self.wire.lose()
        self.assertEqual(self.events, ["lost"])

    def test_rejected_certificate(self) -> None:
        """Twisted also reports a handshake whose certificate was rejected."""
        self.prepare(over_tls=True)
        self.wire.connect(self.protocol)
        self.wire.loseConnection()
        self.protocol.handshakeCompleted()
        self.assertNotIn("ready", self.events)
