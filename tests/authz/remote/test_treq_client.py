"""Tests for L{egress.authz.remote.treq_client}."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.remote.treq_client import TreqClient
from egress.model.authority import Authority, Origin
from egress.tls.origin_trust import OriginTrust
from egress.tls.reloadable_trust import ReloadableTrust


class _Transport(StringTransport):
    def setTcpNoDelay(self, enabled: bool) -> None:
        """See C{ITCPTransport}."""


class TreqClientTests(SynchronousTestCase):
    """Calls of one server."""

    def client(self, scheme: str, **settings: Any) -> TreqClient:
        self.reactor = MemoryReactorClock()
        reactor: Any = self.reactor
        origin = Origin(scheme, Authority("a.test", 7000))
        endpoint = TCP4ClientEndpoint(reactor, "192.0.2.1", 7000)
        trust = ReloadableTrust(OriginTrust())
        client = TreqClient(reactor, endpoint, origin, trust, timeout=5.0, **settings)
        self.addCleanup(client.close)
        return client

    def accept(self) -> tuple[Any, StringTransport]:
        factory: Any = self.reactor.tcpClients[-1][2]
        protocol = factory.buildProtocol(None)
        transport = _Transport()
        protocol.makeConnection(transport)
        return protocol, transport

    def test_clear_text(self) -> None:
        client = self.client("http")
        call: Deferred[Any] = client.http.get("http://a.test:7000/x")
        protocol, transport = self.accept()
        self.assertTrue(transport.value().startswith(b"GET /x HTTP/1.1\r\n"))
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual(self.successResultOf(self.successResultOf(call).content()), b"ok")
        transport.clear()
        client.http.get("http://a.test:7000/y")
        # A server does not store anything here.
        self.assertNotIn(b"cookie", transport.value().lower())

    def test_max_body(self) -> None:
        client = self.client("http", max_body=1)
        call: Deferred[Any] = client.http.get("http://a.test:7000/x")
        protocol, _ = self.accept()
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.failureResultOf(call)

    def test_tls(self) -> None:
        client = self.client("https")
        client.probe().addErrback(lambda _: None)
        _, transport = self.accept()
        # A handshake record with a ClientHello (RFC 8446 section 5.1).
        self.assertEqual(transport.value()[:2], b"\x16\x03")

    def test_description(self) -> None:
        self.assertEqual(self.client("http").describe(Failure(defer.TimeoutError())), "no response within 5 s")
