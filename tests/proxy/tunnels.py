"""Clients that open tunnels."""

from __future__ import annotations

from egress.proxy.tunnel_replies import ESTABLISHED
from tests.proxy.fakes import ProxyTestCase, request
from tests.transport.tls import TlsClient, TlsEnd, leaves


def connect(authority: str = "origin.test:443") -> bytes:
    """A CONNECT request."""
    return f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode()


def inner(path: str = "/a", *fields: str, method: str = "GET", host: str = "origin.test", body: bytes = b"") -> bytes:
    """A request inside a tunnel."""
    return request(method, path, *fields, host=host, body=body)


class InterceptTestCase(ProxyTestCase):
    """A proxy with a CA."""

    def setUp(self) -> None:
        self.build(leaves=leaves())

    def tunnel(self, authority: str = "origin.test:443") -> None:
        """Open a tunnel."""
        self.client.feed(connect(authority))
        self.assertEqual(self.client.take(), ESTABLISHED)

    def intercept(self, authority: str = "origin.test:443", server_name: str | None = "origin.test") -> TlsEnd:
        """Open a tunnel with a TLS session inside."""
        self.tunnel(authority)
        return TlsClient(self.client, server_name).shake()
