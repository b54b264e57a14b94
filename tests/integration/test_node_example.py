"""The sample authorization service in Node.js, as in the documentation."""

from __future__ import annotations

import http.client
import json
import os
import shutil
from pathlib import Path
from typing import Any

from tests.integration.base import IntegrationTestCase, Proxy
from tests.integration.processes import HERE, ROOT, Process, environment, free_port, node_module, program

SAMPLE = ROOT / "docs" / "examples" / "node"
# The request in the public documentation of the contract.
DOCUMENTED = {
    "url": "https://api.example.com/endpoint?param=value",
    "method": "GET",
    "headers": '{"content-type":"application/json","x-pstmn-outbound-identifier":"c9-post"}',
    "queryParams": "param=value",
}
UPLOAD = 3_000_000


class NodeExampleTests(IntegrationTestCase):
    """A copy of the sample, started as its package says."""

    def start(self, rules: dict[str, list[str]] | None = None, **env: str) -> int:
        """Start the sample.

        @param rules: the rules; C{None}: those of the sample.
        @return: its port.
        """
        node_module("express")
        sample = self.directory / "node"
        shutil.copytree(SAMPLE, sample)
        (sample / "node_modules").symlink_to((HERE / "node_modules").resolve())
        if rules is not None:
            (sample / "rules.json").write_text(json.dumps(rules), "utf-8")
        package = json.loads((sample / "package.json").read_text("utf-8"))
        name, *arguments = package["scripts"]["start"].split()
        port = free_port()
        service = Process([program(name), *arguments], sample, "sample", environment(PORT=str(port), **env))
        self.addCleanup(service.stop)
        service.wait_for_port(port)
        return port

    def ask(self, port: int, document: Any) -> tuple[int, Any]:
        """Send an authorization request."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.addCleanup(connection.close)
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        connection.request("POST", "/validate", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    def start_behind(self, port: int, *options: str) -> Proxy:
        return self.start_proxy("--authz-url", f"http://127.0.0.1:{port}", *options)

    def upload(self) -> Path:
        """Write a file that is not text: it is sent in base64."""
        path = self.directory / "upload"
        path.write_bytes(os.urandom(UPLOAD))
        return path

    def test_contract(self) -> None:
        """The documented request, and each documented response."""
        port = self.start()
        status, decision = self.ask(port, DOCUMENTED)
        self.assertEqual((status, decision["allowed"]), (200, True))
        for change, expected in (
            ({"method": "DELETE"}, (403, "DELETE to api.example.com is not allowed")),
            ({"url": "https://evil.example.com/"}, (403, "evil.example.com is not in the list of hosts")),
            ({"method": ""}, (400, "url or method is missing or invalid")),
            ({"url": "nothing"}, (400, "url or method is missing or invalid")),
        ):
            status, decision = self.ask(port, {**DOCUMENTED, **change})
            self.assertIs(decision["allowed"], False)
            self.assertEqual((status, decision["reason"]), expected)
        # Not a decision.
        self.assertNotIn("allowed", self.ask(port, b"{")[1])

    def test_behind_the_proxy(self) -> None:
        """The reason reaches the client; an upload of 3 MB is decided on, and forwarded."""
        proxy = self.start_behind(self.start({"localhost": ["GET", "PUT"]}))
        url = self.origins.https_url("/sink")
        self.assertEqual(self.fetch(proxy, url)[0], 200)
        problem = self.assert_problem(proxy, url, 403, "authz", "-X", "DELETE")
        self.assertEqual((problem["reason"], problem["ruleId"]), ("DELETE to localhost is not allowed", "methods"))
        status, content = self.fetch(proxy, url, "-T", str(self.upload()))
        self.assertEqual((status, json.loads(content)["bytes"]), (200, UPLOAD))

    def test_limit_of_express(self) -> None:
        """With the default limit of Express, the response to an upload names the fix, and the fix works."""
        port = self.start({"localhost": ["PUT"]}, BODY_LIMIT="100kb")
        url, upload = self.origins.https_url("/sink"), str(self.upload())
        problem = self.assert_problem(self.start_behind(port), url, 503, "authz-unavailable", "-T", upload)
        self.assertIn("rejected the size of the authorization request (status 413, 4,000,", problem["reason"])
        self.assertIn("express.json({limit: '25mb'})", problem["reason"])
        self.assertIn("--authz-body on-demand", problem["reason"])
        on_demand = self.start_behind(port, "--authz-body", "on-demand")
        self.assertEqual(self.fetch(on_demand, url, "-T", upload)[0], 200)
