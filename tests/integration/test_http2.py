"""HTTP/2 clients, inside intercepted TLS."""

from __future__ import annotations

import json

from tests.integration.base import DENY_CLOSED, IntegrationTestCase


class CurlTests(IntegrationTestCase):
    """curl with HTTP/2, to an HTTP/1.1 origin."""

    def test_allowed_and_denied(self) -> None:
        proxy = self.start_proxy("--policy", str(self.write("policy.toml", DENY_CLOSED)))
        hello, closed = map(self.origins.https_url, ("/files/hello.txt", "/closed/door"))
        done = self.curl(proxy, "--http2", "-w", "%{http_version} %{http_code}\n", hello, closed)
        self.assertEqual(done.returncode, 0, done.stderr)
        content, first, problem, second = done.stdout.splitlines()
        self.assertEqual((content, first, second), ("hello", "2 200", "2 403"))
        document = json.loads(problem)
        self.assertEqual((document["reason"], document["ruleId"]), ("this path is closed", "closed"))
