"""Obligations: header fields, secrets, byte limits and time limits, with real programs and sockets."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

from tests.integration.base import Proxy
from tests.integration.processes import free_port
from tests.integration.raw_origin import (
    OK,
    PATIENCE,
    SWITCH,
    UPGRADE,
    RawOrigin,
    RawOriginTestCase,
    Wire,
    respond_always,
    respond_once,
)

MIB = 1 << 20
SECRET = "s3cr3t-of-the-operator"


class ObligationsTestCase(RawOriginTestCase):
    """Base: a proxy whose decisions the test writes."""

    def setUp(self) -> None:
        super().setUp()
        self.decide()
        self.context = self.tls()

    def decide(self, **decision: Any) -> None:
        """Write the decision for all later authorization requests."""
        new = self.write("decision.new", json.dumps(decision))
        os.replace(new, self.directory / "decision.json")

    def questions(self) -> list[dict[str, Any]]:
        """Return the authorization requests."""
        path = self.directory / "questions.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def proxy(self, *options: str, **env: Any) -> Proxy:
        """Start a proxy."""
        first = f"from tests.integration.written_decisions import install; install({str(self.directory)!r})"
        return self.start_proxy(*self.trust, *options, first=first, **env)


class TwoPhaseTests(ObligationsTestCase):
    """Content is read for a decision only when the authorizer needs it."""

    def head(self, origin: RawOrigin, size: int) -> str:
        return (
            f"POST {origin.url}/up HTTP/1.1\r\nHost: {origin.authority}\r\n"
            f"Expect: 100-continue\r\nContent-Length: {size}\r\n\r\n"
        )

    def test_an_upload_streams(self) -> None:
        """It is far larger than the body limit for authorization, and the 100 is the origin's own."""
        size, may_go_on, seen = 8 * MIB, threading.Event(), []

        def script(origin: RawOrigin, wire: Wire) -> None:
            origin.heads.append(wire.read_until(b"\r\n\r\n").decode("latin-1"))
            may_go_on.wait(PATIENCE)
            wire.send("HTTP/1.1 100 Continue\r\nX-From: origin\r\n\r\n")
            wire.read(MIB)
            wire.send("HTTP/1.1 103 Early Hints\r\nX-Has: a part\r\n\r\n")
            seen.append(len(wire.read(size - MIB)) + MIB)
            wire.send(OK)

        origin, proxy = self.start_origin(script), self.proxy()
        client = self.connect(proxy)
        client.send(self.head(origin, size))
        deadline = time.monotonic() + PATIENCE
        while not origin.heads and time.monotonic() < deadline:
            time.sleep(0.01)
        client.socket.settimeout(0.2)
        self.assertRaises(TimeoutError, client.receive)
        client.socket.settimeout(PATIENCE)
        may_go_on.set()
        self.assertIn(b"X-From: origin", client.read_until(b"\r\n\r\n"))
        client.send(b"x" * MIB)
        self.assertIn(b"X-Has: a part", client.read_until(b"\r\n\r\n"))
        client.send(b"x" * (size - MIB))
        self.assertEqual(client.read_message()[1], b"ok")
        self.assertEqual(seen, [size])
        (question,) = self.questions()
        self.assertEqual((question["body"], question["withheld"]), (None, True))
        self.assertEqual(question["addresses"], ["127.0.0.1"])

    def test_content_that_the_authorizer_needs(self) -> None:
        """Then the proxy itself sends the 100, and the origin sees nothing before the second decision."""
        origin, proxy = self.start_origin(respond_once), self.proxy()
        self.decide(need_body=True)
        client = self.connect(proxy)
        client.send(self.head(origin, 5))
        self.assertEqual(client.read_until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(origin.connections, [])
        self.decide(verdict="deny", reason="not this content")
        client.send(b"12345")
        self.assertIn("HTTP/1.1 403", client.read_message()[0])
        self.assertEqual([question["body"] for question in self.questions()], [None, "12345"])
        self.assertEqual(origin.connections, [])


class SecretTests(ObligationsTestCase):
    """The client never has the secret, and no output contains it."""

    def test_injected(self) -> None:
        token = self.write("token", SECRET + "\n")
        token.chmod(0o600)
        printing = json.dumps([sys.executable, "-c", f"print({SECRET[::-1]!r})"])
        text = '[from_file]\nfile = "token"\nhosts = ["127.0.0.1"]\n'
        text += '[from_env]\nenv = "THE_SECRET"\nhosts = ["127.0.0.1"]\n'
        text += f'[from_command]\ncommand = {printing}\nhosts = ["127.0.0.1"]\n'
        secrets = self.write("secrets.toml", text)

        origin, metrics = self.start_origin(respond_always, self.context), free_port()
        other = self.start_origin(respond_always)
        proxy = self.proxy("--secrets", str(secrets), "--metrics-port", str(metrics), THE_SECRET=f"env-{SECRET}")
        fields = {
            "Authorization": "Bearer ${secret:from_file}",
            "X-Env": "${secret:from_env}",
            "X-Command": "a ${secret:from_command} b",
        }
        self.decide(set_secret=fields, remove=["cookie"])
        answered = b""
        client = self.connect(proxy, origin.authority, tls=True)
        for _ in range(2):
            client.send(
                f"GET /a HTTP/1.1\r\nHost: {origin.authority}\r\nauthorization: theirs\r\nCookie: c\r\nX-Own: y\r\n\r\n"
            )
            head, content = client.read_message()
            self.assertEqual(content, b"ok", head)
        answered += client.received
        for head in origin.heads:
            self.assertIn(f"Authorization: Bearer {SECRET}\r\n", head)
            self.assertIn(f"X-Env: env-{SECRET}\r\n", head)
            self.assertIn(f"X-Command: a {SECRET[::-1]} b\r\n", head)
            self.assertIn("X-Own: y\r\n", head)
            self.assertNotIn("theirs", head)
            self.assertNotIn("Cookie", head)
        self.assertEqual(len(origin.heads), 2)
        # Without TLS it is not sent; and once other users may read the file, it is not sent at all.
        client = self.connect(proxy)
        client.send(f"GET {other.url}/ HTTP/1.1\r\nHost: {other.authority}\r\n\r\n")
        head, content = client.read_message()
        self.assertIn("HTTP/1.1 503", head)
        self.assertIn(b"the secret from_command may not be sent without TLS", content)
        self.assertEqual(other.heads, [])
        answered += client.received
        token.chmod(0o644)
        time.sleep(1.1)
        client = self.connect(proxy, origin.authority, tls=True)
        client.send(f"GET /a HTTP/1.1\r\nHost: {origin.authority}\r\n\r\n")
        head, content = client.read_message()
        self.assertIn("HTTP/1.1 503", head)
        self.assertIn(b"the secret from_file is not available: users other than its owner can access its file", content)
        answered += client.received
        self.records(proxy, 4)
        status, numbers = self.fetch_metrics(metrics)
        self.assertEqual(status, 200)
        self.assertIn("egress", numbers)
        for shown in (proxy.audit.read_text(), proxy.process.output(), numbers, answered.decode("latin-1")):
            for value in (SECRET, SECRET[::-1]):
                self.assertNotIn(value, shown)

    def fetch_metrics(self, port: int) -> tuple[int, str]:
        done = self.run_program("curl", "-sS", "-w", "\n%{http_code}", f"http://127.0.0.1:{port}/metrics")
        content, _, status = done.stdout.rpartition("\n")
        return int(status), content


class LimitTests(ObligationsTestCase):
    """A byte limit is exact."""

    def test_a_download(self) -> None:
        def script(origin: RawOrigin, wire: Wire) -> None:
            origin.request(wire)
            wire.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            wire.send(b"x" * (8 * MIB))

        origin, proxy = self.start_origin(script), self.proxy()
        self.decide(max_bytes=MIB)
        client = self.connect(proxy)
        client.send(f"GET {origin.url}/ HTTP/1.1\r\nHost: {origin.authority}\r\n\r\n")
        client.read_until(b"\r\n\r\n")
        received = client.read_to_end()
        self.assertLessEqual(received.count(b"x"), MIB)
        self.assertFalse(received.endswith(b"\r\n0\r\n\r\n"), "nobody takes it for the whole")
        (record,) = self.records(proxy, 1)
        self.assertEqual((record["outcome"], record["verdict"], record["status"]), ("limit-reached", "allow", 200))
        self.assertLessEqual(record["bytesReceived"], MIB)

    def test_a_large_tunnel(self) -> None:
        """The tunnel is spliced, where the system supports it."""
        most = 5 * MIB + 7

        def script(_: RawOrigin, wire: Wire) -> None:
            wire.read(1)
            wire.send(b"x" * (16 * MIB))

        origin, proxy = self.start_origin(script), self.proxy("--passthrough", "127.0.0.1")
        self.decide(max_bytes=most)
        client = self.connect(proxy, origin.authority)
        client.send(b"?")
        received = len(client.read_to_end())
        self.assertLessEqual(received, most - 1)
        (record,) = self.records(proxy, 1)
        self.assertEqual((record["outcome"], record["bytesSent"]), ("limit-reached", 1))
        self.assertGreater(record["bytesReceived"], MIB)
        self.assertLessEqual(record["bytesReceived"], most - 1)
        self.assertEqual(self.questions()[0]["addresses"], ["127.0.0.1"])


class ExpiryTests(ObligationsTestCase):
    """The lease is renewed, then the connection is aborted."""

    def asked(self, times: int) -> None:
        """Wait until this many authorization requests were sent."""
        deadline = time.monotonic() + PATIENCE
        while len(self.questions()) < times:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def check(self, proxy: Proxy, client: Wire, ping: Any) -> None:
        """Check that a connection lives as long as it is allowed, and no longer."""
        self.asked(2)
        ping()
        self.decide(verdict="deny", reason="time is over")
        self.asked(3)
        self.assertEqual(client.read_to_end(), b"")
        (record,) = self.records(proxy, 1)
        self.assertEqual((record["outcome"], record["reason"]), ("lease-revoked", "time is over"))
        self.assertEqual(record["verdict"], "allow")

    def echo(self, origin: RawOrigin, wire: Wire) -> None:
        while True:
            wire.send(wire.read(4))

    def test_a_websocket(self) -> None:
        def script(origin: RawOrigin, wire: Wire) -> None:
            origin.request(wire)
            wire.send(SWITCH)
            self.echo(origin, wire)

        origin, proxy = self.start_origin(script, self.context), self.proxy()
        self.decide(expires_in=1)
        client = self.connect(proxy, origin.authority, tls=True)
        client.send(f"GET /ws HTTP/1.1\r\nHost: {origin.authority}\r\n{UPGRADE}")
        self.assertIn(b" 101 ", client.read_until(b"\r\n\r\n"))

        def ping() -> None:
            client.send(b"ping")
            self.assertEqual(client.read(4), b"ping")

        self.check(proxy, client, ping)

    def test_a_tunnel(self) -> None:
        origin, proxy = self.start_origin(self.echo), self.proxy("--passthrough", "127.0.0.1")
        self.decide(expires_in=1)
        client = self.connect(proxy, origin.authority)

        def ping() -> None:
            for _ in range(64):
                # So much data that a socket relay takes over.
                client.send(b"ping" * 1024)
                self.assertEqual(client.read(4096), b"ping" * 1024)

        self.check(proxy, client, ping)

    def test_an_authorizer_failure(self) -> None:
        def script(origin: RawOrigin, wire: Wire) -> None:
            origin.request(wire)
            wire.read_to_end()

        origin, proxy = self.start_origin(script), self.proxy()
        self.decide(expires_in=1)
        client = self.connect(proxy)
        client.send(f"GET {origin.url}/slow HTTP/1.1\r\nHost: {origin.authority}\r\n\r\n")
        self.asked(1)
        self.decide(max_bytes=-1)
        head, content = client.read_message()
        self.assertIn("HTTP/1.1 503", head)
        self.assertIn(b"urn:egressproxy:lease-expired", content)
        self.assertEqual(self.records(proxy, 1)[0]["outcome"], "lease-expired")
