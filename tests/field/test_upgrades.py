"""Upgrades as docker, kubectl and WebSocket clients request them.

Sources: moby/moby#9652 and Tecnativa/docker-socket-proxy#132 (C{docker exec} behind a proxy that drops C{Upgrade: tcp}:
"unable to upgrade to tcp, received 200"), kubernetes/kubernetes#32026 (C{kubectl exec}: "Upgrade request required"),
mtrudel/bandit#686 (keys such as C{x} or C{eA==} are invalid), oven-sh/bun#26950 (an accept of another key).
"""

from __future__ import annotations

from tests.proxy.fakes import SWITCH, UPGRADE, ProxyTestCase, content_of, request, response, status_of

DOCKER = (
    "User-Agent: Docker-Client/27.1.1 (linux)",
    "Connection: Upgrade",
    "Content-Type: application/json",
    "Upgrade: tcp",
)
KUBECTL = (
    "User-Agent: kubectl/v1.30.2 (linux/amd64) kubernetes/39683505b6",
    "X-Stream-Protocol-Version: v4.channel.k8s.io",
    "Connection: Upgrade",
    "Upgrade: SPDY/3.1",
    "Content-Length: 0",
)
EXEC = "http://origin.test/v1.46/exec/b847/start"
OK_DOCKER = (
    b"HTTP/1.1 101 UPGRADED\r\nApi-Version: 1.46\r\nConnection: Upgrade\r\n"
    b"Content-Type: application/vnd.docker.multiplexed-stream\r\nUpgrade: tcp\r\n\r\n"
)
OK_KUBECTL = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
    b"X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"
)


class ProgramTests(ProxyTestCase):
    """C{docker exec} and C{kubectl exec}."""

    def ask(self, program: str) -> bytes:
        """Send the request of a program.

        @return: the immediate response to the client.
        """
        if program == "docker":
            self.client.feed(request("POST", EXEC, *DOCKER, body=b'{"Detach":false,"Tty":false}\n'))
        else:
            self.client.feed(request("POST", "http://origin.test/api/v1/namespaces/a/pods/b/exec?stdin=true", *KUBECTL))
        return self.client.take()

    def test_relayed(self) -> None:
        for program, protocol, answer in (("docker", b"tcp", OK_DOCKER), ("kubectl", b"SPDY/3.1", OK_KUBECTL)):
            with self.subTest(program):
                self.build()
                self.proxy.parts.upgrade_protocols = frozenset({"tcp", "spdy/3.1"})
                self.assertEqual(self.ask(program), b"")
                self.assertIn((b"Upgrade", protocol), self.authorizer.asked[0].headers)
                self.assertIn(b"\r\nUpgrade: %b\r\n" % protocol, self.origin.take())
                self.origin.feed(answer + b"out")
                received = self.client.take()
                self.assertEqual((status_of(received), content_of(received)), (101, b"out"))
                self.client.feed(b"in")
                self.assertEqual(self.origin.take(), b"in")

    def test_rejected_with_the_protocol_named(self) -> None:
        for program, protocol in (("docker", "tcp"), ("kubectl", "SPDY/3.1")):
            with self.subTest(program):
                self.build()
                self.assertEqual(status_of(self.ask(program)), 501)
                self.assertIn(f"'{protocol}'", self.records[0].reason)
                self.assertEqual(self.dialer.dialled, [])


class WebSocketTests(ProxyTestCase):
    """Handshakes that are not valid."""

    def test_requests(self) -> None:
        version, key = UPGRADE[2:]
        for name, fields in (
            ("no key", (version,)),
            ("x", (version, "Sec-WebSocket-Key: x")),
            ("one byte", (version, "Sec-WebSocket-Key: eA==")),
            ("two keys", (version, key, key)),
            ("no version", (key,)),
            ("another version", ("Sec-WebSocket-Version: 8", key)),
        ):
            with self.subTest(name):
                self.build()
                self.client.feed(request("GET", "http://origin.test/ws", *UPGRADE[:2], *fields))
                self.assertEqual((status_of(self.client.take()), self.dialer.dialled), (400, []))

    def test_responses(self) -> None:
        for name, old, new in (
            ("another accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", b"HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
            ("another field", b"Sec-WebSocket-Accept", b"X"),
            ("another protocol", b"Upgrade: websocket", b"Upgrade: tcp"),
        ):
            with self.subTest(name):
                self.build()
                self.client.feed(request("GET", "http://origin.test/ws", *UPGRADE))
                self.origin.feed(SWITCH.replace(old, new) + b"\x81\x02hi")
                received = self.client.take()
                self.assertEqual(status_of(received), 502)
                self.assertNotIn(b"\x81\x02hi", received)


class MaxForwardsTests(ProxyTestCase):
    """C{Max-Forwards} of OPTIONS (getlantern/http-proxy-archived#35, zoxy-io/zoxy#240)."""

    def test_zero(self) -> None:
        """The proxy responds, and nothing is forwarded, also for origin-form inside a tunnel."""
        for target in ("http://origin.test/", "http://origin.test"):
            with self.subTest(target):
                self.build()
                self.client.feed(request("OPTIONS", target, "Max-Forwards: 0"))
                received = self.client.take()
                self.assertEqual((status_of(received), content_of(received)), (200, b""))
                self.assertEqual((self.dialer.dialled, self.authorizer.asked), ([], []))
                self.assertEqual([record.outcome for record in self.records], ["max-forwards-reached"])
                self.client.feed(request())
                self.origin.feed(response())
                self.assertEqual(status_of(self.client.take()), 200, "the connection is kept")

    def test_five(self) -> None:
        self.client.feed(request("OPTIONS", "http://origin.test/", "Max-Forwards: 5"))
        self.assertIn(b"\r\nMax-Forwards: 4\r\n", self.origin.take())

    def test_invalid_number(self) -> None:
        self.client.feed(request("OPTIONS", "http://origin.test/", "Max-Forwards: five"))
        self.assertEqual(status_of(self.client.take()), 400)

    def test_other_methods(self) -> None:
        self.client.feed(request("GET", "http://origin.test/", "Max-Forwards: 0"))
        self.assertIn(b"\r\nMax-Forwards: 0\r\n", self.origin.take())
        other = self.connect()
        other.feed(request("TRACE", "http://origin.test/", "Max-Forwards: 5"))
        self.assertEqual(status_of(other.take()), 501, "never passed on")
