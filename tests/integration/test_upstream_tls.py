"""An C{https://} upstream proxy, IPv6, and hosts named by address that bypass the upstream proxy."""

from __future__ import annotations

import json
import select
import socket
import ssl

from tests.integration import test_upstream
from tests.integration.raw_origin import (
    PATIENCE,
    RawOrigin,
    RawOriginTestCase,
    Wire,
    respond_once,
)
from tests.integration.test_upstream import PASSWORD, USER

HOST = "127.0.0.1"


class TlsUpstreamTests(test_upstream.UpstreamTestCase, RawOriginTestCase):
    """tinyproxy, reached over TLS."""

    def setUp(self) -> None:
        super().setUp()
        # Both CAs: that of the origins, and that of the connection to tinyproxy.
        both = self.origins.ca.read_bytes() + self.ca.pem
        self.trust = ["--ssl-extra-ca-certs", str(self.write("both.pem", both.decode("ascii")))]

    def start_terminator(self, *names: str) -> RawOrigin:
        """Start a TLS terminator for tinyproxy, with a certificate for these names."""
        host, _, port = self.start_tinyproxy().partition(":")

        def relay(_: RawOrigin, wire: Wire) -> None:
            outer = wire.socket
            assert isinstance(outer, ssl.SSLSocket)
            with socket.create_connection((host, int(port))) as inner:
                while True:
                    ready = [outer] if outer.pending() else select.select([outer, inner], [], [], PATIENCE)[0]
                    for end in ready:
                        data = end.recv(65536)
                        if not data:
                            return
                        if end is outer:
                            wire.add(data)
                            inner.sendall(data)
                        else:
                            wire.send(data)

        return self.start_origin(relay, self.tls(*names))

    def test_http_and_https(self) -> None:
        terminator = self.start_terminator(HOST)
        upstream = f"https://{USER}:{PASSWORD}@{HOST}:{terminator.port}"
        proxy = self.start_proxy(*self.allow_all(), *self.trust, "--upstream-proxy", upstream)
        for url in (self.origins.http_url("/echo"), self.origins.https_url("/echo")):
            with self.subTest(url):
                status, content = self.fetch(proxy, url)
                self.assertEqual(status, 200, content)
                self.assertNotIn("proxy-authorization", json.loads(content)["headers"])
        received = b"".join(wire.received for wire in terminator.connections)
        self.assertIn(f"GET {self.origins.http_url('/echo')} HTTP/1.1\r\n".encode(), received)
        self.assertIn(f"CONNECT localhost:{self.origins.https} HTTP/1.1\r\n".encode(), received)

    def test_a_certificate_for_another_name(self) -> None:
        """Neither the credentials nor anything else is sent to a server that is not the upstream proxy."""
        terminator = self.start_terminator("other.test")
        upstream = f"https://{USER}:{PASSWORD}@{HOST}:{terminator.port}"
        proxy = self.start_proxy(*self.allow_all(), *self.trust, "--upstream-proxy", upstream)
        for url in (self.origins.http_url("/echo"), self.origins.https_url("/echo")):
            with self.subTest(url):
                problem = self.assert_problem(proxy, url, 502, "upstream")
                self.assertIn("other.test", problem["reason"])
        self.assertEqual({wire.received for wire in terminator.connections}, {b""})


class AddressTests(test_upstream.UpstreamTestCase, RawOriginTestCase):
    """Origins named by address."""

    def origin(self, host: str, *, tls: bool = False) -> RawOrigin:
        """Start an origin that responds C{ok}."""
        return self.start_origin(respond_once, self.tls(host) if tls else None, host)

    def test_ipv6(self) -> None:
        url, record = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", url, *self.trust)
        for tls in (False, True):
            with self.subTest(tls=tls):
                origin = self.origin("::1", tls=tls)
                self.assertEqual(self.fetch(proxy, f"{origin.url}/x", "-g"), (200, "ok"))
                self.assertIn(f"\r\nhost: [::1]:{origin.port}\r\n", origin.heads[0].lower())
                question = json.loads(record.read_text().splitlines()[-1])
                self.assertEqual(question["url"], f"{origin.url}/x")

    def test_spellings_of_an_address(self) -> None:
        """The authorization request has the address that is contacted, in its canonical form (contract)."""
        url, record = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", url)
        origin = self.origin("127.0.0.9")
        for host in ("127.0.0.9", "127.9", "0x7f000009", "0177.0.0.011", "2130706441", "[::ffff:127.0.0.9]"):
            with self.subTest(host):
                client = self.connect(proxy)
                authority = f"{host}:{origin.port}"
                client.send(f"GET http://{authority}/x HTTP/1.1\r\nHost: {authority}\r\n\r\n")
                self.assertTrue(client.read_message()[0].startswith("HTTP/1.1 200 "), host)
                question = json.loads(record.read_text().splitlines()[-1])
                self.assertEqual(question["url"], f"http://127.0.0.9:{origin.port}/x", host)
                self.assertIn(f"\r\nhost: 127.0.0.9:{origin.port}\r\n", origin.heads[-1].lower(), host)

    def test_no_proxy_by_address(self) -> None:
        tinyproxy = self.start_tinyproxy()
        upstream = f"http://{USER}:{PASSWORD}@{tinyproxy}"
        origin = self.origin("127.0.0.9")
        for no_proxy, direct in (
            ("127.0.0.0/8", True),
            ("127.0.0.0/29", False),
            ("10.0.0.0/8,127.0.0.8/29", True),
            (f"127.0.0.9:{origin.port}", True),
            (f"127.0.0.9:{origin.port + 1}", False),
            ("::/0", False),
        ):
            with self.subTest(no_proxy):
                proxy = self.start_proxy(*self.allow_all(), HTTP_PROXY=upstream, NO_PROXY=no_proxy)
                self.assertEqual(self.fetch(proxy, f"{origin.url}/x"), (200, "ok"))
                # tinyproxy adds a field to the response.
                self.assertEqual("tinyproxy" in origin.heads[-1].lower(), not direct, origin.heads[-1])
                proxy.process.stop()
