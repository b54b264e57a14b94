"""Requests for the proxy itself: C{egressproxy.invalid} (RFC 6761 section 6.4)."""

from __future__ import annotations

import json
from typing import Any

from egress.model.authority import PROXY_HOST
from tests.proxy.fakes import content_of, request, response, status_of
from tests.proxy.tunnels import InterceptTestCase, inner
from tests.transport.tls import leaves


class ProxyAddressTests(InterceptTestCase):
    """The proxy responds; nothing is authorized, resolved or forwarded."""

    def assert_responded(self, received: bytes) -> None:
        self.assertEqual(status_of(received), 200)
        self.assertEqual(json.loads(content_of(received))["type"], "urn:egressproxy:proxy-addressed")
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        self.assertEqual((self.authorizer.asked, self.dialer.dialled, self.dialer.origins), ([], [], []))

    def test_http(self) -> None:
        for target in (f"http://{PROXY_HOST}/", "http://EGRESSPROXY.Invalid:8080/a?b", f"http://{PROXY_HOST}"):
            with self.subTest(target):
                self.build()
                self.client.feed(request("GET", target, host=target.split("/")[2]))
                self.assert_responded(self.client.take())
                (record,) = self.records
                self.assertEqual(
                    (record.verdict, record.outcome, record.status, record.decided_by, record.address),
                    ("rejected", "proxy-addressed", 200, "proxy", None),
                )

    def test_the_connection_stays_open(self) -> None:
        self.client.feed(request("GET", f"http://{PROXY_HOST}/", host=PROXY_HOST))
        self.client.take()
        self.client.feed(request())
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)

    def test_methods(self) -> None:
        self.client.feed(request("POST", f"http://{PROXY_HOST}/", host=PROXY_HOST, body=b"secret"))
        self.assert_responded(self.client.take())
        other = self.connect()
        other.feed(request("HEAD", f"http://{PROXY_HOST}/", host=PROXY_HOST))
        received = other.take()
        self.assertEqual((status_of(received), content_of(received)), (200, b""))
        self.assert_nothing_left()

    def test_https(self) -> None:
        """The proxy presents a leaf certificate, also where tunnels are passed through."""
        every: dict[str, Any] = {"passthrough": (PROXY_HOST,), "opaque_ports": (range(1, 65536),)}
        for options in ({}, every):
            with self.subTest(str(options)):
                self.build(leaves=leaves(), **options)
                client = self.intercept(f"{PROXY_HOST}:443", PROXY_HOST)
                client.send(inner("/", host=PROXY_HOST))
                self.assert_responded(client.take())

    def test_plain_http_in_a_tunnel(self) -> None:
        self.tunnel(f"{PROXY_HOST}:80")
        self.client.feed(inner("/", host=PROXY_HOST))
        self.assert_responded(self.client.take())

    def test_similar_names(self) -> None:
        for host in (f"a.{PROXY_HOST}", "egressproxy.invalid.test", "xegressproxy.invalid"):
            with self.subTest(host):
                self.build()
                self.client.feed(request("GET", f"http://{host}/", host=host))
                self.assertEqual(len(self.authorizer.asked), 1)
