"""Clients that close a tunnel without a request.

With a pinned certificate C{mitmproxy/mitmproxy#1986} and C{mitmproxy/mitmproxy#4678}; in the second, a version did not
log it.
"""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.error import ConnectionLost

from tests.proxy.fakes import request
from tests.proxy.tunnels import InterceptTestCase
from tests.transport.tls import TlsClient, client_context


class ClientsThatLeaveTests(InterceptTestCase):
    """There is one record for each CONNECT that never carried a request."""

    def one(self, outcome: str, *words: str) -> None:
        """Check the only record."""
        self.clock.advance(0)
        (record,) = self.records
        self.assertEqual(
            (record.outcome, record.method, record.url, record.stage),
            (outcome, "CONNECT", "https://origin.test", "tunnel"),
        )
        for word in words:
            self.assertIn(word, record.reason)
        self.assertEqual((self.authorizer.asked, self.dialer.checked), ([], []))

    def session(self, *protocols: bytes, version: int | None = None) -> TlsClient:
        context = client_context()
        if version is not None:
            context.set_max_proto_version(version)
        self.tunnel()
        client = TlsClient(self.client, context=context, protocols=protocols)
        client.shake()
        return client

    def test_closed_after_the_handshake(self) -> None:
        """As clients do that check for a pin, or for a stapled status."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            self.setUp()
            self.session(version=version).close()
            self.one(
                "tunnel-without-request",
                "no request after the TLS handshake",
                "was closed",
                "--passthrough origin.test",
            )

    def test_aborted_after_the_handshake(self) -> None:
        self.session(b"http/1.1")
        self.client.lose(ConnectionLost())
        self.one("tunnel-without-request", "was lost", "it offered the protocols http/1.1")

    def test_incomplete_request(self) -> None:
        self.session().send(b"GET / HT")
        self.client.lose(ConnectionLost())
        self.one("tunnel-without-request", "no request")

    def test_http_2_only(self) -> None:
        """As gRPC does."""
        self.session(b"h2").close()
        self.one("tunnel-without-request", "--passthrough origin.test", "it offered the protocols h2")

    def test_idle(self) -> None:
        self.session()
        self.clock.advance(30)
        self.clock.advance(75)
        self.client.lose()
        self.one("tunnel-without-request", "no request after the TLS handshake")

    def test_alerts_in_the_handshake(self) -> None:
        """A client that does not trust the CA sends an alert."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            self.setUp()
            context = client_context(trusting=False)
            context.set_max_proto_version(version)
            self.tunnel()
            client = TlsClient(self.client, context=context, protocols=[b"h2", b"http/1.1"])
            self.assertRaises(SSL.Error, client.shake)
            self.one(
                "client-tls-failed",
                "with the alert unknown_ca; check that this client trusts the proxy's CA.",
                "--passthrough origin.test",
                "it offered the protocols h2, http/1.1",
            )

    def test_no_shared_cipher(self) -> None:
        context = client_context()
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(b"DHE-RSA-AES128-GCM-SHA256")
        self.tunnel()
        client = TlsClient(self.client, context=context, protocols=[b"h2"])
        self.assertRaises(SSL.Error, client.shake)
        self.one("client-tls-failed", "no shared cipher", "it offered the protocols h2")

    def test_an_old_version(self) -> None:
        self.tunnel()
        # A ClientHello of TLS 1.1, which this OpenSSL may be unable to send.
        hello = b"\x03\x02" + bytes(32) + b"\x00" + b"\x00\x02\xc0\x13" + b"\x01\x00"
        self.client.feed(
            b"\x16\x03\x01" + (len(hello) + 4).to_bytes(2, "big") + b"\x01\x00\x00" + bytes([len(hello)]) + hello
        )
        self.one("client-tls-failed", "unsupported protocol")

    def test_before_the_handshake(self) -> None:
        """As clients do that open connections in advance."""
        self.tunnel()
        self.client.lose()
        self.one("tunnel-without-request", "no request in the tunnel")

    def test_plain_http(self) -> None:
        self.tunnel()
        self.client.feed(b"GET / HTTP/1.1\r\n")
        self.client.lose()
        self.one("tunnel-without-request", "no request in the tunnel")

    def test_a_request_has_the_record(self) -> None:
        """When there was a request, the tunnel has no record of its own."""
        client = self.session()
        client.send(request("GET", "/a", host="other.test"))
        client.close()
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), ["misdirected-request"])

    def test_an_invalid_request_has_the_record(self) -> None:
        """For example HTTP/2 in clear text."""
        client = self.session(b"h2")
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        client.close()
        self.clock.advance(0)
        self.assertEqual(len(self.outcomes()), 1)
