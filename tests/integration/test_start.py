"""Starting and stopping: messages for users, and exit statuses for process managers."""

from __future__ import annotations

import functools
import http.server
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import urllib.request
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from egress.runtime.build import build_name
from tests.certificates import TestCA
from tests.integration.base import (
    IntegrationTestCase,
    Proxy,
    proxy_environment,
    run_egress,
    run_in_fork,
    sitecustomize,
    start_of,
    twistd,
)
from tests.integration.processes import Process, free_port


class BuildTests(IntegrationTestCase):
    """The programs that the tests start have the build of the tests: L{tests.compiled} names the one that it tests."""

    forked = False

    def test_programs(self) -> None:
        build = os.environ.get("EGRESS_TEST_BUILD", build_name())
        port = free_port()
        proxy = self.start_proxy("--metrics-port", str(port), *self.allow_all())
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as metrics:
            self.assertIn(f'build="{build}"', metrics.read().decode())
        self.assertEqual(build_name(), build)
        self.assertIn(f"({build} build)", run_egress("--version").stdout)
        self.assertEqual(proxy.process.output().count("(compiled)"), build == "compiled")


class WrongValueTests(IntegrationTestCase):
    """An invalid value: one line that names the option and the fix, and status 1."""

    def start(self, *options: str, **env: str) -> str:
        """Start a proxy that cannot start.

        @return: its output on standard error.
        """
        command = twistd("--ca-dir", str(self.directory / "ca"), *options)
        if start_of(env) is not None:
            done = run_in_fork(command, self.directory, proxy_environment(**env), name="twistd")
        else:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=60,
                cwd=self.directory,
                env=proxy_environment(**env),
                check=False,
            )
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        return done.stderr

    def test_wrong_values(self) -> None:
        missing = str(self.directory / "missing")
        for name, options in (
            ("--authz-url", ["--authz-url", "ftp://authz.test"]),
            ("--authz-timeout", ["--authz-timeout", "soon"]),
            ("--policy", ["--policy", missing]),
            ("--ssl-extra-ca-certs", ["--ssl-extra-ca-certs", missing]),
            ("--upstream-proxy", ["--upstream-proxy", "socks4://proxy.test"]),
            ("--body-limit", ["--body-limit", "-1"]),
            ("--allow-address", ["--allow-address", "10.0.0.0/99"]),
            ("--metrics-port", ["--metrics-port", "http"]),
            ("--config", ["--config", missing]),
            ("--listen", ["--listen", "nonsense"]),
            ("--no-such-option", ["--no-such-option"]),
        ):
            with self.subTest(name):
                self.assertIn(name, self.start(*options))

    def test_the_environment_is_named(self) -> None:
        self.assertIn("EGRESS_AUTHZ_TIMEOUT", self.start(EGRESS_AUTHZ_TIMEOUT="soon"))

    def test_a_busy_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            port = busy.getsockname()[1]
            line = self.start("--listen", f"tcp:{port}:interface=127.0.0.1")
        self.assertIn(str(port), line)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without logging."""

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""


class StartTests(IntegrationTestCase):
    """A proxy that starts successfully."""

    forked = False

    def test_the_message(self) -> None:
        proxy = self.start_proxy()
        certificate = x509.load_pem_x509_certificate(proxy.ca.read_bytes())
        fingerprint = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
        # The message comes after the port is open.
        proxy.process.wait_for(
            *(f"127.0.0.1:{proxy.port}", str(proxy.ca), fingerprint, "policy starter", 'eval "$(', "egress env ")
        )

    def test_the_starter_policy(self) -> None:
        proxy = self.start_proxy(local=False)
        problem = self.assert_problem(proxy, "https://blocked.example.com/", 403, "authz")
        self.assertEqual(problem["ruleId"], "blocked-example")

    def test_the_starter_policy_lets_through(self) -> None:
        # A host name outside internal networks, on a port that the starter policy allows.
        ca = TestCA("starter CA")
        # The port is fixed, so the address is one that no other run of the tests uses.
        address = f"127.9.{os.getpid() >> 8 & 0xFF}.{os.getpid() & 0xFF}"
        certificate, key = ca.issue(address).write(self.directory)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        handler = functools.partial(QuietHandler, directory=str(self.directory))
        server = http.server.ThreadingHTTPServer((address, 8443), handler)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self.write("page.txt", "a page\n")
        proxy = self.start_proxy("--ssl-extra-ca-certs", str(ca.write(self.directory)))
        self.assertEqual(self.fetch(proxy, f"https://{address}:8443/page.txt"), (200, "a page\n"))
        (record,) = self.records(proxy, 1)
        self.assertEqual((record["decidedBy"], record["ruleId"]), ("policy starter", "public"))

    def test_the_ca_directory(self) -> None:
        proxy = self.start_proxy()
        modes = {path.name: path.stat().st_mode & 0o777 for path in (proxy.ca.parent, *proxy.ca.parent.iterdir())}
        self.assertEqual(modes["ca"], 0o700)
        self.assertEqual(modes["ca-key.pem"], 0o600)

    def test_two_processes_make_one_ca(self) -> None:
        ca_dir = self.directory / "shared-ca"
        processes = []
        for number in range(2):
            port = free_port()
            arguments = twistd("--listen", f"tcp:{port}:interface=127.0.0.1", "--ca-dir", str(ca_dir))
            process = Process(arguments, self.directory / str(number), "egressproxy", proxy_environment())
            self.addCleanup(process.stop)
            processes.append(process)
        fingerprints = set()
        for process in processes:
            output = process.wait_for("SHA-256", 'eval "$(', "egress env ")
            fingerprints.update(re.findall(r"SHA-256 +([0-9A-F:]+)", output))
        self.assertEqual(len(fingerprints), 1)

    def test_help(self) -> None:
        done = subprocess.run(
            twistd("--help-all"), capture_output=True, text=True, timeout=60, env=proxy_environment(), check=True
        )
        for option in ("--authz-url", "EGRESS_AUTHZ_URL", "--listen", "tcp:8080:interface=127.0.0.1", "--body-limit"):
            with self.subTest(option):
                self.assertIn(option, done.stdout)

    def test_check(self) -> None:
        """--check connects to the services, and binds no port."""
        own = self.origins.http_url("/").rstrip("/")
        for url, status, expected in (
            (own, 0, f"ok       --authz-url: the authorization service {own}/validate accepts connections"),
            (f"http://127.0.0.1:{free_port()}", 1, "error    --authz-url: the authorization service refused"),
        ):
            done = subprocess.run(
                twistd("--check", "--ca-dir", str(self.directory / "ca"), "--authz-url", url),
                capture_output=True, text=True, timeout=60, env=proxy_environment(), check=False,
            )  # fmt: skip
            self.assertEqual(done.returncode, status, done.stdout + done.stderr)
            self.assertIn(expected, done.stdout)
            self.assertFalse((self.directory / "ca").exists())

    def test_metrics_and_health(self) -> None:
        port = free_port()
        proxy = self.start_proxy(*self.allow_all(), "--metrics-port", str(port))
        self.fetch(proxy, self.origins.http_url("/echo"))
        pages = {}
        for path in ("/metrics", "/health/live", "/health/ready"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                pages[path] = answer.read().decode("utf-8")
        self.assertIn('egress_decisions_total{outcome="forwarded",verdict="allow"} 1.0', pages["/metrics"])
        self.assertIn("ready", pages["/health/ready"])


# Ctrl-C during the first output, in a callback of a Deferred.
INTERRUPTED = """
import signal
from egress import tap
tap.start_message = lambda *anything, **named: signal.raise_signal(signal.SIGINT) or "on and on"
"""


class StopTests(IntegrationTestCase):
    """SIGTERM lets exchanges finish."""

    forked = False
    # The same as the default where all proxies have two workers.
    variants: tuple[tuple[str, ...], ...] = ((), ("--workers", "2"))
    if "EGRESS_TEST_WORKERS" in os.environ:
        variants = ((),)

    def held_download(self, proxy: Proxy) -> tuple[subprocess.Popen[str], Path]:
        """Start a download that the origin has not finished."""
        output = self.directory / "download"
        output.unlink(missing_ok=True)
        arguments = ["curl", "-sSN", "--max-time", "30", "-x", proxy.url, "--noproxy", "", "-o", str(output)]
        client = subprocess.Popen(
            [*arguments, self.origins.http_url("/hold")], text=True, stderr=subprocess.PIPE, env=proxy_environment()
        )
        while not output.exists() or output.read_text() != "first\n":
            self.assertIsNone(client.poll())
        return client, output

    def test_interrupted_while_it_starts(self) -> None:
        process = Process(
            twistd("--listen", f"tcp:{free_port()}", "--ca-dir", str(self.directory / "ca")),
            self.directory,
            "egressproxy",
            proxy_environment(PYTHONPATH=sitecustomize(self.directory, INTERRUPTED)),
        )
        self.addCleanup(process.stop)
        self.assertEqual(process.popen.wait(20), -signal.SIGINT)
        self.assertNotIn("Traceback", process.output())

    def test_a_second_signal(self) -> None:
        """It cuts what the first one waits for."""
        for options in self.variants:
            for number in (signal.SIGTERM, signal.SIGINT):
                with self.subTest(options=options, number=number):
                    proxy = self.start_proxy(*self.allow_all(), *options)
                    client, _ = self.held_download(proxy)
                    proxy.process.popen.send_signal(number)
                    proxy.process.wait_for("shutting down")
                    self.assertIsNone(proxy.process.popen.poll())
                    proxy.process.popen.send_signal(number)
                    _, errors = client.communicate(timeout=20)
                    self.assertNotEqual((client.returncode, errors), (0, ""))
                    self.assertEqual(proxy.process.popen.wait(10), -number)

    def test_both_signals_in_one_turn(self) -> None:
        """The second one arrives before the reactor processes the first one."""
        for options in self.variants:
            with self.subTest(options=options):
                proxy = self.start_proxy(*self.allow_all(), *options)
                client, _ = self.held_download(proxy)
                popen = proxy.process.popen
                # A stopped process receives both when it continues.
                for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
                    popen.send_signal(number)
                client.communicate(timeout=20)
                self.assertIn(popen.wait(10), (-signal.SIGTERM, -signal.SIGINT))

    def test_a_download_is_finished(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        client, output = self.held_download(proxy)
        proxy.process.popen.send_signal(signal.SIGTERM)
        # It accepts no new connections any more.
        while True:
            try:
                socket.create_connection(("127.0.0.1", proxy.port), timeout=5).close()
            except (ConnectionRefusedError, ConnectionResetError):
                break
        self.assertIsNone(proxy.process.popen.poll())
        urllib.request.urlopen(self.origins.http_url("/release"), timeout=10).close()
        _, errors = client.communicate(timeout=20)
        self.assertEqual((client.returncode, errors), (0, ""))
        self.assertEqual(output.read_text(), "first\nsecond\n")
        # twistd ends itself with the signal that it received.
        self.assertEqual(proxy.process.popen.wait(20), -signal.SIGTERM)
