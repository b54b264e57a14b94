"""Tests for L{egress.transport.tls}."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.transport.tls import ServerTls, TlsFactory
from egress.transport.tls_layer import TlsLayer


class _Inner(ServerFactory):
    """Records its start and stop, and builds no protocol for one address."""

    noisy = False

    def __init__(self) -> None:
        self.calls: list[str] = []

    def startFactory(self) -> None:
        self.calls.append("start")

    def stopFactory(self) -> None:
        self.calls.append("stop")

    def buildProtocol(self, addr: object) -> Any:
        return None if addr == "rejected" else Protocol()


class TlsFactoryTests(SynchronousTestCase):
    """The factory of TLS layers."""

    def test_layers(self) -> None:
        inner = _Inner()
        factory = TlsFactory(ServerTls(SSL.Context(SSL.TLS_SERVER_METHOD)), False, inner, clock=Clock())
        factory.doStart()
        self.assertIs(type(factory.buildProtocol(None)), TlsLayer)
        rejected: Any = "rejected"
        self.assertIsNone(factory.buildProtocol(rejected))
        factory.doStop()
        self.assertEqual(inner.calls, ["start", "stop"])


class ServerTlsTests(SynchronousTestCase):
    """The creator of sessions."""

    def test_each_session_has_its_own_connection(self) -> None:
        tls = ServerTls(SSL.Context(SSL.TLS_SERVER_METHOD))
        first, second = (tls.serverConnectionForTLS(object()) for _ in range(2))
        self.assertIsNot(first, second)
