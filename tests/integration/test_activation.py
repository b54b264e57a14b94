"""Socket activation: a restart refuses no connection, and an upgrade overlaps."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence

from tests.integration.base import IntegrationTestCase, children, proxy_environment, twistd
from tests.integration.processes import Process, free_port

# What systemd does: the sockets are descriptors 3 and following, and LISTEN_PID names the process that may use them.
ACTIVATE = """
import fcntl, os, sys
numbers, names, *command = sys.argv[1:]
moved = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in numbers.split(",")]
for at, number in enumerate(moved, 3):
    os.dup2(number, at)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(moved)), LISTEN_FDNAMES=names)
os.execv(command[0], command)
"""


class Load:
    """Sends requests, each on a new connection, until it is stopped.

    @ivar statuses: the statuses of the responses.
    @ivar errors: the connections that failed.
    """

    def __init__(self, port: int, url: str) -> None:
        self._port, self._url = port, url
        self._ended = threading.Event()
        self.statuses: list[int] = []
        self.errors: list[str] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.005):
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            try:
                connection.request("GET", self._url)
                response = connection.getresponse()
                response.read()
                self.statuses.append(response.status)
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(repr(error))
            finally:
                connection.close()

    def stop(self) -> None:
        """Wait for the last responses."""
        self._ended.set()
        for thread in self._threads:
            thread.join()


class ActivationTests(IntegrationTestCase):
    """Proxies on sockets that outlive them."""

    def open(self, port: int = 0, *, reuse_port: bool = False) -> socket.socket:
        """Open a listening socket."""
        opened = socket.create_server(("127.0.0.1", port), backlog=128, reuse_port=reuse_port)
        self.addCleanup(opened.close)
        return opened

    def activate(self, sockets: Sequence[socket.socket], name: str, *options: str) -> Process:
        """Start a proxy as systemd does."""
        numbers = [each.fileno() for each in sockets]
        arguments = [
            *(sys.executable, "-c", ACTIVATE, ",".join(map(str, numbers)), ":".join(["proxy"] * len(numbers))),
            *twistd("--ca-dir", str(self.directory / "ca"), "--allow-address", "127.0.0.0/8", *options),
        ]
        process = Process(arguments, self.directory, name, proxy_environment(), numbers)
        self.addCleanup(self.stop_cleanly, process)
        process.wait_for("listens on")
        return process

    def load(self, listening: socket.socket) -> Load:
        """Start a load, which has no failures in the end."""
        load = Load(listening.getsockname()[1], self.origins.http_url("/files/hello.txt"))
        self.addCleanup(load.stop)
        self.wait_until(lambda: load.statuses, "the first response")
        return load

    def wait_for_more(self, load: Load) -> None:
        """Wait for more responses."""
        least = len(load.statuses) + 10
        self.wait_until(lambda: len(load.statuses) > least, "more responses")

    def check(self, load: Load, least: int) -> None:
        """Check that each request of a load got its response."""
        load.stop()
        self.assertEqual((set(load.statuses), load.errors), ({200}, []))
        self.assertGreater(len(load.statuses), least)

    def test_a_restart(self) -> None:
        """Connections wait for the next process."""
        listening = self.open()
        for workers in ("1", "2"):
            with self.subTest(workers=workers):
                options = ("--listen", "systemd:name=proxy", "--workers", workers, *self.allow_all())
                first = self.activate([listening], f"first-{workers}", *options)
                load = self.load(listening)
                self.stop_cleanly(first)
                before = len(load.statuses)
                second = self.activate([listening], f"second-{workers}", *options)
                self.wait_for_more(load)
                self.check(load, before)
                self.stop_cleanly(second)

    def test_an_upgrade(self) -> None:
        """The next process accepts connections before the previous one drains."""
        listening = self.open()
        options = ("--listen", "systemd:", *self.allow_all())
        first = self.activate([listening], "first", *options)
        load = self.load(listening)
        self.activate([listening], "second", *options)
        slowest = time.monotonic()
        self.stop_cleanly(first)
        before = len(load.statuses)
        self.wait_for_more(load)
        self.assertLess(time.monotonic() - slowest, 20)
        self.check(load, before)

    def test_a_socket_for_each_worker(self) -> None:
        """The kernel distributes connections among them (C{ReusePort=} of the unit)."""
        one = self.open(reuse_port=True)
        two = self.open(one.getsockname()[1], reuse_port=True)
        proxy = self.activate([one, two], "proxy", "--listen", "systemd:", "--workers", "2", *self.allow_all())
        self.assertEqual(len(children(proxy.popen.pid)), 2)
        load = self.load(one)
        self.wait_until(lambda: len(load.statuses) > 40, "responses")
        self.check(load, 40)

    def test_settings_of_the_listener(self) -> None:
        clients = self.write("clients", "alice:sha256:" + "0" * 64 + "\n")
        listening = self.open()
        options = ("--listen", f"systemd:name=proxy:client-auth={clients}", *self.allow_all())
        self.activate([listening], "proxy", *options)
        load = self.load(listening)
        load.stop()
        self.assertEqual(set(load.statuses), {407})

    def test_no_sockets(self) -> None:
        for workers in ("1", "2"):
            arguments = twistd("--ca-dir", str(self.directory / "ca"), "--workers", workers, "--listen", "systemd:")
            process = Process(arguments, self.directory, f"alone-{workers}", proxy_environment())
            self.assertEqual(process.popen.wait(30), 1)
            self.assertIn("start it with a .socket unit", process.output())


class DrainTests(IntegrationTestCase):
    """Metrics and health show the drain."""

    def page(self, port: int, path: str) -> tuple[int, str]:
        """Return a page of the metrics port."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def test_pages(self) -> None:
        for workers in ("1", "2"):
            with self.subTest(workers=workers):
                self.drain(workers, free_port())

    def drain(self, workers: str, port: int) -> None:
        """Stop a proxy with an exchange in progress, and read its pages meanwhile."""
        proxy = self.start_proxy("--metrics-port", str(port), "--workers", workers, *self.allow_all())
        self.assertEqual(json.loads(self.page(port, "/health/ready")[1])["checks"]["running"], "ok")
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as client:
            target = f"127.0.0.1:{self.origins.http}"
            client.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            self.assertIn(b" 200 ", client.recv(4096))
            client.sendall(f"POST /sink HTTP/1.1\r\nHost: {target}\r\nContent-Length: 9\r\n\r\n".encode())
            self.wait_until(lambda: "egress_client_connections 1.0" in self.page(port, "/metrics")[1])
            proxy.process.popen.terminate()
            self.wait_until(lambda: self.page(port, "/health/ready")[0] == 503, "the drain")
            self.assertIn("is stopping", self.page(port, "/health/ready")[1])
            self.assertEqual(self.page(port, "/health/live")[0], 200)
            self.assertIn("egress_client_connections 1.0", self.page(port, "/metrics")[1])
            client.sendall(b"123456789")
            self.assertIn(b" 200 ", client.recv(4096))
        proxy.process.popen.wait(20)
