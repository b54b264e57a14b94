"""Upstream proxies: Squid and tinyproxy, with Basic authentication."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from tests.integration.base import IntegrationTestCase
from tests.integration.processes import Process, free_port, program

USER, PASSWORD = "runner", "upstream-secret"

_SQUID = """
http_port 127.0.0.1:{port}
auth_param basic program {helper} {users}
acl authenticated proxy_auth REQUIRED
acl closed url_regex /closed
acl closed_tunnel port 9
http_access deny closed_tunnel
http_access deny closed
http_access allow authenticated
http_access deny all
cache deny all
pid_filename {directory}/squid.pid
access_log stdio:{directory}/access.log
cache_log {directory}/cache.log
coredump_dir {directory}
shutdown_lifetime 0 seconds
"""

_TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 60
MaxClients 50
BasicAuth {user} {password}
"""


class UpstreamTestCase(IntegrationTestCase):
    """Base: starts upstream proxies."""

    def start_squid(self) -> tuple[str, Path]:
        """Start Squid.

        @return: C{host:port}, and its access log.
        """
        port, directory = free_port(), self.directory / "squid"
        directory.mkdir()
        # Squid drops root privileges for its own user.
        for path in (self.directory, directory):
            path.chmod(0o1777)
        users = directory / "users"
        digest = subprocess.run(
            [program("openssl"), "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True
        ).stdout.strip()
        users.write_text(f"{USER}:{digest}\n")
        helper = next(Path("/usr/lib").glob("**/squid/basic_ncsa_auth"), Path("/usr/lib/squid/basic_ncsa_auth"))
        config = directory / "squid.conf"
        config.write_text(_SQUID.format(port=port, helper=helper, users=users, directory=directory))
        squid = Process([program("squid"), "-N", "-f", str(config)], directory, "squid")
        self.addCleanup(squid.stop)
        squid.wait_for_port(port)
        return f"127.0.0.1:{port}", directory / "access.log"

    def wait_for_tunnels(self, log: Path, count: int) -> None:
        """Wait until Squid has logged its tunnels, which it does when they close, and check their number."""
        deadline = time.monotonic() + 5
        while log.read_text().count("TCP_TUNNEL") < count and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(log.read_text().count("TCP_TUNNEL"), count)

    def start_tinyproxy(self) -> str:
        """Start tinyproxy.

        @return: C{host:port}.
        """
        port = free_port()
        config = self.write("tinyproxy.conf", _TINYPROXY.format(port=port, user=USER, password=PASSWORD))
        tinyproxy = Process([program("tinyproxy"), "-d", "-c", str(config)], self.directory, "tinyproxy")
        self.addCleanup(tinyproxy.stop)
        tinyproxy.wait_for_port(port)
        return f"127.0.0.1:{port}"


class SquidTests(UpstreamTestCase):
    """Through Squid."""

    def test_http_and_https(self) -> None:
        squid, log = self.start_squid()
        proxy = self.start_proxy(*self.allow_all(), "--upstream-proxy", f"http://{USER}:{PASSWORD}@{squid}")
        for url in (self.origins.http_url("/echo?secret"), self.origins.https_url("/echo?secret")):
            with self.subTest(url):
                status, content = self.fetch(proxy, url)
                self.assertEqual(status, 200)
                headers = json.loads(content)["headers"]
                self.assertNotIn("proxy-authorization", headers)
        proxy.process.stop()
        self.wait_for_tunnels(log, 1)
        lines = log.read_text()
        self.assertIn(f"GET {self.origins.http_url('/echo')}", lines)
        self.assertIn(f"CONNECT localhost:{self.origins.https}", lines)
        self.assertIn(f" {USER} ", lines)
        everything = proxy.process.output() + proxy.audit.read_text()
        self.assertNotIn(PASSWORD, everything)

    def test_wrong_credentials(self) -> None:
        squid, _ = self.start_squid()
        seen = self.origins.requests_seen()
        proxy = self.start_proxy(*self.allow_all(), "--upstream-proxy", f"http://{USER}:wrong@{squid}")
        for url in (self.origins.http_url("/echo"), self.origins.https_url("/echo")):
            with self.subTest(url):
                problem = self.assert_problem(proxy, url, 502, "upstream")
                self.assertIn("407", problem["reason"])
        self.assertEqual(self.origins.requests_seen(), seen)

    def test_a_rejected_tunnel(self) -> None:
        squid, _ = self.start_squid()
        proxy = self.start_proxy(*self.allow_all(), "--upstream-proxy", f"http://{USER}:{PASSWORD}@{squid}")
        done = self.curl(proxy, "-i", "https://127.0.0.1:9/")
        self.assertIn("received-status=403", done.stdout)
        problem = self.assert_problem(proxy, "https://127.0.0.1:9/", 502, "upstream")
        self.assertIn("403", problem["reason"])

    def test_no_proxy_and_the_environment(self) -> None:
        squid, log = self.start_squid()
        upstream = f"http://{USER}:{PASSWORD}@{squid}"
        tunnels = 0
        for name, no_proxy, direct in (
            ("by name", "localhost", True),
            ("by port", f"localhost:{self.origins.https}", True),
            ("everything", "*", True),
            # This request is last: its tunnel is logged only after those that must not have occurred.
            ("another port", "localhost:1", False),
        ):
            with self.subTest(name):
                proxy = self.start_proxy(*self.allow_all(), HTTPS_PROXY=upstream, NO_PROXY=no_proxy)
                self.assertEqual(self.fetch(proxy, self.origins.https_url("/echo"))[0], 200)
                proxy.process.stop()
                tunnels += not direct
                self.wait_for_tunnels(log, tunnels)

    def test_an_unavailable_upstream_proxy(self) -> None:
        proxy = self.start_proxy(*self.allow_all(), "--upstream-proxy", f"http://127.0.0.1:{free_port()}")
        for url in (self.origins.http_url("/echo"), self.origins.https_url("/echo")):
            with self.subTest(url):
                self.assertIn("refused", self.assert_problem(proxy, url, 502, "upstream")["reason"])


class TinyproxyTests(UpstreamTestCase):
    """Through tinyproxy."""

    def test_http_and_https(self) -> None:
        tinyproxy = self.start_tinyproxy()
        proxy = self.start_proxy(*self.allow_all(), "--proxy", f"http://{USER}:{PASSWORD}@{tinyproxy}")
        for url in (self.origins.http_url("/echo"), self.origins.https_url("/echo")):
            with self.subTest(url):
                self.assertEqual(self.fetch(proxy, url)[0], 200)

    def test_wrong_credentials(self) -> None:
        """Its rejection of a tunnel is its own; for HTTP it responds like an origin, with 401."""
        tinyproxy = self.start_tinyproxy()
        seen = self.origins.requests_seen()
        proxy = self.start_proxy(*self.allow_all(), "--proxy", f"http://{USER}:wrong-secret@{tinyproxy}")
        problem = self.assert_problem(proxy, self.origins.https_url("/echo"), 502, "upstream")
        self.assertRegex(problem["reason"], "refused the connection with 40[17]")
        self.assertIn(self.fetch(proxy, self.origins.http_url("/echo"))[0], (401, 502))
        self.assertEqual(self.origins.requests_seen(), seen)
        proxy.process.stop()
        self.assertNotIn("wrong-secret", proxy.process.output() + proxy.audit.read_text())

    def test_the_authorizer_is_queried_directly(self) -> None:
        url, record = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", url, "--upstream-proxy", f"http://127.0.0.1:{free_port()}")
        self.assert_problem(proxy, self.origins.http_url("/echo"), 502, "upstream")
        self.assertEqual(len(record.read_text().splitlines()), 1)
