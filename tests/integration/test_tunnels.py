"""The content of CONNECT tunnels: TLS, plain HTTP, WebSockets, passthrough, and other protocols."""

from __future__ import annotations

import json
import ssl
from typing import Any

from tests.integration.peers import GOOD
from tests.integration.raw_origin import UPGRADE, RawOriginTestCase, Wire


class TunnelTests(RawOriginTestCase):
    """CONNECT, as seen by a client."""

    def problem(self, client: Wire) -> dict[str, Any]:
        """Read a problem document of the proxy."""
        members: dict[str, Any] = json.loads(client.read_message()[1])
        return members

    def upgrade(self, client: Wire, target: str, host: str) -> None:
        """Open a WebSocket and use it in both directions."""
        client.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{UPGRADE}")
        head = client.read_head().lower()
        self.assertTrue(head.startswith("http/1.1 101"), head)
        self.assertIn("sec-websocket-accept: ", head)
        for text in ("first", "second"):
            client.send(text)
            self.assertEqual(client.read_until(text.upper().encode("ascii")), text.upper().encode("ascii"))

    def test_plain_http_inside(self) -> None:
        deny = (
            'version = 1\n[[rules]]\naction = "deny"\nreason = "no"\npaths = ["/denied"]\n[[rules]]\naction = "allow"\n'
        )
        proxy = self.start_proxy("--policy", str(self.write("policy.toml", deny)))
        authority = f"127.0.0.1:{self.origins.http}"
        client = self.connect(proxy, authority)
        client.send(f"GET /files/hello.txt HTTP/1.1\r\nHost: {authority}\r\n\r\n")
        self.assertTrue(client.read_head().startswith("HTTP/1.1 200"))
        client.read_until(b"hello\n")
        client.send(f"GET /denied HTTP/1.1\r\nHost: {authority}\r\n\r\n")
        self.assertEqual(self.problem(client)["status"], 403)
        client.send("GET / HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n")
        self.assertEqual(self.problem(client)["status"], 421)

    def test_neither_tls_nor_http(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        seen = self.origins.requests_seen()
        for name, first in (("ssh", "SSH-2.0-client\r\n"), ("binary", "\x00\x01\x02\x03")):
            with self.subTest(name):
                client = self.connect(proxy, f"127.0.0.1:{self.origins.http}")
                client.send(first)
                self.assertEqual(client.read_to_end(), b"")
        self.assertEqual(self.origins.requests_seen(), seen)
        self.assertEqual({record["outcome"] for record in self.records(proxy, 2)}, {"tunnel-protocol-unknown"})

    def test_another_server_name(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        client = self.connect(proxy, f"localhost:{self.origins.https}")
        client.start_tls("elsewhere.test", None)
        client.send(f"GET / HTTP/1.1\r\nHost: localhost:{self.origins.https}\r\n\r\n")
        problem = self.problem(client)
        self.assertEqual((problem["status"], problem["stage"]), (421, "sni"))

    def test_another_host(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        client = self.connect(proxy, f"localhost:{self.origins.https}")
        client.start_tls("localhost", proxy.ca)
        client.send("GET / HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n")
        self.assertEqual(self.problem(client)["status"], 421)

    def test_websocket_over_http(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        authority = f"127.0.0.1:{self.origins.http}"
        with self.subTest("absolute-form"):
            self.upgrade(self.connect(proxy), f"http://{authority}/socket", authority)
        with self.subTest("inside a CONNECT, as browsers do"):
            client = self.connect(proxy, authority)
            self.upgrade(client, "/socket", authority)

    def test_websocket_over_https(self) -> None:
        url, record = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", url)
        client = self.connect(proxy, f"localhost:{self.origins.https}")
        client.start_tls("localhost", proxy.ca)
        self.upgrade(client, "/socket", f"localhost:{self.origins.https}")
        question = json.loads(record.read_text())
        self.assertEqual(json.loads(question["headers"])["upgrade"], "websocket")

    def test_a_denied_websocket(self) -> None:
        url, _ = self.start_authz_service("GET")
        proxy = self.start_proxy("--authz-url", url)
        authority = f"127.0.0.1:{self.origins.http}"
        client = self.connect(proxy)
        client.send(f"GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{UPGRADE}")
        self.assertEqual(self.problem(client)["status"], 403)

    def test_passthrough(self) -> None:
        url, record = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", url, "--passthrough", GOOD)
        client = self.connect(proxy, f"{GOOD}:{self.origins.https}")
        # The origin's own certificate: the proxy's CA is not trusted here.
        client.start_tls(GOOD, self.origins.ca)
        client.send(f"GET /files/hello.txt HTTP/1.1\r\nHost: {GOOD}\r\nConnection: close\r\n\r\n")
        self.assertTrue(client.read_to_end().endswith(b"hello\n"))
        client.close()
        question = json.loads(record.read_text())
        self.assertEqual((question["method"], question["stage"]), ("CONNECT", "tunnel"))
        self.assertEqual(question["url"], f"https://{GOOD}:{self.origins.https}")

    def test_a_denied_passthrough_is_explained_inside(self) -> None:
        url, _ = self.start_authz_service("CONNECT")
        proxy = self.start_proxy("--authz-url", url, "--passthrough", GOOD)
        seen = self.origins.requests_seen()
        problem = self.assert_problem(proxy, self.origins.https_url("/", GOOD), 403, "authz")
        self.assertIn("CONNECT is not allowed", problem["reason"])
        self.assertEqual(self.origins.requests_seen(), seen)
        self.assertEqual([record["stage"] for record in self.records(proxy, 1)], ["tunnel"])

    def test_a_client_that_does_not_trust_the_ca(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        client = self.connect(proxy, f"localhost:{self.origins.https}")
        self.assertRaises(ssl.SSLError, client.start_tls, "localhost", self.origins.ca)
        client.close()
        proxy.process.stop()
        (record,) = proxy.records()
        self.assertEqual(record["outcome"], "client-tls-failed")
