"""Tests for L{egress.proxy.addressed_session}; see also the sessions that are based on it."""

from __future__ import annotations

from twisted.internet.address import IPv4Address

from egress.model.authority import Authority
from egress.proxy.client_auth import ANONYMOUS
from egress.proxy.session_state import FIRST_REQUEST_SECONDS
from egress.proxy.transparent import TransparentSession
from tests.proxy.fakes import ProxyTestCase, Wire, request, response, status_of
from tests.proxy.http2_client import Http2Client
from tests.proxy.http2_listener import PlainEnd
from tests.proxy.tunnels import inner
from tests.transport.tls import TlsClient, leaves


class AddressedTests(ProxyTestCase):
    """The first bytes of a connection to an address."""

    def setUp(self) -> None:
        self.build(leaves=leaves())

    def connected(self) -> Wire:
        """Connect a client."""
        session = TransparentSession(
            self.proxy.parts,
            auth_policy=ANONYMOUS,
            find_original=lambda _: Authority("203.0.113.9", 443),
            names=None,
        )
        self.proxy.parts.sessions.accept(session, "198.51.100.8")
        wire = Wire(self.clock, IPv4Address("TCP", "198.51.100.8", 40000))
        self.clients.append(wire)
        return wire.connect(session)

    def test_tls(self) -> None:
        TlsClient(self.connected(), "origin.test").shake().send(inner())
        self.assertEqual(self.authorizer.asked[0].url, "https://origin.test/a")
        self.assertEqual(self.dialer.looked_up, ["origin.test"])

    def test_http(self) -> None:
        client = self.connected()
        client.feed(request(url="/a", host="origin.test:443"))
        self.origin.feed(response())
        self.assertEqual(status_of(client.take()), 200)
        self.assertEqual(self.authorizer.asked[0].url, "http://origin.test:443/a")

    def test_http2(self) -> None:
        """Requests name their hosts, as with HTTP/1."""
        self.authorizer.needs_body = False
        http2 = Http2Client(PlainEnd(self.connected()))  # type: ignore[arg-type]
        stream = http2.request(scheme="http", authority="origin.test:443")
        self.origin.feed(response())
        http2.read()
        self.assertEqual(http2.status(stream), 200)
        self.assertEqual(self.authorizer.asked[0].url, "http://origin.test:443/a")
        self.assertEqual(http2.status(http2.request(scheme="http", authority="origin.test:80")), 421)

    def test_another_protocol(self) -> None:
        client = self.connected()
        client.feed(b"\0\0hello")
        self.assertTrue(client.aborted)
        self.assertEqual(self.outcomes(), ["tunnel-protocol-unknown"])

    def test_shutdown(self) -> None:
        """A request may be on the way, so the connection is not closed immediately."""
        client = self.connected()
        self.proxy.parts.sessions.drain()
        self.clock.advance(FIRST_REQUEST_SECONDS / 2)
        self.assertFalse(client.disconnected)
        self.clock.advance(FIRST_REQUEST_SECONDS)
        self.clock.advance(0)
        self.assertTrue(client.disconnected)
        self.assertEqual(self.outcomes(), ["tunnel-without-request"])
