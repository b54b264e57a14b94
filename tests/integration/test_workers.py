"""Several processes behind one C{twistd}, as seen by clients, process managers and scrapers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.integration.base import (
    ENOUGH_FOR_BOTH,
    IntegrationTestCase,
    Proxy,
    children,
    proxy_environment,
    sitecustomize,
    twistd,
)
from tests.integration.processes import Process, free_port

PATIENCE = 20.0


def runs(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(") ")[2][0] != "Z"


class WorkersTestCase(IntegrationTestCase):
    """Base: proxies with two workers."""

    forks_workers = False

    def start_workers(self, *options: str, **env: Any) -> Proxy:
        """Start a proxy with two workers."""
        proxy = self.start_proxy(*self.allow_all(), "--workers", "2", *options, **env)
        self.assertEqual(len(proxy.workers), 2)
        return proxy

    def get(self, proxy: Proxy, path: str = "/echo") -> bytes:
        """Send one request on its own connection.

        @return: the whole response.
        @raise OSError: when there is no response.
        """
        url = self.origins.http_url(path)
        host = url.split("/")[2]
        with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as client:
            client.sendall(f"GET {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        if not answer.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"{answer[:200]!r}")
        return answer

    def page(self, port: int, path: str) -> tuple[int, str]:
        """Return a page of the metrics port."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode("utf-8")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode("utf-8")

    def numbers(self, port: int) -> dict[str, float]:
        """Return the metrics: the value of each sample."""
        _, text = self.page(port, "/metrics")
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        }

    def lines(self, proxy: Proxy) -> list[dict[str, Any]]:
        """Return the lines of the audit log in the output of a proxy."""
        return [json.loads(line) for line in proxy.process.output().splitlines() if line.startswith("{")]


FORWARDED = 'egress_decisions_total{outcome="forwarded",verdict="allow"}'


class ServingTests(WorkersTestCase):
    """Both workers serve, and look like one proxy."""

    def test_both_workers_get_connections(self) -> None:
        port = free_port()
        proxy = self.start_workers("--metrics-port", str(port))
        before = {pid: self.time_of(pid) for pid in proxy.workers}
        for _ in range(60):
            self.get(proxy)
        # The probability that all sixty connections reach one worker is 2 ** -59.
        self.wait_until(lambda: len(proxy.records()) == 60, "sixty records")
        numbers = self.numbers(port)
        self.assertEqual(numbers[FORWARDED], 60)
        self.assertEqual(numbers["egress_exchange_seconds_count"], 60)
        for pid, spent in before.items():
            with self.subTest(pid=pid):
                self.assertGreater(self.time_of(pid), spent)

    def time_of(self, pid: int) -> float:
        """Return the number of context switches of a process: each connection wakes it."""
        match = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        assert match is not None
        return int(match[1])

    def test_long_lived_clients_are_balanced(self) -> None:
        """A worker that is busy, or does not respond at all, gets fewer connections, and no client waits for it."""
        proxy = self.start_workers()
        first, second = proxy.workers
        empty = {pid: self.sockets_of(pid) for pid in proxy.workers}
        clients: list[socket.socket] = []

        def numbers() -> list[int]:
            return [len(self.sockets_of(pid) - empty[pid]) for pid in (first, second)]

        def connect(number: int) -> None:
            for _ in range(number):
                client = socket.create_connection(("127.0.0.1", proxy.port), PATIENCE)
                self.addCleanup(client.close)
                clients.append(client)
                self.wait_until(lambda: sum(numbers()) == len(clients), "an accepted connection")

        connect(8)
        # A worker that does not respond in time, on a busy machine, leaves one connection to the other one.
        self.assertGreaterEqual(min(numbers()), 3, numbers())
        os.kill(first, signal.SIGSTOP)
        try:
            connect(8)
            # None of them waits for the worker that does not respond.
            self.assertGreaterEqual(numbers()[1], 8, numbers())
        finally:
            os.kill(first, signal.SIGCONT)
        self.assertEqual(sum(numbers()), 16)

    def sockets_of(self, pid: int) -> set[str]:
        """Return the sockets of a process."""
        found = set()
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.add(os.readlink(entry))
        return {name for name in found if name.startswith("socket:")}

    def test_the_message_names_them(self) -> None:
        proxy = self.start_workers()
        proxy.process.wait_for(", 2 workers\n", "egress env ")

    def test_requests_to_own_ports_are_blocked(self) -> None:
        port = free_port()
        proxy = self.start_workers("--metrics-port", str(port))
        for number in (proxy.port, port):
            for _ in range(8):
                self.assert_problem(proxy, f"http://127.0.0.1:{number}/metrics", 403, "address")

    def test_records(self) -> None:
        """With --log-format json, each line of the output is a record, also those of workers."""
        proxy = self.start_workers("--log-format", "json")
        proxy.process.wait_for("egress env", '"worker": 2')
        proxy.process.stop()
        records = [json.loads(line) for line in proxy.process.output().splitlines()]
        self.assertEqual({record.get("worker") for record in records}, {None, 1, 2})
        for record in records:
            self.assertLessEqual({"time", "level", "logger", "message"}, record.keys())
            self.assertRegex(record["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")

    def test_port_0_and_a_unix_socket(self) -> None:
        path = self.directory / "proxy.sock"
        arguments = twistd(
            "--workers", "2", "--listen", "tcp:0:interface=127.0.0.1", "--listen", f"unix:{path}:mode=600",
            "--listen", "tcp6:0:interface=\\:\\:1", "--ca-dir", str(self.directory / "ca"),
        )  # fmt: skip
        process = Process(arguments, self.directory, "egressproxy", proxy_environment())
        self.addCleanup(process.stop)
        output = process.wait_for("egress env ")
        found = re.search(r"listens on 127\.0\.0\.1:(\d+), unix:(\S+), \[::1\]:(\d+), 2 workers\n", output)
        assert found is not None
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        for _ in range(8):
            for family, address in (
                (socket.AF_INET, ("127.0.0.1", int(found[1]))),
                (socket.AF_UNIX, found[2]),
                (socket.AF_INET6, ("::1", int(found[3]))),
            ):
                with self.subTest(address), socket.socket(family) as client:
                    client.settimeout(PATIENCE)
                    client.connect(address)
                    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    self.assertTrue(client.recv(1000).startswith(b"HTTP/1.1 400"))
        self.assertEqual(process.stop(), -signal.SIGTERM)
        self.assertFalse(path.exists())

    def test_secrets_are_in_no_command_line_and_no_environment(self) -> None:
        proxy = self.start_workers(
            "--upstream-proxy", "none", EGRESS_AUTHZ_TOKEN="hunter2", HTTP_PROXY="http://alice:hunter2@127.0.0.1:1"
        )
        for pid in proxy.workers:
            for name in ("environ", "cmdline"):
                with self.subTest(name):
                    self.assertNotIn(b"hunter2", Path(f"/proc/{pid}/{name}").read_bytes())

    def test_one_ca(self) -> None:
        proxy = self.start_workers()
        for _ in range(8):
            status, _ = self.fetch(proxy, self.origins.https_url("/echo"))
            self.assertEqual(status, 200)


class FailingTests(WorkersTestCase):
    """A failed start: one line, status 1, and no process remains."""

    def start(self, *options: str, **env: str) -> str:
        """Start a proxy that cannot start.

        @return: its output on standard error.
        """
        done = subprocess.run(
            twistd("--ca-dir", str(self.directory / "ca"), "--workers", "2", *options),
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self.directory,
            env={**proxy_environment(), **env},
            check=False,
        )
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        return done.stderr

    def test_a_busy_port(self) -> None:
        for shared in (False, True):
            with self.subTest(shared=shared), socket.socket() as busy:
                # Another proxy with workers would share its port with any socket that sets SO_REUSEPORT.
                busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
                busy.bind(("127.0.0.1", 0))
                busy.listen()
                port = busy.getsockname()[1]
                line = self.start("--listen", f"tcp:{port}:interface=127.0.0.1")
                self.assertIn(f"127.0.0.1:{port}: Address already in use", line)

    def test_two_proxies_on_one_port(self) -> None:
        proxy = self.start_workers()
        self.assertIn("Address already in use", self.start("--listen", f"tcp:{proxy.port}:interface=127.0.0.1"))
        self.get(proxy)

    def test_a_busy_metrics_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            port = busy.getsockname()[1]
            line = self.start("--listen", "tcp:0:interface=127.0.0.1", "--metrics-port", str(port))
        self.assertIn("--metrics-port: cannot listen on", line)

    def test_a_worker_that_does_not_start(self) -> None:
        program = "import sys\nif '-m' in sys.orig_argv:\n    raise SystemExit('out of order')\n"
        path = sitecustomize(self.directory, program)
        line = self.start("--listen", "tcp:0:interface=127.0.0.1", PYTHONPATH=path)
        self.assertRegex(line, r"worker \d exited before it was ready: SystemExit: out of order")


class DyingTests(WorkersTestCase):
    """A worker that dies loses its own exchanges, and no others."""

    def test_kill_under_load(self) -> None:
        port = free_port()
        proxy = self.start_workers("--metrics-port", str(port))
        victim, other = proxy.workers
        answered, failed = [], []
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                try:
                    answered.append(self.get(proxy))
                except OSError as error:
                    failed.append(error)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        self.addCleanup(stop.set)
        self.wait_until(lambda: len(answered) > 40, "answers before")
        counted = self.numbers(port)[FORWARDED]
        os.kill(victim, signal.SIGKILL)
        self.wait_until(lambda: len(set(proxy.workers) - {victim}) == 2, "another worker")
        before = len(answered)
        self.wait_until(lambda: len(answered) > before + 40, "answers after")
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
        # At most the exchanges in progress: one request of each thread.
        self.assertLessEqual(len(failed), len(threads), failed)
        self.assertIn(other, proxy.workers)
        # The other worker responds before the new one has started.
        running = 'egress_workers{state="running"}'
        self.wait_until(lambda: self.numbers(port)[running] == 2, "two workers that run")
        numbers = self.numbers(port)
        self.assertGreater(numbers[FORWARDED], counted)
        self.assertEqual(numbers["egress_worker_restarts_total"], 1)
        self.assertEqual(numbers['egress_workers{state="configured"}'], 2)
        output = proxy.process.wait_for("restarting in")
        self.assertRegex(output, r"worker \d was killed by SIGKILL; restarting in 0\.1 seconds")

    def test_connections_in_the_backlog(self) -> None:
        proxy = self.start_workers()
        stopped = proxy.workers
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        clients = [socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) for _ in range(8)]
        for client in clients:
            self.addCleanup(client.close)
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        for pid in stopped:
            os.kill(pid, signal.SIGKILL)
        # They were not accepted yet, so the next workers accept them.
        for client in clients:
            self.assertTrue(client.recv(1000).startswith(b"HTTP/1.1 400"))

    def test_counters_never_decrease(self) -> None:
        port = free_port()
        proxy = self.start_workers("--metrics-port", str(port))
        for _ in range(20):
            self.get(proxy)
        self.wait_until(lambda: self.numbers(port)[FORWARDED] == 20, "the numbers")
        silent, dead = proxy.workers
        os.kill(silent, signal.SIGSTOP)
        self.addCleanup(lambda: runs(silent) and os.kill(silent, signal.SIGCONT))  # type: ignore[func-returns-value]
        begun = time.monotonic()
        numbers = self.numbers(port)
        self.assertLess(time.monotonic() - begun, 3)
        self.assertEqual(numbers[FORWARDED], 20)
        self.assertNotIn(f'process_open_fds{{worker="{silent}"}}', numbers)
        self.assertEqual(len([name for name in numbers if name.startswith("process_open_fds")]), 2)
        os.kill(dead, signal.SIGKILL)
        self.wait_until(lambda: dead not in proxy.workers and len(proxy.workers) == 2, "another worker")
        self.assertEqual(self.numbers(port)[FORWARDED], 20)
        status, text = self.page(port, "/health/ready")
        self.assertEqual(status, 503)
        self.assertRegex(json.loads(text)["checks"]["workers"], r"worker \d: no response")
        os.kill(silent, signal.SIGCONT)
        self.wait_until(lambda: self.page(port, "/health/ready")[0] == 200, "ready again")
        self.assertEqual(self.numbers(port)[FORWARDED], 20)


class HealthTests(WorkersTestCase):
    """One health status for all workers."""

    def test_ready(self) -> None:
        port = free_port()
        self.start_workers("--metrics-port", str(port))
        status, text = self.page(port, "/health/ready")
        self.assertEqual(
            (status, json.loads(text)),
            (
                200,
                {
                    "status": "ready",
                    "checks": {"authorizer": "ok", "audit": "ok", "ca": "ok", "running": "ok", "workers": "ok"},
                },
            ),
        )
        self.assertEqual(self.page(port, "/health/live")[0], 200)

    def test_not_ready(self) -> None:
        port = free_port()
        self.start_proxy(
            "--workers", "2", "--metrics-port", str(port), "--authz-url", f"http://127.0.0.1:{free_port()}"
        )
        status, text = self.page(port, "/health/ready")
        self.assertEqual(status, 503)
        self.assertIn("workers 1, 2: ", json.loads(text)["checks"]["authorizer"])


class AuditTests(WorkersTestCase):
    """One stream of whole lines."""

    # Longer than an atomic write to a pipe.
    PATH = "/echo?" + "x" * 6000

    def load(self, proxy: Proxy, count: int) -> None:
        """Send requests, several concurrently."""

        def some() -> None:
            for _ in range(count // 4):
                self.get(proxy, self.PATH)

        threads = [threading.Thread(target=some) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    def test_standard_output(self) -> None:
        proxy = self.start_workers("--audit-log", "-")
        self.load(proxy, 200)
        self.wait_until(lambda: len(self.lines(proxy)) == 200, "200 lines")
        self.assertTrue(all(self.PATH in record["url"] for record in self.lines(proxy)))

    def test_a_pipe(self) -> None:
        path = self.directory / "fifo"
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        proxy = self.start_workers("--audit-log", str(path))
        found = bytearray()
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                with contextlib.suppress(BlockingIOError):
                    found.extend(os.read(reader, 65536))

        thread = threading.Thread(target=read)
        thread.start()
        self.load(proxy, 100)
        self.wait_until(lambda: found.count(b"\n") == 100, "100 lines")
        stop.set()
        thread.join()
        os.close(reader)
        for line in found.splitlines():
            self.assertIn(self.PATH, json.loads(line)["url"])

    def test_a_file_that_is_rotated(self) -> None:
        proxy = self.start_workers()
        self.load(proxy, 100)
        self.wait_until(lambda: len(proxy.records()) == 100, "100 lines")
        old = proxy.audit.rename(proxy.audit.with_suffix(".1"))
        time.sleep(1.1)
        self.load(proxy, 100)
        self.wait_until(proxy.audit.exists, "a new file")
        self.wait_until(lambda: len(proxy.records()) == 100, "100 lines")
        self.assertEqual(len(old.read_text().splitlines()), 100)


class StoppingTests(WorkersTestCase):
    """No process remains."""

    def test_sigterm_drains(self) -> None:
        proxy = self.start_workers()
        workers = proxy.workers
        url = self.origins.http_url("/hold")
        clients = []
        for _ in range(ENOUGH_FOR_BOTH):
            client = socket.create_connection(("127.0.0.1", proxy.port), PATIENCE)
            self.addCleanup(client.close)
            client.sendall(f"GET {url} HTTP/1.1\r\nHost: {url.split('/')[2]}\r\nConnection: close\r\n\r\n".encode())
            clients.append(client)
        answers = [client.recv(65536) for client in clients]
        proxy.process.popen.send_signal(signal.SIGTERM)
        while True:
            try:
                socket.create_connection(("127.0.0.1", proxy.port), PATIENCE).close()
            except OSError:
                break
        self.assertEqual([runs(pid) for pid in (proxy.pid, *workers)].count(True), 3)
        urllib.request.urlopen(self.origins.http_url("/release"), timeout=PATIENCE).close()
        for client, answer in zip(clients, answers, strict=True):
            while piece := client.recv(65536):
                answer += piece
            self.assertIn(b"second", answer)
        self.assertEqual(proxy.process.popen.wait(PATIENCE), -signal.SIGTERM)
        self.assertEqual([pid for pid in workers if runs(pid)], [])

    def test_sigterm_to_all(self) -> None:
        """As systemd sends it: the end of a worker is not reported as a failure."""
        proxy = self.start_workers()
        workers = proxy.workers
        for pid in (*workers, proxy.pid):
            os.kill(pid, signal.SIGTERM)
        self.assertEqual(proxy.process.popen.wait(PATIENCE), -signal.SIGTERM)
        # A parent that has not started its reactor yet ends without waiting for them; they end without it.
        self.wait_until(lambda: not any(map(runs, workers)), "the workers end")

    def test_a_terminal_interrupts_all(self) -> None:
        proxy = self.start_workers()
        workers = proxy.workers
        for pid in (*workers, proxy.pid):
            os.kill(pid, signal.SIGINT)
        self.assertEqual(proxy.process.popen.wait(PATIENCE), -signal.SIGINT)
        # While the reactor starts, Ctrl-C ends the parent immediately; a worker needs a moment to detect that.
        deadline = time.monotonic() + PATIENCE
        while any(map(runs, workers)) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual([pid for pid in workers if runs(pid)], [])
        self.assertNotIn("restarting in", proxy.process.output())

    def test_kill_of_the_parent(self) -> None:
        proxy = self.start_workers()
        workers = proxy.workers
        client = socket.create_connection(("127.0.0.1", proxy.port), PATIENCE)
        self.addCleanup(client.close)
        url = self.origins.http_url("/hold")
        client.sendall(f"GET {url} HTTP/1.1\r\nHost: {url.split('/')[2]}\r\n\r\n".encode())
        client.recv(65536)
        os.kill(proxy.pid, signal.SIGKILL)
        self.wait_until(lambda: not any(map(runs, workers)), "the end of the workers")
        urllib.request.urlopen(self.origins.http_url("/release"), timeout=PATIENCE).close()
        # The port is free, too.
        with socket.create_server(("127.0.0.1", proxy.port)):
            pass

    def test_one_is_one_process(self) -> None:
        proxy = self.start_proxy(*self.allow_all(), "--workers", "1")
        self.assertEqual(children(proxy.pid), [])
        self.assertNotIn(" workers\n", proxy.process.output())
