"""Tests for L{egress.proxy.http2_session}."""

from __future__ import annotations

from egress.config.model import Limits
from tests.proxy.fakes import response
from tests.proxy.http2_client import Http2TestCase
from tests.transport.tls import TlsClient, leaves


class NegotiationTests(Http2TestCase):
    """The protocol that a client selects in the TLS handshake."""

    def test_http1_remains(self) -> None:
        """A client that does not offer HTTP/2 has a session as before."""
        self.client = self.connect()
        tls = self.intercept()
        tls.send(b"GET /a HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        self.assertTrue(self.origin.take().startswith(b"GET /a HTTP/1.1\r\n"))

    def test_the_settings(self) -> None:
        self.assertEqual(self.http2.h2.remote_settings.max_concurrent_streams, 100)
        self.assertEqual(self.http2.h2.remote_settings.max_header_list_size, Limits().head)
        self.assertFalse(self.http2.h2.remote_settings.enable_push)


class EndTests(Http2TestCase):
    """The end of a connection."""

    def test_idle(self) -> None:
        self.http2.request()
        self.origin.feed(response())
        self.clock.advance(76)
        self.http2.read()
        self.assertEqual(self.http2.goodbye, (0, 1))
        self.assertTrue(self.http2.tls.read().closed)

    def test_unused(self) -> None:
        self.clock.advance(31)
        self.http2.read()
        self.assertEqual(self.http2.goodbye, (0, 0))

    def test_shutdown(self) -> None:
        """Streams end before the connection."""
        self.http2.request()
        self.proxy.parts.sessions.drain()
        self.http2.read()
        self.assertEqual(self.http2.goodbye, (0, 1))
        self.origin.feed(response())
        self.clock.advance(0)
        self.assertIn(b"hello", self.http2.tls.take())
        self.assertTrue(self.http2.tls.closed)

    def test_a_goodbye_of_the_client(self) -> None:
        """The streams that are open end before the connection."""
        self.http2.request()
        self.http2.h2.close_connection()
        self.http2.flush()
        self.origin.feed(response())
        self.assertIn(b"hello", self.http2.tls.take())
        self.assertTrue(self.http2.tls.read().closed)

    def test_no_http2(self) -> None:
        self.client = self.connect()
        self.tunnel()
        tls = TlsClient(self.client, protocols=[b"h2"]).shake()
        tls.send(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        self.assertTrue(tls.closed)

    def test_timeouts_of_exchanges(self) -> None:
        self.build(leaves=leaves(), limits=Limits(response_timeout=10))
        self.authorizer.needs_body = False
        self.start()
        one = self.http2.request("/one")
        self.clock.advance(5)
        two = self.http2.request("/two")
        self.clock.advance(6)
        self.http2.read()
        self.assertEqual((self.http2.status(one), self.http2.status(two)), (504, 0))
        self.clock.advance(5)
        self.http2.read()
        self.assertEqual(self.http2.status(two), 504)
