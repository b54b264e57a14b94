"""Tests for L{egress.proxy.proxy_protocol}."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.address import IPv4Address

from egress.config.model import Limits
from egress.proxy.proxy_protocol import ProxyProtocolFactory
from egress.proxy.session_state import FIRST_REQUEST_SECONDS
from tests.http.test_proxy_header import V1, V4, V6, v2
from tests.proxy.fakes import ProxyTestCase, Wire, deny, request, status_of

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

    def test_no_header(self) -> None:
        client = self.accept()
        client.feed(request())
        self.clock.advance(0)
        self.assertTrue(client.aborted)
        self.assertEqual((self.records, self.authorizer.asked), ([], []))

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
