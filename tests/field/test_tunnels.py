"""CONNECT requests, and requests inside their tunnels.

Reports of this class: ninenines/cowboy#462 and mitmproxy/mitmproxy#7019 (CONNECT without Host), nodejs/undici#1805 and
nodejs/llhttp#411 (the method C{patch}), qwj/python-proxy#151 and libgit2/libgit2#6022 (a Host that is the proxy's).
"""

from __future__ import annotations

from tests.proxy.fakes import ProxyTestCase, response, status_of

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class ConnectTests(ProxyTestCase):
    """The destination of a tunnel is the target of its CONNECT, not its Host."""

    def test_without_host(self) -> None:
        self.client.feed(b"CONNECT origin.test:80 HTTP/1.1\r\n\r\n")
        self.assertEqual(self.client.take(), ESTABLISHED)

    def test_every_other_request_without_host_is_rejected(self) -> None:
        for method in (b"GET", b"connect", b"OPTIONS", b"CONNECT2"):
            with self.subTest(method):
                self.setUp()
                self.client.feed(method + b" http://origin.test/ HTTP/1.1\r\n\r\n")
                self.assertEqual(status_of(self.client.take()), 400)

    def test_inside_a_tunnel_host_is_required(self) -> None:
        self.client.feed(b"CONNECT origin.test:80 HTTP/1.1\r\n\r\n")
        self.client.take()
        self.client.feed(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual((status_of(self.client.take()), self.authorizer.asked), (400, []))

    def test_a_host_that_is_the_proxy_changes_nothing(self) -> None:
        self.client.feed(b"CONNECT origin.test:80 HTTP/1.1\r\nHost: proxy.test:8080\r\n\r\n")
        self.client.take()
        self.client.feed(b"GET / HTTP/1.1\r\nHost: proxy.test:8080\r\n\r\n")
        self.assertEqual((status_of(self.client.take()), self.authorizer.asked), (421, []))
        self.assertEqual(self.dialer.origins, [])


class MethodTests(ProxyTestCase):
    """Methods are case-sensitive tokens (RFC 9110 section 9.1), inside a plain-text tunnel as well."""

    def test_methods(self) -> None:
        for method in (b"patch", b"PATCH", b"M-SEARCH", b"x.y", b"Get", b"0"):
            with self.subTest(method):
                self.setUp()
                self.client.feed(b"CONNECT origin.test:80 HTTP/1.1\r\n\r\n")
                self.client.take()
                self.client.feed(method + b" /x HTTP/1.1\r\nHost: origin.test\r\n\r\n")
                self.assertTrue(self.origin.take().startswith(method + b" /x HTTP/1.1\r\n"))
                self.assertEqual(self.authorizer.asked[0].method, method.decode("ascii"))
                self.origin.feed(response())
                self.assertEqual(status_of(self.client.take()), 200)

    def test_ssh_is_not_a_method(self) -> None:
        self.client.feed(b"CONNECT origin.test:22 HTTP/1.1\r\n\r\n")
        self.client.take()
        self.client.feed(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
        self.assertEqual((self.client.take(), self.client.disconnected), (b"", True))
