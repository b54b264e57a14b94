"""Tests for L{egress.net.factory}."""

from __future__ import annotations

from tests.net.fakes import ProxyTestCase, request, response, session_of


class ProxyFactoryTests(ProxyTestCase):
    """Each client has a session of its own, and all share the parts."""

    def test_sessions(self) -> None:
        other = self.connect()
        self.assertIsNot(session_of(self.client), session_of(other))
        self.assertEqual(len(self.proxy.parts.sessions), 2)
        for client in (self.client, other):
            client.feed(request())
            self.origin.feed(response())
        self.assertEqual(len(self.dialer.origins), 1, "the pool is shared")
