"""C{egress explain}, as run by a user: without a proxy, and against a running proxy."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.integration.base import IntegrationTestCase, run_egress
from tests.integration.names import NameServer

POLICY = """
version = 1

[[rules]]
id = "no-secrets"
action = "deny"
reason = "nobody reads these"
paths = ["/private/**"]

[[rules]]
id = "local"
action = "allow"
reason = "our own"
hosts = ["localhost"]
"""


class ExplainTests(IntegrationTestCase):
    """Its output and exit status."""

    def explain(self, *arguments: str, status: int) -> dict[str, Any]:
        done = self.run_explain(*arguments, "--json")
        self.assertEqual(done.returncode, status, done.stderr)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def run_explain(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return run_egress("explain", *arguments, directory=self.directory, **env)

    def options(self) -> list[str]:
        return [
            *("--policy", str(self.write("policy.toml", POLICY)), "--ssl-extra-ca-certs", str(self.origins.ca)),
            *("--allow-address", "127.0.0.0/8", "--allow-address", "::1/128"),
            *("--ca-dir", str(self.directory / "ca"), "--audit-log", str(self.directory / "audit.jsonl")),
        ]

    def outcomes(self, found: dict[str, Any]) -> dict[str, str]:
        return {step["name"]: step["outcome"] for step in found["steps"]}

    def test_in_the_shell_of_a_client(self) -> None:
        """With the variables of a client, the result is that of the running proxy, and not an allow."""
        server = NameServer({"inside.test": ["127.0.0.1"]})
        self.addCleanup(server.close)
        policy = self.write("policy.toml", POLICY.replace("localhost", "inside.test"))
        options = ["--policy", str(policy), "--dns-server", server.address]
        proxy = self.start_proxy(*options, local=False)
        self.assert_problem(proxy, "http://inside.test/", 403, "address")
        done = run_egress("env", "--proxy", proxy.url, "--ca-dir", str(proxy.ca.parent), "--format", "json")
        client = {name: value for name, value in json.loads(done.stdout).items() if value is not None}
        done = self.run_explain("GET", "http://inside.test/", *options, **client)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("deny: inside.test resolves to 127.0.0.1", done.stdout)
        self.assertIn("HTTP_PROXY", done.stderr)
        # A proxy that is chained to another one on purpose; the other one decides on the address.
        done = self.run_explain("GET", "http://inside.test/", *options, "--upstream-proxy", proxy.url, **client)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn(f"through {proxy.url}", done.stdout)

    def test_without_a_running_proxy(self) -> None:
        seen = self.origins.requests_seen()
        found = self.explain("GET", self.origins.https_url("/json"), "--connect", *self.options(), status=0)
        self.assertEqual((found["verdict"], found["ruleId"], found["reason"]), ("allow", "local", "our own"))
        self.assertEqual(set(self.outcomes(found).values()), {"ok"})
        self.assertIn("TLSv1", found["steps"][-1]["details"][0])
        self.assertEqual(self.origins.requests_seen(), seen)
        # The command made no files.
        self.assertFalse((self.directory / "ca").exists())
        self.assertFalse((self.directory / "audit.jsonl").exists())

    def test_denied(self) -> None:
        done = self.run_explain("GET", self.origins.http_url("/private/x"), *self.options())
        self.assertEqual((done.returncode, done.stderr), (1, ""))
        self.assertIn("deny: nobody reads these\n", done.stdout)
        self.assertIn("rule no-secrets", done.stdout)

    def test_blocked(self) -> None:
        found = self.explain("GET", "https://127.0.0.1/", "--ca-dir", str(self.directory / "ca"), status=1)
        self.assertEqual((found["code"], self.outcomes(found)["address"]), ("address-forbidden", "no"))

    def test_unknown_host(self) -> None:
        found = self.explain("GET", "http://nothing.invalid/", "--ca-dir", str(self.directory / "ca"), status=3)
        self.assertEqual((found["verdict"], found["code"]), ("none", "name-not-resolved"))

    def test_wrong(self) -> None:
        done = self.run_explain("GET", "https://a.test/", "--policy", "missing.toml")
        self.assertEqual(done.returncode, 2)
        self.assertTrue(done.stderr.startswith("egress: --policy"), done.stderr)

    def test_against_a_running_proxy(self) -> None:
        admin = f"unix:{self.directory / 'admin.sock'}"
        policy = self.write("policy.toml", POLICY)
        proxy = self.start_proxy("--policy", str(policy), "--admin", admin)
        url = self.origins.https_url("/json")
        found = self.explain("GET", url, "--admin", admin, "--connect", status=0)
        self.assertEqual((found["verdict"], self.outcomes(found)["connection"]), ("allow", "ok"))
        found = self.explain("POST", self.origins.https_url("/private/x"), "--admin", admin, "--body", "x", status=1)
        self.assertEqual((found["verdict"], found["ruleId"]), ("deny", "no-secrets"))
        self.assertEqual(proxy.records(), [])
