"""One policy, five ways to query it: each request gets the same verdict by the same rule from every authorizer."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from egress.config.model import AuthzApi
from tests.authz.deciders import PATHS
from tests.integration.base import ONE_PROCESS, IntegrationTestCase, Proxy
from tests.integration.processes import ROOT, Process, environment, free_port
from tests.integration.test_egressauthz import TOKEN, Service

REQUESTS: Final = 500

POLICY: Final = """
version = 1

[groups.hosts]
shops = ["shop.example.com", "*.shop.example.com"]

[[rules]]
name = "no-debug"
action = "deny"
reason = "{method} {path} asks {host} for internals"
query = { debug = true }

[[rules]]
name = "no-admin"
action = "deny"
reason = "not for jobs"
hosts = ["@shops"]
paths = ["/admin/**"]

[[rules]]
name = "small-orders"
action = "allow"
hosts = ["@shops"]
methods = ["POST"]
json = { kind = "order", "items[].count" = [1, 2] }
max_body = "1KiB"

[[rules]]
name = "shop"
action = "allow"
hosts = ["@shops"]
methods = ["GET", "HEAD"]

[[rules]]
name = "versions"
action = "allow"
hosts = ['re:api[0-9]+\\.example\\.org']
headers = { Accept = "application/json*" }
paths = ["/v1/**"]

[[rules]]
name = "odd-port"
action = "deny"
reason = "nothing is served there"
ports = ["8000-8999"]

[[rules]]
name = "here"
action = "allow"
hosts = ["*.example.net"]
clients = ["127.0.0.0/8"]
query = { page = ["1", "2*"] }
"""


@attrs.frozen
class Asked:
    """One request."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


def generated(count: int) -> Iterator[Asked]:
    """Generate requests of many kinds, the same ones each time."""
    choose = random.Random(5)
    hosts = (
        "shop.example.com",
        "eu.shop.example.com",
        "api1.example.org",
        "apix.example.org",
        "cdn.example.net",
        "no.test",
    )
    paths = ("/", "/admin/users", "/v1/items/7", "/v1/../admin/x", "/a%2Fb", "/ADMIN", "/public/..;/admin/x", "/v2")
    queries = ("", "page=1", "page=27&page=3", "debug", "de%62ug=1", "x=%zz&page=2", "page=1;debug=1")
    accepts = ("application/json", "application/json; q=1", "text/html", "")
    bodies: tuple[Any, ...] = (
        {"kind": "order", "items": [{"count": 1}]},
        {"kind": "order", "items": [{"count": 9}]},
        {"kind": "x" * 2000},
        [],
    )
    for number in range(count):
        method = choose.choice(("GET", "GET", "HEAD", "POST", "PUT", "DELETE"))
        port = choose.choice(("", "", "", ":8080"))
        query = "&".join(filter(None, (f"n={number}", choose.choice(queries))))
        headers = [("X-Request", str(number))]
        accept = choose.choice(accepts)
        if accept:
            headers.append(("Accept", accept))
        body = None
        if method in ("POST", "PUT"):
            body = json.dumps(choose.choice(bodies)).encode("ascii")
            headers.append(("Content-Type", "application/json"))
        yield Asked(method, f"http://{choose.choice(hosts)}{port}{choose.choice(paths)}?{query}", tuple(headers), body)


if "EGRESS_TEST_WORKERS" not in os.environ:  # The authorizer is the same in each worker.

    class ParityTests(IntegrationTestCase):
        """Through real proxies, services and sockets; the upstream proxy resolves the names."""

        def start(self, *options: str, **env: Any) -> Proxy:
            upstream = self.origins.http_url("")
            return self.start_proxy("--upstream-proxy", upstream, *ONE_PROCESS, *options, **env)

        def decider(self, api: AuthzApi, policy: str) -> str:
            """Start the server side of an API, which decides by the policy.

            @return: its URL.
            """
            port = free_port()
            arguments = [sys.executable, "-m", "tests.integration.decider", str(port), api.value, policy, "0"]
            service = Process(arguments, self.directory, f"decider-{api.value}", environment(PYTHONPATH=str(ROOT)))
            self.addCleanup(service.stop)
            service.wait_for_port(port)
            return f"http://127.0.0.1:{port}{PATHS[api]}"

        def verdicts(self, proxy: Proxy) -> dict[str, tuple[str, str]]:
            """Send all requests.

            @return: by URL and method, the recorded verdict and rule.
            """
            connection = HTTPConnection("127.0.0.1", proxy.port, timeout=30)
            for asked in generated(REQUESTS):
                connection.putrequest(asked.method, asked.url, skip_host=True)
                connection.putheader("Host", urlsplit(asked.url).netloc)
                for name, value in asked.headers:
                    connection.putheader(name, value)
                if asked.body is not None:
                    connection.putheader("Content-Length", str(len(asked.body)))
                connection.endheaders(asked.body)
                connection.getresponse().read()
            connection.close()
            records = self.records(proxy, REQUESTS)
            return {f"{one['method']} {one['url']}": (one["verdict"], one["ruleId"]) for one in records}

        def unsayable(self, api: AuthzApi, expected: Iterable[str]) -> dict[str, tuple[str, None]]:
            """Return the requests that an API cannot express: they are denied, whatever the rules.

            The check of ext_authz is itself a path with a prefix, which dot segments would escape.
            """
            if api is not AuthzApi.EXT_AUTHZ:
                return {}
            found = {one: ("unavailable", None) for one in expected if "/.." in one}
            self.assertLess(len(found), REQUESTS / 3)
            return found

        def test_verdicts(self) -> None:
            """With the embedded policy, C{egressauthz}, and each API."""
            policy = str(self.write("policy.toml", POLICY))
            expected = self.verdicts(self.start("--policy", policy))
            self.assertEqual(len(expected), REQUESTS)
            self.assertEqual({verdict for verdict, _ in expected.values()}, {"allow", "deny"})
            rules = {rule for _, rule in expected.values()}
            self.assertEqual(len(rules), POLICY.count("[[rules]]") + 1, rules)
            service = Service(self.directory, "--policy", policy)
            self.addCleanup(service.process.stop)
            for body in ("always", "on-demand"):
                with self.subTest("egressauthz", body=body):
                    options = ("--authz-url", service.url, "--authz-body", body)
                    self.assertEqual(self.verdicts(self.start(*options, EGRESS_AUTHZ_TOKEN=TOKEN)), expected)
            for api in AuthzApi:
                with self.subTest(api.value):
                    proxy = self.start("--authz-api", api.value, "--authz-url", self.decider(api, policy))
                    self.assertEqual(self.verdicts(proxy), {**expected, **self.unsayable(api, expected)})
