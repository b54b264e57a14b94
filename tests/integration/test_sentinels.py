"""Replicas whose shared state is in a Redis that sentinels manage."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import socketserver
import threading
import time
import urllib.request
from collections import Counter
from typing import Any

import hiredis

from egress.cli.admin_client import AdminApi, AdminFailed
from egress.config.admin_endpoint import AdminEndpoint
from tests.certificates import TestCA
from tests.integration.base import Proxy
from tests.integration.processes import free_port
from tests.integration.redis_sentinels import NAME, SentinelGroup, SentinelProcess
from tests.integration.test_replicas import ReplicasTestCase


class Load:
    """Clients that send requests to proxies until they are stopped.

    @ivar found: how often each status was the response to each kind of path.
    """

    def __init__(self, test: ReplicasTestCase, *proxies: Proxy) -> None:
        self._test = test
        self._ends = threading.Event()
        self.found: Counter[tuple[str, int]] = Counter()
        self._threads = [threading.Thread(target=self._run, args=(proxy,)) for proxy in proxies]
        for thread in self._threads:
            thread.start()
        test.addCleanup(self.stop)

    def _run(self, proxy: Proxy) -> None:
        number = 0
        while not self._ends.wait(0.02):
            number += 1
            for kind in ("echo", "closed"):
                self.found[kind, self._test.status(proxy, f"/{kind}/load-{number}")] += 1

    def stop(self) -> None:
        """Stop the clients."""
        self._ends.set()
        for thread in self._threads:
            thread.join()


class SentinelsTestCase(ReplicasTestCase):
    """Base: replicas with an admin API and a metrics port."""

    def setUp(self) -> None:
        super().setUp()
        self.ports: dict[Proxy, int] = {}

    def start(self, location: str, *options: str) -> tuple[Proxy, AdminApi]:
        admin = f"unix:{self.directory / f'admin-{len(self.ports)}'}"
        proxy = self.start_replica(location, "--admin", admin, *options)
        self.ports[proxy] = self.metrics_port
        return proxy, AdminApi(AdminEndpoint.parse(admin), None)

    def page(self, proxy: Proxy, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[proxy]}{path}", timeout=30) as page:
            content: bytes = page.read()
            return content.decode()

    def shared(self, proxy: Proxy) -> str:
        """Return the result of the readiness check."""
        found: str = json.loads(self.page(proxy, "/health/ready"))["checks"]["shared"]
        return found

    def uses(self, port: int, *proxies: Proxy) -> bool:
        """Return whether proxies use the master on a port."""
        return all(self.shared(proxy) == f"ok: the master is 127.0.0.1:{port}" for proxy in proxies)


class FailoverTests(SentinelsTestCase):
    """The master is killed under load."""

    def test_failover(self) -> None:
        group = SentinelGroup()
        self.addCleanup(group.remove)
        (one, admin), (two, _) = [self.start(group.location, "--passthrough", "localhost") for _ in range(2)]
        self.join(one, two)
        old, new = group.ports
        self.assertTrue(self.uses(old, one, two))
        for proxy in (one, two):
            for path in ("/echo/first", "/echo/second"):
                self.assertEqual(self.status(proxy, path), 200)
        self.assertEqual(self.authorizer.calls["/echo/first"], 1)
        tunnel = self.tunnel(two)
        load = Load(self, one, two)
        # The replica of the engine does not get the last writes.
        group.servers[1].send_signal(signal.SIGSTOP)
        before = threading.Thread(target=self.revoke, args=(admin, "first"))
        before.start()
        time.sleep(0.05)
        group.servers[0].kill()
        group.servers[1].send_signal(signal.SIGCONT)
        before.join()
        # Without an engine, the other proxy learns of it later.
        self.revoke(admin, "second")
        self.authorizer.members["allowed"] = False
        self.wait_until(lambda: any(each.master_port() == new for each in group.sentinels), "a failover")
        decided = time.monotonic()
        self.wait_until(lambda: self.uses(new, one, two), "the proxies use the new master")
        self.assertLess(time.monotonic() - decided, 3)
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(tunnel.recv(10), b"")
        self.wait_until(lambda: two.process.output().count("alice revoked ") == 2, "both revocations")
        for proxy in (one, two):
            for path in ("/echo/first", "/echo/second"):
                self.assertEqual(self.status(proxy, path), 403)
        load.stop()
        self.assertEqual({key for key in load.found if key[0] == "closed"}, {("closed", 403)})
        self.assertLessEqual({status for _, status in load.found}, {200, 403})
        # They share again, and a revocation is confirmed.
        del self.authorizer.members["allowed"]
        self.join(one, two, times=2)
        self.wait_until(lambda: self.share(one, two), "a shared decision")
        self.wait_until(lambda: self.revoke(admin, "third") == [], "a confirmed revocation")
        metrics = self.page(one, "/metrics")
        self.assertIn(f'egress_shared_master{{address="127.0.0.1:{new}"}} 1.0', metrics)
        self.assertIn("egress_shared_master_changes_total 1.0", metrics)
        self.assertIn(f"connected to the master 127.0.0.1:{new} of redis+sentinel://", one.process.output())

    def share(self, *proxies: Proxy) -> bool:
        """Return whether one call of the authorization service was enough for a new request."""
        path = f"/echo/{len(self.authorizer.calls)}"
        self.assertEqual([self.status(proxy, path) for proxy in proxies], [200] * len(proxies))
        return self.authorizer.calls[path] == 1

    def revoke(self, admin: AdminApi, reason: str) -> object:
        """Revoke all decisions, and return the nodes that did not confirm it."""
        try:
            return admin.call("POST", "/revocations", {"kind": "all", "by": "alice"}).get("unconfirmed", [])
        except AdminFailed as error:
            return str(error)

    def tunnel(self, proxy: Proxy) -> socket.socket:
        """Open a passthrough tunnel."""
        client = socket.create_connection(("127.0.0.1", proxy.port), 30)
        self.addCleanup(client.close)
        authority = f"localhost:{self.origins.https}"
        client.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        self.assertIn(b" 200 ", client.recv(1000))
        return client


class FalseSentinel(socketserver.ThreadingTCPServer):
    """A sentinel that an attacker controls.

    @ivar reply: the reply to each command, in the protocol of Redis.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        self.reply = b"*-1\r\n"
        super().__init__(("127.0.0.1", 0), _FalseSentinelConnection)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    def name(self, port: int) -> None:
        """Name the master on a port."""
        command: tuple[Any, ...] = ("127.0.0.1", port)
        self.reply = hiredis.pack_command(command)

    def stop(self) -> None:
        """Stop it."""
        self.shutdown()
        self.server_close()
        self._thread.join()


class _FalseSentinelConnection(socketserver.BaseRequestHandler):
    server: FalseSentinel

    def handle(self) -> None:
        reader = hiredis.Reader()
        with contextlib.suppress(ConnectionResetError):
            while data := self.request.recv(65536):
                reader.feed(data)
                while reader.gets() is not False:
                    self.request.sendall(self.server.reply)


class AttackerTests(SentinelsTestCase):
    """Someone controls the sentinel: proxies then use an engine with forged values, or none."""

    def test_attacker(self) -> None:
        ports = free_port(), free_port()
        engine, forged = [self.start_engine("--port", str(port)) for port in ports]
        sentinel = FalseSentinel()
        self.addCleanup(sentinel.stop)
        sentinel.name(ports[0])
        location = f"redis+sentinel://127.0.0.1:{sentinel.server_address[1]}/{NAME}"
        one, _ = self.start(location)
        self.join(one)
        for path, status in (("/echo/x", 200), ("/closed/x", 403)):
            self.assertEqual(self.status(one, path), status)
        values = engine.values()
        decisions = [name for name in values if b":decision:" in name]
        self.assertEqual(len(decisions), 2)
        # The denial is replaced by a value of another request, and by one that no holder of the key wrote.
        for name, value in values.items():
            forged.run("SET", name, value)
        for name, other in zip(decisions, reversed(decisions), strict=True):
            forged.run("SET", name, values[other])
        sentinel.name(ports[1])
        self.wait_until(lambda: self.uses(ports[1], one), "the proxy follows the sentinel")
        two, _ = self.start(location)
        self.join(two)
        for proxy in (one, two):
            self.assertEqual(self.status(proxy, "/closed/x"), 403)
            self.assertEqual(self.status(proxy, "/echo/x"), 200)
        # A replica is not a master, and these are not addresses.
        forged.run("REPLICAOF", "127.0.0.1", str(ports[0]))
        forged.run("CLIENT", "KILL", "TYPE", "normal")
        self.assert_unusable(one, "not a master")
        sentinel.reply = b"*2\r\n$1\r\nx\r\n$1\r\ny\r\n"
        self.assert_unusable(one, "an address that is not valid")
        for proxy in (one, two):
            self.assertEqual(self.status(proxy, "/closed/y"), 403)
            self.assertEqual(self.status(proxy, "/echo/y"), 200)
        sentinel.name(ports[0])
        self.wait_until(lambda: self.uses(ports[0], one, two), "both use the engine again")
        self.assertEqual(self.status(one, "/closed/z"), 403)

    def assert_unusable(self, proxy: Proxy, reason: str) -> None:
        def is_unusable() -> bool:
            found = self.shared(proxy)
            return found.startswith("ok: redis+sentinel://") and reason in found

        self.wait_until(is_unusable, reason)


class TlsTests(SentinelsTestCase):
    """TLS, and credentials of the sentinels and of the master."""

    def test_tls_and_users(self) -> None:
        ca = TestCA("CA of the engine")
        bundle = self.write("cas.pem", ca.write(self.directory, "redis-ca").read_text() + self.origins.ca.read_text())
        for name, host in (("sentinel", "localhost"), ("engine", "127.0.0.1"), ("other", "localhost")):
            ca.issue(host).write(self.directory, name)

        def files(name: str) -> dict[str, str]:
            return {
                "tls-cert-file": str(self.directory / f"{name}.pem"),
                "tls-key-file": str(self.directory / f"{name}-key.pem"),
                "tls-ca-cert-file": str(self.directory / "redis-ca.pem"),
            }

        port = free_port()
        tls = {"tls-port": str(port), "tls-auth-clients": "no", **files("other")}
        engine = self.start_engine(*(text for name, value in tls.items() for text in (f"--{name}", value)))
        permissions = "~egress:* +role +select +set +del +exists +eval +evalsha +get +getrange +pexpire +xadd +xread"
        engine.run("ACL", "SETUSER", "egress", "on", ">s3cret", *permissions.split())
        lines = ["port 0", "tls-port {port}", "tls-auth-clients no", "tls-replication yes"]
        lines += [f"{name} {value}" for name, value in files("sentinel").items()]
        lines += ["user default off", "user watcher on >hidden +auth +sentinel|get-master-addr-by-name"]
        sentinel = SentinelProcess(port, 1, *lines)
        self.addCleanup(sentinel.remove)
        options = ["--shared-password-file", str(self.write("password", "s3cret\n"))]
        options += ["--shared-sentinel-password-file", str(self.write("sentinel-password", "hidden\n"))]
        options += ["--ssl-extra-ca-certs", str(bundle)]
        location = f"rediss+sentinel://egress@localhost:{sentinel.port}/{NAME}?sentinel_username=watcher"
        one, _ = self.start(location, *options)
        # The certificate must be valid for the address that the sentinel names.
        self.wait_until(lambda: "the master 127.0.0.1" in self.shared(one), "a connection to the master")
        self.assertIn("cannot be used", self.shared(one))
        engine.run("CONFIG", "SET", *(text for pair in files("engine").items() for text in pair))
        self.wait_until(lambda: self.uses(port, one), "a certificate for the address")
        self.assertEqual(self.status(one, "/echo"), 200)
        self.assertEqual(self.status(one, "/closed"), 403)
        self.assertNotIn("s3cret", one.process.output())
        self.assertNotIn("hidden", one.process.output())
