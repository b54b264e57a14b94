"""Tests for L{egress.model.route}."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority, Origin, UpstreamProxy
from egress.model.route import Route

ORIGIN = Origin("http", Authority("example.com", 80))
UPSTREAM = UpstreamProxy("http", Authority("proxy.test", 3128))
SOCKS = UpstreamProxy("socks5", Authority("proxy.test", 1080))


class RouteTests(SynchronousTestCase):
    """Only an upstream proxy that reads requests receives whole URLs."""

    def test_absolute_form(self) -> None:
        for upstream, connect, expected in ((None, False, False), (UPSTREAM, True, False), (UPSTREAM, False, True)):
            with self.subTest(upstream=upstream, connect=connect):
                route = Route(ORIGIN, (), upstream, tls=False, connect=connect)
                self.assertEqual(route.absolute_form, expected)

    def test_known_addresses(self) -> None:
        addresses = (ip_address("192.0.2.1"), ip_address("192.0.2.2"))
        self.assertEqual(Route(ORIGIN, addresses, None, False, False).known_addresses, addresses)
        self.assertIsNone(Route(ORIGIN, (), UPSTREAM, False, False).known_addresses)
        literal = Origin("http", Authority("192.0.2.1", 80))
        self.assertEqual(Route(literal, (), UPSTREAM, False, False).known_addresses, addresses[:1])

    def test_an_upstream_proxy_that_receives_addresses(self) -> None:
        addresses = (ip_address("192.0.2.1"),)
        for upstream, known, looked_up in ((SOCKS, addresses, True), (UPSTREAM, None, False)):
            route = Route(ORIGIN, addresses if upstream is SOCKS else (), upstream, False, True)
            self.assertEqual((route.known_addresses, route.is_looked_up), (known, looked_up))

    def test_is_subset_of(self) -> None:
        one, other = ip_address("192.0.2.1"), ip_address("192.0.2.2")
        route = Route(ORIGIN, (one, other), None, False, False)
        for addresses in (None, (one, other), (other, one)):
            self.assertTrue(route.is_subset_of(addresses))
        for others in ((), (one,)):
            self.assertFalse(route.is_subset_of(others))
