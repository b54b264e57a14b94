"""The main use case: newman runs a Postman collection, and every request is decided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.integration.base import ALLOW_ALL, IntegrationTestCase, Proxy
from tests.integration.processes import HERE, node_module
from tests.integration.test_egressauthz import TOKEN, Service

COLLECTION = HERE / "collections" / "main.postman_collection.json"
WRITES = {"json", "form", "multipart upload", "put", "delete"}
# A redirect is two requests.
REQUESTS = 15

DENY_WRITES = """
version = 1

[[rules]]
id = "no-writes"
action = "deny"
reason = "writes are not allowed from here"
methods = ["POST", "PUT", "PATCH", "DELETE"]

[[rules]]
action = "allow"
"""


class NewmanTests(IntegrationTestCase):
    """newman behind the proxy, against a real HTTP and a real HTTPS origin."""

    def run_collection(self, proxy: Proxy, base: str) -> dict[str, Any]:
        """Run the collection.

        @return: newman's own report.
        """
        newman = node_module("newman/bin/newman.js")
        (self.directory / "upload.bin").write_bytes(bytes(range(256)) * 8)
        report = self.directory / "report.json"
        done = self.run_program(
            "node",
            newman,
            "run",
            str(COLLECTION),
            "--env-var",
            f"base={base}",
            "--working-dir",
            str(self.directory),
            "--ssl-extra-ca-certs",
            str(proxy.ca),
            "--timeout-request",
            "20000",
            "--reporters",
            "json",
            "--reporter-json-export",
            str(report),
            HTTP_PROXY=proxy.url,
            HTTPS_PROXY=proxy.url,
        )
        self.assertTrue(report.exists(), done.stdout + done.stderr)
        result: dict[str, Any] = json.loads(report.read_text("utf-8"))["run"]
        return result

    def bases(self) -> dict[str, str]:
        """Return the origins, by name."""
        return {"http": self.origins.http_url(""), "https": self.origins.https_url("")}

    def assert_all_green(self, run: dict[str, Any]) -> None:
        """No assertion failed or was skipped."""
        self.assertEqual([str(failure["error"]["message"]) for failure in run["failures"]], [])
        self.assertEqual(run["stats"]["assertions"]["total"], 14)

    def assert_writes_denied(self, run: dict[str, Any], reason: str) -> None:
        """Exactly the writes failed, with a reason that the runner shows."""
        denied = {}
        for execution in run["executions"]:
            if execution["response"]["code"] == 403:
                content = bytes(execution["response"]["stream"]["data"])
                denied[execution["item"]["name"]] = json.loads(content)["reason"]
        self.assertEqual(set(denied), WRITES)
        self.assertEqual({failure["source"]["name"] for failure in run["failures"]}, WRITES)
        for name, found in denied.items():
            self.assertIn(reason, found, name)

    def questions(self, record: Path) -> list[dict[str, Any]]:
        """Return the authorization requests that the service received."""
        return [json.loads(line) for line in record.read_text("utf-8").splitlines()]

    def test_an_authorization_service_allows(self) -> None:
        for name, base in self.bases().items():
            with self.subTest(name):
                url, record = self.start_authz_service()
                proxy = self.start_proxy("--authz-url", url)
                self.assert_all_green(self.run_collection(proxy, base))
                self.assertEqual(len(self.questions(record)), REQUESTS)
                self.records(proxy, REQUESTS)

    def test_an_authorization_service_denies_writes(self) -> None:
        for name, base in self.bases().items():
            with self.subTest(name):
                url, record = self.start_authz_service("POST", "PUT", "DELETE")
                proxy = self.start_proxy("--authz-url", url)
                seen = self.origins.requests_seen()
                self.assert_writes_denied(self.run_collection(proxy, base), "is not allowed by the team")
                self.assertEqual(len(self.questions(record)), REQUESTS)
                self.assertEqual(self.origins.requests_seen() - seen, REQUESTS - len(WRITES))

    def test_egressauthz(self) -> None:
        """C{egressauthz} replaces the sample service: the same runs, with policies that decide."""
        policies = {"allow": self.write("allow.toml", ALLOW_ALL), "deny": self.write("deny.toml", DENY_WRITES)}
        for policy, path in policies.items():
            directory = self.directory / policy
            directory.mkdir()
            service = Service(directory, "--policy", str(path))
            self.addCleanup(service.process.stop)
            proxy = self.start_proxy("--authz-url", service.url, EGRESS_AUTHZ_TOKEN=TOKEN)
            for name, base in self.bases().items():
                with self.subTest(name, policy=policy):
                    run = self.run_collection(proxy, base)
                    if policy == "allow":
                        self.assert_all_green(run)
                    else:
                        self.assert_writes_denied(run, "writes are not allowed from here")
            self.assertEqual(len(service.records()), len(self.bases()) * REQUESTS)

    def test_a_policy_file(self) -> None:
        denying = str(self.write("deny.toml", DENY_WRITES))
        for name, base in self.bases().items():
            with self.subTest(name, policy="allow"):
                self.assert_all_green(self.run_collection(self.start_proxy(*self.allow_all()), base))
            with self.subTest(name, policy="deny"):
                proxy = self.start_proxy("--policy", denying)
                self.assert_writes_denied(self.run_collection(proxy, base), "writes are not allowed from here")

    def test_a_denied_head_does_not_hang(self) -> None:
        url, _ = self.start_authz_service("HEAD")
        run = self.run_collection(self.start_proxy("--authz-url", url), self.origins.https_url(""))
        self.assertEqual([failure["source"]["name"] for failure in run["failures"]], ["head"])
