"""Tests for L{egress.observability.client_pages}."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.config.listener import Listener
from egress.observability.client_pages import ClientPages
from egress.observability.health import ops_site
from egress.observability.metrics import Metrics
from tests.observability.browser import Browser

EVERYWHERE = IPv4Address("TCP", "0.0.0.0", 8080)
LOOPBACK = IPv4Address("TCP", "127.0.0.1", 8081)
PEM = b"-----BEGIN CERTIFICATE-----\n"


class ClientPagesTests(SynchronousTestCase):
    """The pages of the metrics port."""

    def get(
        self,
        path: str,
        listen: Sequence[str] = ("tcp:8080",),
        addresses: Sequence[IAddress] = (EVERYWHERE,),
        result: Deferred[tuple[IAddress, ...]] | None = None,
        host: str | None = "metrics.test:9090",
    ) -> tuple[int, dict[str, str], str]:
        """Request a page."""
        listening = succeed(tuple(addresses)) if result is None else result
        pages = ClientPages(tuple(map(Listener.parse, listen)), lambda: listening, lambda: PEM)
        browser = Browser(ops_site(Clock(), Metrics(), {}, pages.routes()))
        field = "" if host is None else f"Host: {host}\r\n"
        browser.channel.dataReceived(f"GET {path} HTTP/1.1\r\n{field}\r\n".encode())
        status, fields, body = browser.answer()
        return status, fields, body.decode()

    def proxy(
        self,
        path: str = "/proxy.pac",
        listen: Sequence[str] = ("tcp:8080",),
        addresses: Sequence[IAddress] = (EVERYWHERE,),
        host: str = "metrics.test:9090",
    ) -> str:
        """Return the proxy in the file."""
        status, fields, body = self.get(path, listen, addresses, host=host)
        self.assertEqual((status, fields["content-type"]), (200, "application/x-ns-proxy-autoconfig"))
        return body.partition('var proxy = "')[2].partition('"')[0]

    def test_ca(self) -> None:
        status, fields, body = self.get("/ca.pem")
        self.assertEqual((status, fields["content-type"], body), (200, "application/x-pem-file", PEM.decode()))

    def test_the_address_of_the_listener(self) -> None:
        """A listener on all addresses is reached as the metrics port is."""
        for listen, addresses, expected in (
            (("tcp:8080",), (EVERYWHERE,), "PROXY metrics.test:8080"),
            (("tcp6:8080",), (IPv6Address("TCP", "::", 8080),), "PROXY metrics.test:8080"),
            (("tcp:8081",), (LOOPBACK,), "PROXY 127.0.0.1:8081"),
            (("ssl:8443",), (EVERYWHERE,), "HTTPS metrics.test:8080"),
            (
                ("unix:/run/a", "tcp:1:transparent=yes", "haproxy:tcp:2", "tcp:3:socks5=yes"),
                (UNIXAddress(b"/run/a"), LOOPBACK, LOOPBACK, EVERYWHERE),
                "PROXY metrics.test:8080",
            ),
        ):
            with self.subTest(listen):
                self.assertEqual(self.proxy("/proxy.pac", listen, addresses), expected)
        for host, expected in (("[2001:db8::1]:9090", "[2001:db8::1]"), ("Metrics.Test", "metrics.test")):
            self.assertEqual(self.proxy(host=host), f"PROXY {expected}:8080")

    def test_parameters(self) -> None:
        self.assertEqual(self.proxy("/proxy.pac?proxy=edge.test:3128"), "PROXY edge.test:3128")
        self.assertIn('"host": "corp.test"', self.get("/proxy.pac?direct=.corp.test,10.0.0.0/8")[2])

    def test_rejected(self) -> None:
        for path, words in (
            ("/proxy.pac?proxy=edge.test", "proxy must be HOST:PORT"),
            ("/proxy.pac?proxy=a.test%22:1", "proxy must be HOST:PORT"),
            ("/proxy.pac?proxy=a.test:1&proxy=b.test:1", "one value of proxy and of direct"),
            ("/proxy.pac?other=1", "one value of proxy and of direct"),
            ("/proxy.pac?direct=10.0.0.0/99", "."),
            ("/proxy.pac?" + "&".join(f"a{number}=1" for number in range(20)), "the query is malformed"),
        ):
            with self.subTest(path):
                status, fields, body = self.get(path)
                self.assertEqual((status, fields["content-type"]), (400, "text/plain; charset=utf-8"))
                self.assertIn(words, body)
        self.assertEqual(self.get("/proxy.pac", host="a b")[0], 400)
        self.assertEqual(self.get("/proxy.pac", host=None)[0], 400)

    def test_no_listener(self) -> None:
        self.assertEqual(self.get("/proxy.pac", ("unix:/run/a",), (UNIXAddress(b"/run/a"),))[0], 404)

    def test_failure(self) -> None:
        self.assertEqual(self.get("/proxy.pac", result=fail(RuntimeError("hunter2")))[0], 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
