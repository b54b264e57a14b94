"""Replicas that share decisions in a real Redis."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from egress.cli.admin_client import AdminApi
from egress.config.admin_endpoint import AdminEndpoint
from tests.certificates import TestCA
from tests.integration.base import ENOUGH_FOR_BOTH, IntegrationTestCase, Proxy
from tests.integration.processes import free_port, ready_checks
from tests.integration.redis_server import RedisServer

JOINED = "earlier decisions can be used"


class Authorizer(ThreadingHTTPServer):
    """An authorization service that counts its calls; it denies paths that begin with C{/closed}.

    @ivar calls: the number of calls for each path.
    @ivar members: further members of each response.
    @ivar seconds: the time of each call.
    """

    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.members: dict[str, Any] = {"ttl": 60, "cacheKey": ["method", "path"]}
        self.seconds = 0.0
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        """The value for C{--authz-url}."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        """Stop the service."""
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Authorizer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = "/" + request["url"].partition("//")[2].partition("/")[2]
        self.server.calls[path] += 1
        time.sleep(self.server.seconds)
        allowed = not path.startswith("/closed")
        content = json.dumps({"allowed": allowed, **self.server.members}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


class ReplicasTestCase(IntegrationTestCase):
    """Base: an engine, an authorization service, and replicas."""

    def setUp(self) -> None:
        super().setUp()
        self.authorizer = Authorizer()
        self.addCleanup(self.authorizer.stop)
        self.key = self.write("shared.key", "0123456789abcdef" * 4)

    def start_engine(self, *options: str) -> RedisServer:
        engine = RedisServer(*options)
        self.addCleanup(engine.remove)
        return engine

    def start_replica(self, location: str, *options: str) -> Proxy:
        """Start a replica with a metrics port."""
        self.metrics_port = free_port()
        shared = ("--shared", location, "--shared-key-file", str(self.key), "--metrics-port", str(self.metrics_port))
        return self.start_proxy("--authz-url", self.authorizer.url, *shared, *options)

    def join(self, *replicas: Proxy, times: int = 1) -> None:
        """Wait until replicas can use decisions of each other."""
        for proxy in replicas:
            number = times * max(1, len(proxy.workers))
            self.wait_until(lambda: proxy.process.output().count(JOINED) >= number, "a replica joins the others")  # noqa: B023

    def status(self, proxy: Proxy, path: str) -> int:
        """Send a request on a connection of its own."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy.url}))
        try:
            with opener.open(self.origins.http_url(path), timeout=30) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    def note(self) -> str:
        """Return what the last replica reports about shared state."""
        return ready_checks(self.metrics_port)["shared"]


class SharingTests(ReplicasTestCase):
    """One call of the authorization service is enough for all replicas."""

    def test_decisions(self) -> None:
        """HTTP and HTTPS; allows and denials; a replica that starts later."""
        engine = self.start_engine()
        one, two = self.start_replica(engine.location), self.start_replica(engine.location)
        self.join(one, two)
        urls = [self.origins.http_url("/echo?a"), self.origins.https_url("/files/hello.txt")]
        for proxy in (one, two):
            for url in urls:
                self.assertEqual(self.fetch(proxy, url)[0], 200)
            self.assertEqual(self.fetch(proxy, self.origins.https_url("/closed/x"))[0], 403)
        self.assertEqual(dict(self.authorizer.calls), {"/echo?a": 1, "/files/hello.txt": 1, "/closed/x": 1})
        self.assertEqual([record["source"] for record in self.records(one, 3)], [None] * 3)
        self.assertEqual([record["source"] for record in self.records(two, 3)], ["replica"] * 3)
        one.process.stop()
        later = self.start_replica(engine.location)
        self.join(later)
        self.assertEqual(self.status(later, "/echo?b"), 200)
        self.assertEqual(self.fetch(later, self.origins.https_url("/closed/x"))[0], 403)
        self.assertEqual(sum(self.authorizer.calls.values()), 3)
        self.assertEqual(self.note(), "ok")
        everything = b"".join([*engine.values(), *engine.values().values()])
        for text in (b"echo", b"hello", b"127.0.0.1", b"closed", b"allow"):
            self.assertNotIn(text, everything)

    def test_one_call_at_a_time(self) -> None:
        """Equal requests on two replicas at the same time become one call."""
        engine = self.start_engine()
        replicas = [self.start_replica(engine.location), self.start_replica(engine.location)]
        self.join(*replicas)
        self.authorizer.seconds = 0.5
        found: list[int] = []
        threads = [
            threading.Thread(target=lambda proxy=proxy, path=path: found.append(self.status(proxy, path)))
            for path in ("/echo", "/closed/1", "/closed/2")
            for proxy in (*replicas, *replicas)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(Counter(found), {200: 4, 403: 8})
        self.assertEqual(dict(self.authorizer.calls), {"/echo": 1, "/closed/1": 1, "/closed/2": 1})

    def test_workers(self) -> None:
        """The workers of one proxy share, too."""
        proxy = self.start_replica(self.start_engine().location, "--workers", "2")
        self.join(proxy)
        for _ in range(ENOUGH_FOR_BOTH):
            self.assertEqual(self.status(proxy, "/echo"), 200)
        self.assertEqual(dict(self.authorizer.calls), {"/echo": 1})
        sources = {record["source"] for record in self.records(proxy, ENOUGH_FOR_BOTH)}
        self.assertEqual(sources, {None, "cache", "replica"})

    def test_tls_and_user(self) -> None:
        """An ACL user with the documented permissions, over TLS with a CA of the organization."""
        ca = TestCA("CA of the engine")
        ca.issue("localhost").write(self.directory, "redis")
        certificate = ca.write(self.directory, "redis-ca")
        port = free_port()
        engine = self.start_engine(
            *("--tls-port", str(port), "--tls-auth-clients", "no"),
            *("--tls-cert-file", str(self.directory / "redis.pem")),
            *("--tls-key-file", str(self.directory / "redis-key.pem")),
            *("--tls-ca-cert-file", str(certificate)),
        )
        permissions = "~egress:* +select +set +del +exists +eval +evalsha +get +getrange +pexpire +xadd +xread"
        engine.run("ACL", "SETUSER", "egress", "on", ">s3cret", *permissions.split())
        password = self.write("password", "s3cret\n")
        options = ["--shared-password-file", str(password)]
        bundle = self.write("cas.pem", certificate.read_text() + self.origins.ca.read_text())
        options += ["--ssl-extra-ca-certs", str(bundle)]
        location = f"rediss://egress@localhost:{port}"
        one, two = self.start_replica(location, *options), self.start_replica(location, *options)
        self.join(one, two)
        for proxy in (one, two):
            self.assertEqual(self.status(proxy, "/echo"), 200)
        # The path for which a lease is renewed.
        self.authorizer.seconds = 1.2
        for proxy in (one, two):
            self.assertEqual(self.status(proxy, "/closed"), 403)
        self.assertEqual(dict(self.authorizer.calls), {"/echo": 1, "/closed": 1})
        for proxy in (one, two):
            self.assertNotIn("s3cret", proxy.process.output())
        engine.run("ACL", "SETUSER", "egress", "-eval", "-evalsha")
        self.assertEqual(self.status(one, "/new"), 200)
        self.assertEqual(self.authorizer.calls["/new"], 1)


class FailureTests(ReplicasTestCase):
    """Whatever happens to the engine, each request is authorized."""

    def setUp(self) -> None:
        super().setUp()
        self.engine = self.start_engine()
        self.one = self.start_replica(self.engine.location)
        self.two = self.start_replica(self.engine.location)
        self.join(self.one, self.two)

    def assert_authorized(self, name: str) -> None:
        """Check that both replicas get decisions on new requests."""
        for proxy in (self.one, self.two):
            self.assertEqual(self.status(proxy, f"/echo/{name}"), 200)
            self.assertEqual(self.status(proxy, f"/closed/{name}"), 403)

    def test_killed(self) -> None:
        self.assert_authorized("before")
        self.engine.kill()
        self.assert_authorized("without")
        self.assertEqual(self.authorizer.calls["/echo/without"], 2)
        self.wait_until(lambda: "decides without shared state" in self.note())
        self.engine.start()
        self.wait_until(lambda: self.note() == "ok", "the replica uses the engine again")
        self.join(self.one, self.two, times=2)
        self.assert_authorized("after")
        self.assertEqual((self.authorizer.calls["/echo/before"], self.authorizer.calls["/echo/after"]), (1, 1))

    def test_hanging(self) -> None:
        """An engine that does not respond costs each replica one timeout."""
        self.engine.send_signal(signal.SIGSTOP)
        try:
            begun = time.monotonic()
            for number in range(3):
                self.assert_authorized(f"hanging-{number}")
            self.assertLess(time.monotonic() - begun, 10)
        finally:
            self.engine.send_signal(signal.SIGCONT)
        self.wait_until(lambda: self.note() == "ok", "the replica uses the engine again")

    def test_attacker(self) -> None:
        """Values that someone else writes allow nothing."""
        self.assert_authorized("x")
        values = self.engine.values()
        decisions = [name for name in values if b":decision:" in name]
        self.assertEqual(len(decisions), 2)
        for replacement in (*[values[name] for name in decisions], b'{"allowed":true}', b"x" * 100_000):
            for name in decisions:
                self.engine.run("SET", name, replacement)
            third = self.start_replica(self.engine.location)
            self.join(third)
            self.assertEqual(self.status(third, "/closed/x"), 403)
            self.assertEqual(self.status(third, "/echo/x"), 200)
            third.process.stop()
        for name in values:
            self.engine.run("DEL", name)
            self.engine.run("LPUSH", name, "another type")
        third = self.start_replica(self.engine.location)
        self.assertEqual(self.status(third, "/closed/x"), 403)


class RevocationTests(ReplicasTestCase):
    """A revocation on one replica applies to all of them within a second."""

    def start_with_admin(self, location: str, name: str, *options: str) -> tuple[Proxy, AdminApi]:
        admin = f"unix:{self.directory / name}"
        return self.start_replica(location, "--admin", admin, *options), AdminApi(AdminEndpoint.parse(admin), None)

    def tunnel(self, proxy: Proxy, port: int) -> socket.socket:
        """Open a passthrough tunnel, and use it."""
        client = socket.create_connection(("127.0.0.1", proxy.port), 30)
        self.addCleanup(client.close)
        client.sendall(f"CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
        self.assertIn(b" 200 ", client.recv(1000))
        client.sendall(b"ping")
        self.assertEqual(client.recv(10), b"ping")
        return client

    def test_tunnels_and_decisions(self) -> None:
        engine = self.start_engine()
        echo = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(echo.close)
        port = echo.getsockname()[1]

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=_repeat, args=(echo.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        one, admin = self.start_with_admin(engine.location, "one", "--passthrough", "localhost")
        two, _ = self.start_with_admin(engine.location, "two", "--passthrough", "localhost", "--workers", "2")
        self.join(one, two)
        for proxy in (one, two):
            self.assertEqual(self.status(proxy, "/echo"), 200)
        clients = [self.tunnel(proxy, port) for proxy in (one, two)]
        begun = time.monotonic()
        admin.call("POST", "/revocations", {"kind": "all", "by": "alice"})
        for client in clients:
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(client.recv(10), b"")
        self.assertLess(time.monotonic() - begun, 1.5)
        self.wait_until(lambda: two.process.output().count("alice revoked all decisions on another replica") == 2)
        # Neither replica uses a decision from before.
        before = self.authorizer.calls["/echo"]
        for proxy in (one, two):
            self.assertEqual(self.status(proxy, "/echo"), 200)
        self.assertEqual(before, 1)
        self.assertGreater(self.authorizer.calls["/echo"], 1)

    def test_later_replica(self) -> None:
        """Someone who can write to the engine hides the revocation from a replica, and repeats a decision."""
        engine = self.start_engine()
        one, admin = self.start_with_admin(engine.location, "one")
        self.join(one)
        self.assertEqual(self.status(one, "/echo"), 200)
        kinds = (b":decision:", b":lists:")
        decisions = {name: value for name, value in engine.values().items() if any(kind in name for kind in kinds)}
        self.assertEqual(len(decisions), 2)
        admin.call("POST", "/revocations", {"kind": "all", "by": "alice"})
        one.process.stop()
        for name in engine.run("KEYS", "*"):
            engine.run("DEL", name)
        for name, value in decisions.items():
            engine.run("SET", name, value)
        later = self.start_replica(engine.location)
        self.join(later)
        self.assertEqual(self.status(later, "/echo"), 200)
        self.assertEqual(self.authorizer.calls["/echo"], 2)


def _repeat(connection: socket.socket) -> None:
    with contextlib.suppress(OSError), connection:
        while data := connection.recv(1000):
            connection.sendall(data)
