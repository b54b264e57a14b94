"""The content of CONNECT tunnels: TLS, plain HTTP, WebSockets, passthrough, and other protocols."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from typing import Any

from tests.integration.base import IntegrationTestCase, Proxy
from tests.integration.peers import GOOD

KEY = base64.b64encode(b"0123456789abcdef").decode("ascii")


class Client:
    """A client made of a socket."""

    def __init__(self, proxy: Proxy) -> None:
        self.socket = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)

    def connect(self, authority: str) -> None:
        """Open a tunnel."""
        self.send(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")
        head = self.read_head()
        if not head.startswith(b"HTTP/1.1 200"):
            raise AssertionError(head)

    def start_tls(self, name: str, ca: str | None) -> None:
        """Start TLS inside the tunnel."""
        context = ssl.create_default_context(cafile=ca)
        if ca is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket, server_hostname=name)

    def send(self, text: str) -> None:
        """Send text."""
        self.socket.sendall(text.encode("latin-1"))

    def read_until(self, end: bytes) -> bytes:
        """Read up to a marker."""
        received = b""
        while not received.endswith(end):
            byte = self.socket.recv(1)
            if not byte:
                raise AssertionError(f"closed after {received!r}")
            received += byte
        return received

    def read_head(self) -> bytes:
        """Read one head."""
        return self.read_until(b"\r\n\r\n")

    def read_to_end(self) -> bytes:
        """Read until the proxy closes; a reset counts as closing."""
        received = b""
        try:
            while piece := self.socket.recv(65536):
                received += piece
        except ConnectionResetError:
            pass
        return received

    def problem(self) -> dict[str, Any]:
        """Read a problem document of the proxy."""
        head = self.read_head().decode("latin-1").lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        received = b""
        while len(received) < length:
            received += self.socket.recv(length - len(received))
        members: dict[str, Any] = json.loads(received)
        return members


class TunnelTests(IntegrationTestCase):
    """CONNECT, as seen by a client."""

    def client(self, proxy: Proxy) -> Client:
        client = Client(proxy)
        self.addCleanup(lambda: client.socket.close())
        return client

    def upgrade(self, client: Client, target: str, host: str) -> None:
        """Open a WebSocket and use it in both directions."""
        client.send(
            f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        )
        head = client.read_head().lower()
        self.assertTrue(head.startswith(b"http/1.1 101"), head)
        self.assertIn(b"sec-websocket-accept: ", head)
        for text in ("first", "second"):
            client.send(text)
            self.assertEqual(client.read_until(text.upper().encode("ascii")), text.upper().encode("ascii"))

    def test_plain_http_inside(self) -> None:
        deny = (
            'version = 1\n[[rules]]\naction = "deny"\nreason = "no"\npaths = ["/denied"]\n[[rules]]\naction = "allow"\n'
        )
        proxy = self.start_proxy("--policy", str(self.write("policy.toml", deny)))
        client = self.client(proxy)
        authority = f"127.0.0.1:{self.origins.http}"
        client.connect(authority)
        client.send(f"GET /files/hello.txt HTTP/1.1\r\nHost: {authority}\r\n\r\n")
        self.assertTrue(client.read_head().startswith(b"HTTP/1.1 200"))
        client.read_until(b"hello\n")
        client.send(f"GET /denied HTTP/1.1\r\nHost: {authority}\r\n\r\n")
        self.assertEqual(client.problem()["status"], 403)
        client.send("GET / HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n")
        self.assertEqual(client.problem()["status"], 421)

    def test_neither_tls_nor_http(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        seen = self.origins.requests_seen()
        for name, first in (("ssh", "SSH-2.0-client\r\n"), ("binary", "\x00\x01\x02\x03")):
            with self.subTest(name):
                client = self.client(proxy)
                client.connect(f"127.0.0.1:{self.origins.http}")
                client.send(first)
                self.assertEqual(client.read_to_end(), b"")
        self.assertEqual(self.origins.requests_seen(), seen)
        self.assertEqual({record["outcome"] for record in self.records(proxy, 2)}, {"tunnel-protocol-unknown"})

    def test_another_server_name(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        client = self.client(proxy)
        client.connect(f"localhost:{self.origins.https}")
        client.start_tls("elsewhere.test", None)
        client.send(f"GET / HTTP/1.1\r\nHost: localhost:{self.origins.https}\r\n\r\n")
        problem = client.problem()
        self.assertEqual((problem["status"], problem["stage"]), (421, "sni"))

    def test_another_host(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        client = self.client(proxy)
        client.connect(f"localhost:{self.origins.https}")
        client.start_tls("localhost", str(proxy.ca))
        client.send("GET / HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n")
        self.assertEqual(client.problem()["status"], 421)

    def test_websocket_over_http(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        authority = f"127.0.0.1:{self.origins.http}"
        with self.subTest("absolute-form"):
            self.upgrade(self.client(proxy), f"http://{authority}/socket", authority)
        with self.subTest("inside a CONNECT, as browsers do"):
            client = self.client(proxy)
            client.connect(authority)
            self.upgrade(client, "/socket", authority)

    def test_websocket_over_https(self) -> None:
        url, record = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", url)
        client = self.client(proxy)
        client.connect(f"localhost:{self.origins.https}")
        client.start_tls("localhost", str(proxy.ca))
        self.upgrade(client, "/socket", f"localhost:{self.origins.https}")
        question = json.loads(record.read_text())
        self.assertEqual(json.loads(question["headers"])["upgrade"], "websocket")

    def test_a_denied_websocket(self) -> None:
        url, _ = self.start_authz_service("GET")
        proxy = self.start_proxy("--authz-url", url)
        authority = f"127.0.0.1:{self.origins.http}"
        client = self.client(proxy)
        client.send(
            f"GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n"
            f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\n\r\n"
        )
        self.assertEqual(client.problem()["status"], 403)

    def test_passthrough(self) -> None:
        url, record = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", url, "--passthrough", GOOD)
        client = self.client(proxy)
        client.connect(f"{GOOD}:{self.origins.https}")
        # The origin's own certificate: the proxy's CA is not trusted here.
        client.start_tls(GOOD, str(self.origins.ca))
        client.send(f"GET /files/hello.txt HTTP/1.1\r\nHost: {GOOD}\r\nConnection: close\r\n\r\n")
        self.assertTrue(client.read_to_end().endswith(b"hello\n"))
        client.socket.close()
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
        client = self.client(proxy)
        client.connect(f"localhost:{self.origins.https}")
        self.assertRaises(ssl.SSLError, client.start_tls, "localhost", str(self.origins.ca))
        client.socket.close()
        proxy.process.stop()
        (record,) = proxy.records()
        self.assertEqual(record["outcome"], "client-tls-failed")
