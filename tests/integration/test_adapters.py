"""Authorization services with other APIs, and reused decisions, over real sockets."""

from __future__ import annotations

import sys
from pathlib import Path

from egress.config.model import AuthzApi
from tests.authz.deciders import PATHS
from tests.integration.base import ONE_PROCESS, IntegrationTestCase, Proxy
from tests.integration.processes import ROOT, Process, environment, free_port, program

POLICY = """
version = 1

[[rules]]
id = "no-writes"
action = "deny"
reason = "this runner only reads"
methods = ["POST"]

[[rules]]
id = "rest"
action = "allow"
"""

NGINX = """
daemon off;
pid {directory}/authz-nginx.pid;
error_log {directory}/authz-nginx.log;
events {{}}
http {{
access_log off;
client_body_temp_path {directory}/authz-body;
proxy_temp_path {directory}/authz-proxy;
fastcgi_temp_path {directory}/authz-fastcgi;
uwsgi_temp_path {directory}/authz-uwsgi;
scgi_temp_path {directory}/authz-scgi;
{config}
}}
"""


CONTENTS = """
version = 1

[[rules]]
id = "uploads"
action = "allow"
methods = ["PUT"]

[[rules]]
id = "small-orders"
action = "allow"
methods = ["POST"]
json = { "kind" = "small" }
"""


class ApiTests(IntegrationTestCase):
    """The same rules, through each API."""

    def start(self, api: AuthzApi, ttl: float = 0.0, *options: str, policy: str = POLICY) -> tuple[Proxy, Process]:
        """Start a service, and a proxy that uses it."""
        port, file = free_port(), self.write("policy.toml", policy)
        arguments = [sys.executable, "-m", "tests.integration.decider", str(port), api.value, str(file), str(ttl)]
        service = Process(arguments, self.directory, f"decider-{api.value}", environment(PYTHONPATH=str(ROOT)))
        self.addCleanup(service.stop)
        service.wait_for_port(port)
        url = f"http://127.0.0.1:{port}{PATHS[api]}"
        return self.start_proxy("--authz-api", api.value, "--authz-url", url, *options), service

    def assert_api(self, api: AuthzApi) -> None:
        proxy, _ = self.start(api)
        url = self.origins.https_url("/echo?a=b%20c")
        self.assertEqual(self.fetch(proxy, url)[0], 200)
        self.assertEqual(self.curl(proxy, "-I", url).returncode, 0)
        problem = self.assert_problem(proxy, url, 403, "authz", "-d", "x=y")
        self.assertIn("this runner only reads", problem["reason"])
        records = self.records(proxy, 3)
        self.assertEqual([record["ruleId"] for record in records], ["rest", "rest", "no-writes"])
        self.assertEqual([record["source"] for record in records], [None] * 3)

    def test_postman(self) -> None:
        self.assert_api(AuthzApi.POSTMAN)

    def test_authzen(self) -> None:
        self.assert_api(AuthzApi.AUTHZEN)

    def test_opa(self) -> None:
        self.assert_api(AuthzApi.OPA)

    def test_ext_authz(self) -> None:
        self.assert_api(AuthzApi.EXT_AUTHZ)

    def test_content_on_demand(self) -> None:
        """The service receives the content of requests for which it needs the content."""
        proxy, _ = self.start(AuthzApi.OPA, 0.0, "--authz-body", "on-demand", policy=CONTENTS)
        url, kind = self.origins.https_url("/echo"), ("-H", "Content-Type: application/json")
        self.assertEqual(self.fetch(proxy, url, *kind, "-d", '{"kind": "small"}')[0], 200)
        self.assert_problem(proxy, url, 403, "authz", *kind, "-d", '{"kind": "large"}')
        self.assertEqual(self.fetch(proxy, url, "-X", "PUT", "-d", "x" * 100_000)[0], 200)
        rules = [record["ruleId"] for record in self.records(proxy, 3)]
        self.assertEqual(rules, ["small-orders", "default", "uploads"])

    def test_reused_decisions(self) -> None:
        """A cached decision needs no new authorization request, even after the service has stopped."""
        proxy, service = self.start(AuthzApi.AUTHZEN, 60.0, *ONE_PROCESS)
        url = self.origins.http_url("/echo")
        self.assertEqual(self.fetch(proxy, url)[0], 200)
        self.assert_problem(proxy, url, 403, "authz", "-d", "x=y")
        service.stop()
        self.assertEqual(self.fetch(proxy, url)[0], 200)
        self.assert_problem(proxy, url, 403, "authz", "-d", "x=y")
        self.assert_problem(proxy, url, 503, "authz-unavailable", "-d", "x=z")
        sources = [record["source"] for record in self.records(proxy, 5)]
        self.assertEqual(sources, [None, None, "cache", "cache", None])


class NginxTests(IntegrationTestCase):
    """The example of C{docs/how-to/adapters.md}: nginx that responds to the checks of C{ext_authz}."""

    def test_checks(self) -> None:
        sample = (ROOT / "docs" / "examples" / "ext_authz.conf").read_text("utf-8")
        port = free_port()
        config = sample.replace("9001", str(port)).replace(r"(www\.)?example\.com", "localhost")
        path = self.write("authz-nginx.conf", NGINX.format(directory=self.directory, config=config))
        nginx = Process([program("nginx"), "-c", str(path)], Path(self.directory), "authz-nginx")
        self.addCleanup(nginx.stop)
        nginx.wait_for_port(port)
        proxy = self.start_proxy(
            *("--authz-api", "ext-authz", "--authz-url", f"http://127.0.0.1:{port}/check", "--authz-body", "never"),
            *ONE_PROCESS,
        )
        url = self.origins.https_url("/echo")
        self.assertEqual(self.fetch(proxy, url)[0], 200)
        self.assertEqual(self.curl(proxy, "-I", url).returncode, 0)
        problem = self.assert_problem(proxy, url, 403, "authz", "-d", "x=y")
        self.assertIn("no rule allows it", problem["reason"])
        # Only the method is among the attributes on which the cached decision depends.
        self.assertEqual(self.fetch(proxy, self.origins.https_url("/other"))[0], 200)
        odd = self.origins.https_url("/a/../b")
        self.assert_problem(proxy, odd, 503, "authz-unavailable", "--path-as-is", "-X", "PUT")
        records = self.records(proxy, 5)
        self.assertEqual([record["ruleId"] for record in records], ["reads", "reads", None, "reads", None])
        self.assertEqual([record["source"] for record in records], [None, None, None, "cache", None])
