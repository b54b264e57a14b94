"""The embedded policy, with a real client: conditions beyond the host, and rules from included files."""

from __future__ import annotations

import json

from tests.integration.base import IntegrationTestCase, Proxy

POLICY = """
version = 1
include = ["included/guards.toml"]

[groups.hosts]
ours = ["127.0.0.1", "localhost"]

[groups.clients]
builds = ["ci-*", "@people"]
people = ["ada"]

[[rules]]
id = "reads"
action = "allow"
methods = ["GET"]
hosts = ["@ours"]
query = { token = false }

[[rules]]
id = "builds-write"
action = "allow"
methods = ["POST"]
hosts = ["@ours"]
clients = ["@builds"]
headers = { X-Team = ["blue", "green"] }
json = { "action" = ["create", "update"] }
max_body = 2000
"""

GUARDS = """
version = 1

[variables]
who = "the owners of this file"

[[rules]]
id = "no-drops"
action = "deny"
reason = "ask ${who}: {method} may drop nothing"
json = { "action" = "drop" }
"""


class PolicyTests(IntegrationTestCase):
    """Each condition allows matching requests, and the rule that denies another request is named."""

    def setUp(self) -> None:
        super().setUp()
        (self.directory / "included").mkdir()
        self.write("included/guards.toml", GUARDS)
        self.url = self.origins.http_url("/echo")

    def ask(self, proxy: Proxy, *arguments: str, url: str = "") -> str:
        """Send a request.

        @return: C{"allowed"}, or the rule that denied it.
        """
        status, content = self.fetch(proxy, url or self.url, *arguments)
        if status == 200:
            return "allowed"
        problem = json.loads(content)
        self.assertEqual((status, problem["stage"]), (403, "authz"), content)
        return str(problem["ruleId"])

    def post(self, content: str, *arguments: str, client: str = "ci-7", team: str = "blue") -> list[str]:
        """Return the arguments for an upload by a client of a team."""
        kind = ("-H", "Content-Type: application/json")
        return ["--proxy-user", f"{client}:x", "-H", f"X-Team: {team}", *kind, "--data-binary", content, *arguments]

    def test_conditions(self) -> None:
        proxy = self.start_proxy("--policy", str(self.write("policy.toml", POLICY)))
        create = '{"action":"create"}'
        chunked = ("-H", "Transfer-Encoding: chunked")
        for expected, arguments in (
            ("allowed", []),
            ("default", ["--get", "-d", "token=1"]),
            ("default", ["--get", "-d", "%74oken=1"]),
            ("allowed", self.post(create)),
            ("allowed", self.post(create, *chunked)),
            ("allowed", self.post(create, client="ada", team="green")),
            ("allowed", self.post(create, "-H", "Expect: 100-continue")),
            ("default", self.post(create, client="eve")),
            ("default", self.post(create, team="red")),
            ("default", self.post('{"action":"read"}')),
            ("default", self.post(create + " " * 2000, *chunked)),
            ("no-drops", self.post('{"action":"drop"}', *chunked)),
            ("no-drops", self.post('{"action":"create","action":"drop"}')),
            ("no-drops", self.post("action=create")),
            # curl declares it as a form.
            ("no-drops", ["--data-binary", create]),
            ("no-drops", self.post(create, "-H", "Content-Type: text/plain")),
        ):
            with self.subTest(arguments):
                self.assertEqual(self.ask(proxy, *arguments), expected)
        secure = self.origins.https_url("/echo")
        self.assertEqual(self.ask(proxy, *self.post(create), url=secure), "allowed")
        problem = self.assert_problem(proxy, secure, 403, "authz", *self.post('{"action":"drop"}'))
        self.assertEqual(problem["reason"], "ask the owners of this file: POST may drop nothing")
