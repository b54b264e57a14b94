"""Tests for L{egress.transport.tls_endpoint}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from egress.model.authority import Authority
from egress.tls.origin_trust import OriginTrust
from egress.transport.tls_endpoint import TlsEndpoint


@implementer(IStreamClientEndpoint)
class Endpoint:
    """An endpoint that connects at once."""

    def __init__(self) -> None:
        self.transport = StringTransport()

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        protocol = protocolFactory.buildProtocol(None)
        protocol.makeConnection(self.transport)
        return succeed(protocol)


class TlsEndpointTests(SynchronousTestCase):
    """A TLS session begins on the connection of the inner endpoint."""

    def test_connect(self) -> None:
        inner = Endpoint()
        endpoint = TlsEndpoint(Clock(), OriginTrust().connection_creator(Authority("a.test", 443)), inner)
        verifyObject(IStreamClientEndpoint, endpoint)
        protocol: Any = self.successResultOf(endpoint.connect(Factory.forProtocol(Protocol)))
        self.assertIsInstance(protocol, Protocol)
        # A handshake record with a ClientHello (RFC 8446 section 5.1), and nothing in clear text.
        self.assertEqual(inner.transport.value()[:2], b"\x16\x03")
        before = len(inner.transport.value())
        protocol.transport.write(b"secret")
        self.assertEqual(len(inner.transport.value()), before)
