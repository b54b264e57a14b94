"""The dashboard and the alert rules, in a real Prometheus that reads the metrics of real proxies."""

from __future__ import annotations

import json
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.docs import promql
from tests.integration.base import DENY_CLOSED, IntegrationTestCase, Proxy, plugin, proxy_environment, start_of
from tests.integration.processes import HERE, Process, environment, free_port, program

SHADOW = 'version = 1\n[[rules]]\naction = "allow"\nmethods = ["GET"]\n'
CONFIGURATION = """
global:
  scrape_interval: 250ms
  scrape_timeout: 250ms
  evaluation_interval: 250ms
rule_files:
  - {rules}
scrape_configs:
  - job_name: egressproxy
    static_configs:
      - targets: [{targets}]
"""
# Metrics of features that these proxies do not use: their queries succeed, perhaps without data.
ABSENT = (
    "egress_audit_spool_",
    "egress_audit_store_reachable",
    "egress_budget_",
    "egress_policy_check",
    "egress_policy_last_check_",
    "egress_shared_",
    "egress_telemetry_",
)
VARIABLES = {"$job": ".+", "$instance": ".+", "$__rate_interval": "1m", "$__range": "1h"}


class PrometheusTests(IntegrationTestCase):
    """One Prometheus for a proxy with workers and an embedded policy, and a proxy with an authorization service."""

    def start_egressauthz(self, policy: Path) -> tuple[str, Process]:
        port = free_port()
        arguments = plugin("egressauthz", "--listen", f"tcp:{port}:interface=127.0.0.1", "--policy", str(policy))
        service = Process(arguments, self.directory, "egressauthz", proxy_environment(), start=start_of({}))
        self.addCleanup(service.stop)
        service.wait_for_port(port)
        return f"http://127.0.0.1:{port}", service

    def start_prometheus(self, *ports: int) -> None:
        path = program("prometheus")
        self.port = free_port()
        targets = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
        configuration = self.write("prometheus.yml", CONFIGURATION.format(rules=promql.ALERTS, targets=targets))
        arguments = [path, f"--config.file={configuration}", f"--storage.tsdb.path={self.directory / 'tsdb'}"]
        process = Process([*arguments, f"--web.listen-address=127.0.0.1:{self.port}"], self.directory, "prometheus")
        self.addCleanup(process.stop)
        process.wait_for("Server is ready to receive web requests.")

    def api(self, path: str, **parameters: str) -> Any:
        """Send a request to the HTTP API of Prometheus, and return the data of its response."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression: str) -> list[Any]:
        result: list[Any] = self.api("query", query=expression)["result"]
        return result

    def state_of(self, name: str) -> str:
        (group,) = self.api("rules")["groups"]
        (state,) = [rule["state"] for rule in group["rules"] if rule["name"] == name]
        return str(state)

    def send(self, proxy: Proxy, path: str, method: str = "GET") -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy.url}))
        request = urllib.request.Request(self.origins.http_url(path), method=method)
        try:
            opener.open(request, timeout=20).close()
        except urllib.error.HTTPError as error:
            error.close()

    def keep_sending(self, proxies: tuple[Proxy, ...]) -> threading.Event:
        """Send requests until the test ends, so that no rate is zero."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(0.1):
                for proxy in proxies:
                    self.send(proxy, "/echo")
                    self.send(proxy, "/closed/echo", "POST")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 20)
        self.addCleanup(stop.set)
        return stop

    def test_dashboard_and_alerts(self) -> None:
        program("prometheus")
        ports = [free_port(), free_port()]
        policy = self.write("policy.toml", DENY_CLOSED)
        url, service = self.start_egressauthz(policy)
        with_rules = self.start_proxy(
            *("--policy", str(policy), "--workers", "2"),
            *("--metrics-port", str(ports[0]), "--audit-store", f"sqlite:{self.directory / 'audit.sqlite3'}"),
            # No webhook listens there: the notifications wait.
            *("--notify-url", f"slack:http://127.0.0.1:{free_port()}/"),
        )
        with_service = self.start_proxy(
            *("--authz-url", url, "--metrics-port", str(ports[1]), "--workers", "1"),
            *("--shadow-policy", str(self.write("shadow.toml", SHADOW))),
        )
        self.start_prometheus(*ports)
        stop = self.keep_sending((with_rules, with_service))
        self.wait_until(lambda: len(self.query("egress_policy_loaded_timestamp_seconds")) == 1, "the first metrics")
        policy.write_text(f"{DENY_CLOSED}# changed\n", "utf-8")
        queries = []
        for title, query in promql.dashboard_queries():
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            queries.append((title, query))
        for title, query in queries:
            if all(selector.name.startswith(ABSENT) for selector in promql.selectors(query)):
                self.query(query)
            else:
                self.wait_until(partial(self.query, query), f"data for {title}: {query}")
        self.assert_rules(policy)
        # The alerts begin when the service and then a proxy stop.
        stop.set()
        service.stop()
        for number in range(8):
            self.send(with_service, f"/echo?{number}")
        self.wait_until(lambda: self.state_of("EgressAuthorizerUnavailable") != "inactive", "the alert of the service")
        self.wait_until(lambda: self.state_of("EgressBreakerOpen") != "inactive", "the alert of the circuit breaker")
        self.assertEqual(self.state_of("EgressProxyDown"), "inactive")
        with_rules.process.stop()
        self.wait_until(lambda: self.state_of("EgressProxyDown") != "inactive", "the alert of the proxy")

    def assert_rules(self, policy: Path) -> None:
        """Check what the queries return, and that Prometheus can evaluate each alert rule."""
        (group,) = self.api("rules")["groups"]
        self.assertEqual([rule["name"] for rule in group["rules"]], [rule["alert"] for rule in promql.alerts()])
        self.wait_until(
            lambda: {rule["health"] for group in self.api("rules")["groups"] for rule in group["rules"]} == {"ok"},
            "the evaluation of each rule",
        )
        denied = self.query('sum by (rule) (rate(egress_rule_matches_total{verdict="deny"}[1m])) > 0')
        self.assertEqual([each["metric"] for each in denied], [{"rule": "closed"}])
        digest = sha256(policy.read_bytes()).hexdigest()
        self.wait_until(
            lambda: [each["metric"]["hash"] for each in self.query("egress_policy_info")] == [digest], "one policy"
        )
        ages = self.query("time() - egress_policy_loaded_timestamp_seconds")
        self.assertTrue(all(0 <= float(each["value"][1]) < 300 for each in ages), ages)


class PromtoolTests(IntegrationTestCase):
    """The alert rules, by the tool of Prometheus."""

    def promtool(self, *arguments: str) -> str:
        done = subprocess.run(
            [program("promtool"), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env=environment(),
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_rules(self) -> None:
        self.assertIn(
            f"SUCCESS: {len(promql.alerts())} rules found", self.promtool("check", "rules", str(promql.ALERTS))
        )

    def test_cases(self) -> None:
        """Series of values, and the alerts that fire."""
        self.promtool("test", "rules", str(HERE / "alert_cases.yaml"))
