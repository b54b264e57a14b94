"""Tests for L{egress.proxy.proxy_protocol}."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from egress.config.model import Limits
from egress.proxy.proxy_protocol import ProxyProtocolFactory
from egress.proxy.session_state import FIRST_REQUEST_SECONDS
from egress.proxy.socks_session import SocksFactory
from egress.transport.tls import ServerTls, TlsFactory
from tests.certificates import TestCA
from tests.http.test_proxy_header import V1, V4, V6, v2, with_checksum
from tests.proxy.fakes import ProxyTestCase, Wire, deny, request, status_of
from tests.socks.test_requests import connect, greeting
from tests.transport.tls import TlsClient, presenting

BALANCER = IPv4Address("TCP", "192.0.2.1", 50000)


class ProxyProtocolTests(ProxyTestCase):
    """Clients behind a load balancer."""

    def build(self, **options: Any) -> None:
        super().build(**options)
        self.balanced = ProxyProtocolFactory(self.proxy.parts, self.proxy.factory)

    def accept(self) -> Wire:
        wire = Wire(self.clock, BALANCER).connect(self.balanced.buildProtocol(BALANCER))
        self.clients.append(wire)
        return wire

    def test_clients(self) -> None:
        """Records have the address in the header, and decisions depend on it."""
        for header, address, port in (
            (V1, "198.51.100.7", 40000),
            (V4, "198.51.100.7", 40000),
            (V6, "2001:db8::7", 40001),
        ):
            with self.subTest(header):
                self.authorizer.answers = [deny()]
                client = self.accept()
                client.feed(header + request())
                self.assertEqual(status_of(client.take()), 403)
                self.assertEqual((self.records[-1].client.address, self.records[-1].client.port), (address, port))

    def test_pieces(self) -> None:
        self.authorizer.answers = [deny()]
        client = self.accept()
        for at in range(len(V4)):
            client.feed(V4[at : at + 1])
        self.assertEqual(self.proxy.parts.sessions.count_for("198.51.100.7"), 2)
        client.feed(request())
        self.assertEqual(status_of(client.take()), 403)

    def test_health_check(self) -> None:
        """A load balancer that names no client is the client."""
        self.authorizer.answers = [deny()]
        client = self.accept()
        client.feed(v2(0x00, b"", command=0x20) + request())
        self.assertEqual(status_of(client.take()), 403)
        self.assertEqual(self.records[-1].client.address, "192.0.2.1")

    def test_limit_of_one_client(self) -> None:
        """It applies to the client, and not to the load balancer."""
        self.build(limits=Limits(connections_per_client=1))
        self.client.lose()
        one, two, other = self.accept(), self.accept(), self.accept()
        for client, header in ((one, V4), (two, V1), (other, V6)):
            client.feed(header)
        self.assertEqual(status_of(two.take()), 429)
        self.assertEqual((one.take(), other.take()), (b"", b""))

    def test_balancers(self) -> None:
        """Only they can name clients."""
        networks = (ip_network("192.0.2.0/30"), ip_network("2001:db8::1"))
        self.balanced = ProxyProtocolFactory(self.proxy.parts, self.proxy.factory, networks)
        kinds = {4: IPv4Address, 6: IPv6Address}
        for version, host, expected in (
            (4, "192.0.2.3", True),
            (4, "192.0.2.4", False),
            (6, "::ffff:192.0.2.1", True),
            (6, "::ffff:192.0.2.9", False),
            (6, "2001:db8::1", True),
            (6, "2001:db8::2", False),
        ):
            built = self.balanced.buildProtocol(kinds[version]("TCP", host, 50000))
            self.assertEqual(built is not None, expected, host)
        self.assertIsNone(self.balanced.buildProtocol(UNIXAddress(None)))
        self.assertEqual(self.proxy.parts.sessions.rejected, 4)

    def test_socks(self) -> None:
        """The header precedes the messages of the client, also in one read."""
        self.balanced = ProxyProtocolFactory(self.proxy.parts, SocksFactory(self.proxy.parts))
        self.authorizer.answers = [deny()]
        client = self.accept()
        client.feed(V4 + greeting(0) + connect(b"origin.test", 80) + request(url="/a"))
        self.assertTrue(client.take().startswith(b"\x05\x00\x05\x00"))
        self.assertEqual(self.records[-1].client.address, "198.51.100.7")

    def test_tls(self) -> None:
        """The header precedes the TLS handshake."""
        context = TestCA().issue("proxy.test").server_context()
        self.balanced = ProxyProtocolFactory(
            self.proxy.parts, TlsFactory(ServerTls(context), False, self.proxy.factory, clock=self.clock)
        )
        self.authorizer.answers = [deny()]
        client = self.accept()
        client.feed(with_checksum(b""))
        tls = TlsClient(client, "proxy.test", context=presenting(None)).shake()
        self.assertEqual(status_of(tls.send(request()).take()), 403)
        self.assertEqual(self.records[-1].client.address, "198.51.100.7")

    def test_no_header(self) -> None:
        client = self.accept()
        client.feed(request())
        self.clock.advance(0)
        self.assertTrue(client.aborted)
        self.assertEqual((self.records, self.authorizer.asked), ([], []))
        self.assertEqual(self.proxy.parts.sessions.rejected, 1)

    def test_timeout(self) -> None:
        client = self.accept()
        client.feed(V4[:5])
        self.clock.advance(self.proxy.limits.head_timeout)
        self.clock.advance(0)
        self.assertTrue(client.aborted)

    def test_too_many(self) -> None:
        """Connections without a header are limited, too."""
        self.balanced._context = attrs.evolve(self.proxy.parts, limits=Limits(connections=1, connections_per_client=1))  # noqa: SLF001
        first = self.accept()
        self.assertIsNone(self.balanced.buildProtocol(BALANCER))
        first.lose()
        self.accept()

    def test_drain(self) -> None:
        """A header, and a request, may be on the way."""
        self.client.lose()
        fast, slow = self.accept(), self.accept()
        self.proxy.parts.sessions.draining = True
        drained = self.proxy.parts.sessions.drain()
        self.authorizer.answers = [deny()]
        fast.feed(V4 + request())
        self.assertEqual(status_of(fast.take()), 403)
        self.assertNoResult(drained)
        self.clock.advance(FIRST_REQUEST_SECONDS)
        self.clock.advance(0)
        self.assertTrue(slow.aborted)
        self.successResultOf(drained)
