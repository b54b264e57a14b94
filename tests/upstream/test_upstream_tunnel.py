"""Tests for L{egress.upstream.upstream_tunnel}."""

from __future__ import annotations

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from egress.http.connect_handshake import ConnectHandshake
from egress.model.authority import Authority, UpstreamProxy
from egress.model.errors import EgressError, UpstreamRefused, UpstreamUnreachable
from egress.upstream.upstream_tunnel import UpstreamTunnel
from tests.transport.reactors import Recorder


class UpstreamTunnelTests(SynchronousTestCase):
    """The inner protocol is connected when the tunnel is open, and not before."""

    def setUp(self) -> None:
        self.inner = Recorder()
        self.events: list[object] = []
        handshake = ConnectHandshake(
            UpstreamProxy("http", Authority("proxy.test", 3128)), Authority("origin.test", 443), 1024
        )
        self.tunnel = UpstreamTunnel(handshake, self.inner, self.opened, self.events.append)
        self.transport = StringTransport()
        self.tunnel.prepare(False, self.tunnel.send_connect, lambda _: None)
        self.tunnel.makeConnection(self.transport)

    def opened(self) -> None:
        """The tunnel is open."""
        self.events.append(("opened", self.inner.transport))

    def test_open(self) -> None:
        self.assertTrue(self.transport.value().startswith(b"CONNECT origin.test:443 HTTP/1.1\r\n"))
        self.assertEqual(self.events, [])
        self.tunnel.dataReceived(b"HTTP/1.1 200 OK\r\n\r\nhello")
        self.assertEqual(self.events, [("opened", None)], "the inner protocol was connected first")
        self.assertIs(self.inner.transport, self.transport)
        self.tunnel.dataReceived(b" again")
        self.assertEqual(self.inner.received, b"hello again")

    def test_failures(self) -> None:
        self.tunnel.dataReceived(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        self.tunnel.connectionLost()
        self.assertEqual([type(each) for each in self.events], [UpstreamRefused, UpstreamUnreachable])
        self.assertTrue(all(isinstance(each, EgressError) for each in self.events))
        self.assertIsNone(self.inner.transport)
