"""Tests for L{egress.model.route}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority, Origin, UpstreamProxy
from egress.model.route import Route

ORIGIN = Origin("http", Authority("example.com", 80))
UPSTREAM = UpstreamProxy("http", Authority("proxy.test", 3128))


class RouteTests(SynchronousTestCase):
    """Only an upstream proxy that reads requests gets whole URLs."""

    def test_absolute_form(self) -> None:
        for upstream, connect, expected in ((None, False, False), (UPSTREAM, True, False), (UPSTREAM, False, True)):
            with self.subTest(upstream=upstream, connect=connect):
                route = Route(ORIGIN, (), upstream, tls=False, connect=connect)
                self.assertEqual(route.absolute_form, expected)
