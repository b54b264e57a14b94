"""Upgrades over real sockets, as docker and kubectl request them."""

from __future__ import annotations

import json
import socket

from tests.integration.raw_origin import UPGRADE, RawOrigin, RawOriginTestCase, Wire

HIJACKED = (
    "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
    "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
)
SIZE = 3 << 20
POLICY = """
version = 1
[[rules]]
action = "deny"
reason = "no shells"
paths = ["/pods/**"]
headers = { Upgrade = "spdy/*" }
[[rules]]
action = "allow"
"""


def cat(origin: RawOrigin, wire: Wire) -> None:
    """Serve C{docker exec -i ... cat}: repeat the whole input after its end."""
    origin.request(wire)
    wire.send(HIJACKED)
    wire.socket.sendall(wire.read_rest())


class UpgradeTests(RawOriginTestCase):
    """C{--upgrade-protocols}."""

    def head(self, origin: RawOrigin, path: str, protocol: str, *, inside: bool = False, content: str = "") -> str:
        target = path if inside else f"{origin.url}{path}"
        return (
            f"POST {target} HTTP/1.1\r\nHost: {origin.authority}\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n{content}"
        )

    def test_input_that_ends_before_the_output(self) -> None:
        """With little data, and with so much that the kernel relays it; directly and in a tunnel."""
        origin = self.start_origin(cat)
        proxy = self.start_proxy(*self.allow_all(), "--upgrade-protocols", "tcp,spdy/3.1")
        for inside in (False, True):
            for size in (5, SIZE):
                with self.subTest(inside=inside, size=size):
                    client = self.connect(proxy, origin.authority if inside else None)
                    client.send(self.head(origin, "/exec/1/start", "tcp", inside=inside, content='{"Tty":false}'))
                    head = client.read_until(b"\r\n\r\n")
                    self.assertTrue(head.startswith(b"HTTP/1.1 101 UPGRADED\r\n"), head)
                    client.send(b"x" * size)
                    client.socket.shutdown(socket.SHUT_WR)
                    self.assertEqual(len(client.read_rest()), size)
        self.assertEqual(
            [(one["status"], one["bytesSent"], one["bytesReceived"]) for one in self.records(proxy, 4)],
            [(101, 13 + size, size) for size in (5, SIZE)] * 2,
        )
        self.assertIn('{"Tty":false}', origin.connections[0].received.decode())

    def test_over_tls(self) -> None:
        def echo(origin: RawOrigin, wire: Wire) -> None:
            origin.request(wire)
            wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
            wire.send(wire.read(4).upper())

        origin = self.start_origin(echo, self.tls())
        proxy = self.start_proxy(*self.trust, *self.allow_all(), "--upgrade-protocols", "SPDY/3.1")
        client = self.connect(proxy, origin.authority, tls=True)
        client.send(self.head(origin, "/pods/a/exec?command=ls", "SPDY/3.1", inside=True))
        self.assertIn(b"\r\nUpgrade: SPDY/3.1\r\n", client.read_until(b"\r\n\r\n"))
        client.send(b"ping")
        self.assertEqual(client.read_to_end(), b"PING")

    def test_decided_by_a_rule(self) -> None:
        origin = self.start_origin(cat)
        policy = str(self.write("policy.toml", POLICY))
        proxy = self.start_proxy("--policy", policy, "--upgrade-protocols", "tcp,spdy/3.1")
        client = self.connect(proxy)
        client.send(self.head(origin, "/pods/a/exec", "SPDY/3.1"))
        head, content = client.read_message()
        self.assertIn(" 403 ", head)
        self.assertEqual(json.loads(content)["reason"], "no shells")
        client.send(self.head(origin, "/exec", "tcp"))
        self.assertIn(b" 101 ", client.read_until(b"\r\n\r\n"))

    def test_rejected(self) -> None:
        """Without the option, and for invalid handshakes, nothing reaches the origin."""
        origin = self.start_origin(cat)
        proxy = self.start_proxy(*self.allow_all())
        client = self.connect(proxy)
        websocket = f"GET {origin.url}/ HTTP/1.1\r\nHost: {origin.authority}\r\n{UPGRADE}"
        for request, status, word in (
            (self.head(origin, "/", "tcp"), 501, "'tcp'"),
            (websocket.replace("Version: 13", "Version: 8"), 400, "Version: 13"),
            (websocket.replace("Key: d", "Key: "), 400, "16 bytes"),
        ):
            with self.subTest(word):
                client.send(request)
                head, content = client.read_message()
                self.assertIn(f" {status} ", head)
                self.assertIn(word, json.loads(content)["reason"])
        self.assertEqual(origin.connections, [])
