"""The lines about requests in the log of a proxy, as an operator sees them."""

from __future__ import annotations

import json
import re

from tests.integration.base import DENY_ALL, ONE_PROCESS, IntegrationTestCase


class RequestLogTests(IntegrationTestCase):
    """Denied requests, and clients that do not trust the CA."""

    def test_text(self) -> None:
        policy = str(self.write("deny.toml", DENY_ALL))
        proxy = self.start_proxy(*ONE_PROCESS, "--policy", policy)
        urls = [self.origins.http_url(f"/x?token=hunter2&page={number}") for number in range(9)]
        self.curl(proxy, "--proxy-user", "alice:x", *urls)
        https = self.origins.https_url("/y")
        for _ in range(2):
            # curl does not trust the CA of the proxy.
            self.assertEqual(self.run_program("curl", "-s", "--proxy", proxy.url, https).returncode, 60)
        self.records(proxy, 11)
        proxy.process.stop()
        log = proxy.process.output()
        line = (
            r"\[egress\.observability\.request_log#warn\] deny 403 GET http://\S+/x\?token=REDACTED&page=0 from alice "
            r"at 127\.0\.0\.1:\d+: closed for today \(denied, rule closed, HTTP 1\.1 to -, [\d.]+ ms\)\n"
        )
        self.assertRegex(log, line)
        self.assertEqual(len(re.findall(r"\bdeny 403 GET ", log)), 5)
        self.assertIn("#warn] 4 more requests from 127.0.0.1 to ", log)
        self.assertEqual(log.count("127.0.0.1 does not trust the CA for "), 1)
        self.assertIn("(alert unknown_ca). Run egress trust there", log)
        self.assertNotIn("hunter2", log)

    def test_records_of_workers(self) -> None:
        """Records of workers have their level, their module, and the keys of audit records."""
        policy = str(self.write("deny.toml", DENY_ALL))
        options = ("--workers", "2", "--log-format", "json", "--log-level", "warn", "--log-requests", "all")
        proxy = self.start_proxy(*options, "--policy", policy)
        self.curl(proxy, self.origins.http_url("/x"))
        proxy.process.wait_for("closed for today")
        proxy.process.stop()
        (record,) = [json.loads(line) for line in proxy.process.output().splitlines() if "closed for today" in line]
        self.assertEqual((record["level"], record["logger"]), ("warn", "egress.observability.request_log"))
        self.assertIn(record["worker"], (1, 2))
        (audit,) = proxy.records()
        fields = {**record["fields"], "identity": None}
        self.assertEqual(fields, {key: audit[key] for key in fields})
        self.assertNotIn("Main loop terminated", proxy.process.output())
