"""C{--policy URL}: the policy is downloaded, and the last good version stays in use."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

from tests.integration.base import ALLOW_ALL, DENY_ALL, ONE_PROCESS, IntegrationTestCase, Proxy, run_egress
from tests.integration.policy_server import PolicyServer
from tests.integration.processes import free_port, ready_checks

TOKEN = "policies-token"


class PolicyUrlTests(IntegrationTestCase):
    """A server distributes the policy to a real proxy."""

    def start(self, server: PolicyServer, *options: str) -> Proxy:
        """Start a proxy with the policy of the server."""
        trusted = self.write("trusted.pem", Path(server.ca).read_text("utf-8") + self.origins.ca.read_text("utf-8"))
        # The last of two values of --ssl-extra-ca-certs has precedence.
        self.metrics = free_port()
        return self.start_proxy(
            *(() if "--shadow-policy" in options else ("--policy", server.url)),
            *("--policy-interval", "200ms", "--ssl-extra-ca-certs", str(trusted)),
            *("--policy-dir", str(self.directory / "state"), "--metrics-port", str(self.metrics)),
            *options,
        )

    def status_of(self, proxy: Proxy) -> int:
        """Return the status of a request."""
        return self.fetch(proxy, self.url)[0]

    def page(self, path: str) -> str:
        """Return a page of the metrics port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}{path}", timeout=10) as response:
            content: bytes = response.read()
        return content.decode("utf-8")

    def readiness(self) -> dict[str, str]:
        """Return the results of the readiness checks."""
        return ready_checks(self.metrics)

    def setUp(self) -> None:
        super().setUp()
        self.url = self.origins.http_url("/files/hello.txt")

    def test_loads_follows_and_keeps(self) -> None:
        token = self.write("token", TOKEN)
        server = PolicyServer(self.directory, ALLOW_ALL.encode(), TOKEN)
        proxy = self.start(server, "--policy-token-file", str(token))
        self.wait_until(lambda: self.readiness().get("policy") == "ok", "the policy is loaded")
        self.assertEqual(self.status_of(proxy), 200)
        self.wait_until(lambda: server.statuses.count(304) > 1, "the policy is checked")
        server.content, server.etag = b"garbage", '"2"'
        self.wait_until(lambda: "is not TOML" in self.readiness()["policy"], "the fault is visible")
        self.assertEqual(self.status_of(proxy), 200)
        server.content, server.etag = DENY_ALL.encode(), '"3"'
        self.wait_until(lambda: self.status_of(proxy) == 403, "the new policy decides")
        self.assertEqual(self.readiness()["policy"], "ok")
        self.assertEqual(proxy.process.output().count("is not TOML"), 1)
        # The next start has no server: the stored version decides.
        server.stop()
        proxy.process.stop()
        again = self.start(server, "--policy-token-file", str(token))
        self.assert_problem(again, self.url, 403, "authz")
        self.wait_until(lambda: "the connection was refused" in self.readiness()["policy"], "the fault is visible")
        self.assertIn("keeping the last good version", again.process.output())

    def test_signed_bundles(self) -> None:
        key, policy, bundle = (str(self.directory / name) for name in ("policy.key", "policy.toml", "policy.bundle"))
        self.assertEqual(run_egress("policy", "keygen", key).returncode, 0)

        def signed(text: str, version: int) -> bytes:
            self.write("policy.toml", text)
            done = run_egress("policy", "bundle", policy, "-k", key, "-o", bundle, "--version", str(version))
            self.assertEqual(done.returncode, 0, done.stderr)
            return Path(bundle).read_bytes()

        server = PolicyServer(self.directory, ALLOW_ALL.encode())
        proxy = self.start(server, "--policy-key", f"{key}.pub")
        self.wait_until(lambda: "is not signed" in self.readiness()["policy"], "the fault is visible")
        self.assertEqual(self.status_of(proxy), 503)
        old = server.content = signed(ALLOW_ALL, 1)
        self.wait_until(lambda: self.status_of(proxy) == 200, "the first version decides")
        server.content, server.etag = signed(DENY_ALL, 2), '"2"'
        self.wait_until(lambda: self.status_of(proxy) == 403, "the second version decides")
        server.content, server.etag = old, '"3"'
        self.wait_until(lambda: "older than version 2" in self.readiness()["policy"], "the old version is rejected")
        self.assertEqual(self.status_of(proxy), 403)
        server.stop()

    def test_denies_without_a_policy(self) -> None:
        server = PolicyServer(self.directory, ALLOW_ALL.encode())
        server.status = 302
        proxy = self.start(server)
        self.wait_until(lambda: "redirects are not followed" in self.readiness()["policy"], "the fault is visible")
        problem = self.assert_problem(proxy, self.url, 503, "authz-unavailable")
        self.assertIn("the policy is not loaded yet", problem["reason"])
        server.status = 200
        self.wait_until(lambda: self.status_of(proxy) == 200, "the policy is loaded")
        server.stop()

    def test_maximum_age(self) -> None:
        server = PolicyServer(self.directory, ALLOW_ALL.encode())
        # Two workers could differ for a second.
        proxy = self.start(server, "--policy-max-age", "3s", *ONE_PROCESS)
        self.wait_until(lambda: self.status_of(proxy) == 200, "the policy is loaded")
        server.status = 500
        self.wait_until(lambda: self.status_of(proxy) == 503, "the policy is too old")
        problem = self.assert_problem(proxy, self.url, 503, "authz-unavailable")
        self.assertIn("--policy-max-age", problem["reason"])
        self.assertIn("--policy-max-age", self.readiness()["policy"])
        server.status = 200
        self.wait_until(lambda: self.status_of(proxy) == 200, "the policy is checked again")
        server.stop()

    def test_shadow(self) -> None:
        """A canary: each process compares with the newest version of the server."""
        server = PolicyServer(self.directory, ALLOW_ALL.encode())
        options = ("--policy", str(self.write("allow.toml", ALLOW_ALL)), "--shadow-policy", server.url)
        proxy = self.start(server, *options)
        self.assertEqual(self.status_of(proxy), 200)

        def results() -> dict[str, float]:
            pattern = r'^egress_shadow_decisions_total\{result="(\w+)"\} (\S+)'
            found = re.findall(pattern, self.page("/metrics"), re.MULTILINE)
            return {result: float(number) for result, number in found}

        def result_after_a_request(result: str) -> bool:
            self.assertEqual(self.status_of(proxy), 200)
            return results().get(result, 0.0) > 0

        self.wait_until(lambda: result_after_a_request("same"), "the shadow policy is loaded")
        server.content, server.etag = DENY_ALL.encode(), '"2"'
        self.wait_until(lambda: result_after_a_request("stricter"), "the new shadow policy is compared")
        self.assertIn('egress_policy_checks_total{policy="shadow",result="updated"} 2.0', self.page("/metrics"))
        server.stop()
