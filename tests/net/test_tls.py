"""Tests for L{egress.net.tls}."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.net.tls import ServerTls, TlsFactory, TlsLayer
from tests.net.fakes import Wire
from tests.net.reactors import Recorder
from tests.net.tls import TlsClient, leaves


class TlsFactoryTests(SynchronousTestCase):
    """TLS layers on our contexts, which write at once."""

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
        self.assertEqual(clock.getDelayedCalls(), [], "nothing waits for a turn of the reactor")
        self.assertEqual(client.take(), b"answer")
        wire.lose()

    def test_each_session_has_its_own_connection(self) -> None:
        tls = ServerTls(SSL.Context(SSL.TLS_SERVER_METHOD))
        first, second = (tls.serverConnectionForTLS(object()) for _ in range(2))  # type: ignore[arg-type]
        self.assertIsNot(first, second)
