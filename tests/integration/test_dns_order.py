"""No DNS query before an allow, with any authorizer: a DNS server records its queries."""

from __future__ import annotations

import sys

from egress.config.model import AuthzApi
from tests.authz.deciders import PATHS
from tests.integration.base import ALLOW_ALL, IntegrationTestCase, Proxy, plugin, proxy_environment, start_of
from tests.integration.names import NameServer
from tests.integration.processes import ROOT, Process, environment, free_port

POLICY = """
version = 1

[[rules]]
id = "allowed"
action = "allow"
hosts = ["*.allowed.test"]

[[rules]]
id = "loopback"
action = "allow"
hosts = ["*.depends.test"]
addresses = ["loopback"]

[[rules]]
id = "no-private"
action = "deny"
reason = "internal"
addresses = ["private"]
"""

NAMES = {
    "a.allowed.test": ["127.0.0.1"],
    "b.allowed.test": ["127.0.0.1"],
    "spoiled.allowed.test": ["127.0.0.1", "169.254.169.254"],
    "pass.allowed.test": ["127.0.0.1"],
    "here.depends.test": ["127.0.0.1"],
    "there.depends.test": ["10.1.2.3"],
}
UPGRADE = [
    *("-H", "Connection: Upgrade", "-H", "Upgrade: websocket"),
    *("-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
]


class OrderTestCase(IntegrationTestCase):
    """Base: a proxy that uses a DNS server of the test."""

    def setUp(self) -> None:
        super().setUp()
        self.names = NameServer(NAMES)
        self.addCleanup(self.names.close)

    def start(self, *options: str) -> Proxy:
        """Start a proxy."""
        return self.start_proxy("--dns-server", self.names.address, *options)

    def policy(self, text: str = POLICY) -> list[str]:
        """Return the options of a proxy whose embedded policy decides."""
        return ["--policy", str(self.write("policy.toml", text))]

    def service(self, api: AuthzApi, text: str = POLICY) -> list[str]:
        """Start a service with one API, and return the options of a proxy that uses it."""
        port, file = free_port(), self.write("policy.toml", text)
        arguments = [sys.executable, "-m", "tests.integration.decider", str(port), api.value, str(file), "0"]
        service = Process(arguments, self.directory, f"decider-{api.value}", environment(PYTHONPATH=str(ROOT)))
        self.addCleanup(service.stop)
        service.wait_for_port(port)
        return ["--authz-api", api.value, "--authz-url", f"http://127.0.0.1:{port}{PATHS[api]}"]

    def egressauthz(self, text: str = POLICY) -> list[str]:
        """Start C{egressauthz}, and return the options of a proxy that uses it."""
        port, file = free_port(), self.write("policy.toml", text)
        options = ["--listen", f"tcp:{port}:interface=127.0.0.1", "--policy", str(file)]
        arguments = plugin("egressauthz", *options)
        service = Process(arguments, self.directory, "egressauthz", proxy_environment(), start=start_of({}))
        self.addCleanup(service.stop)
        service.wait_for_port(port)
        return ["--authz-url", f"http://127.0.0.1:{port}"]

    @property
    def asked(self) -> set[str]:
        """Return the queried names."""
        return {name.lower() for name, _ in [*self.names.queries, *self.names.over_tcp]}

    def status(self, proxy: Proxy, host: str, *arguments: str, scheme: str = "http") -> int:
        """Fetch a page from a local origin, under a name of its own."""
        port = self.origins.http if scheme == "http" else self.origins.https
        return self.fetch(proxy, f"{scheme}://{host}:{port}/echo", *arguments)[0]


class DeniedTests(OrderTestCase):
    """A denied name is not resolved, neither for a request nor for any kind of CONNECT."""

    def assert_order(self, options: list[str], *, tunnels: bool = True, depends: tuple[int, int] = (200, 403)) -> None:
        """Send all denied requests, then the allowed ones.

        @param tunnels: whether the API supports passthrough tunnels.
        @param depends: the statuses of a request that is allowed by its addresses, and of one that is denied.
        """
        passthrough = ["--passthrough", "*.pass.test", "--passthrough", "pass.allowed.test"] if tunnels else []
        proxy = self.start(*passthrough, *options)
        self.assertEqual(self.status(proxy, "get.denied.test"), 403)
        self.assertEqual(self.status(proxy, "post.denied.test", "-d", "x=y"), 403)
        self.assertEqual(self.status(proxy, "upgrade.denied.test", *UPGRADE), 403)
        self.assertEqual(self.status(proxy, "intercepted.denied.test", scheme="https"), 403)
        self.assertEqual(self.status(proxy, "plain.denied.test", "-p"), 403, "plain HTTP inside a CONNECT")
        if tunnels:
            self.assertEqual(self.status(proxy, "denied.pass.test", scheme="https"), 403)
        self.assertEqual(self.asked, set())

        self.assertEqual(self.status(proxy, "a.allowed.test"), 200)
        self.assertEqual(self.asked, {"a.allowed.test"})
        self.assertEqual(self.status(proxy, "b.allowed.test", scheme="https"), 502, "another name in its certificate")
        self.assertEqual(self.asked, {"a.allowed.test", "b.allowed.test"})
        if tunnels:
            done = self.curl(proxy, "-k", "-f", f"https://pass.allowed.test:{self.origins.https}/echo")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("pass.allowed.test", self.asked)
        self.assertEqual(self.status(proxy, "spoiled.allowed.test"), 403, "the address guard")
        self.assertIn("spoiled.allowed.test", self.asked)
        self.assertEqual(self.status(proxy, "missing.allowed.test"), 502)
        self.assertIn("missing.allowed.test", self.asked)

        known = self.asked
        found = self.status(proxy, "here.depends.test"), self.status(proxy, "there.depends.test")
        self.assertEqual(found, depends)
        wanted = {"here.depends.test", "there.depends.test"} if depends[0] == 200 else set()
        self.assertEqual(self.asked - known, wanted)

    def test_policy(self) -> None:
        self.assert_order(self.policy())

    def test_egressauthz(self) -> None:
        self.assert_order(self.egressauthz())

    def test_postman(self) -> None:
        self.assert_order(self.service(AuthzApi.POSTMAN))

    def test_authzen(self) -> None:
        self.assert_order(self.service(AuthzApi.AUTHZEN))

    def test_opa(self) -> None:
        self.assert_order(self.service(AuthzApi.OPA))

    def test_ext_authz(self) -> None:
        """It cannot request addresses, so rules about addresses are evaluated conservatively."""
        self.assert_order(self.service(AuthzApi.EXT_AUTHZ), tunnels=False, depends=(403, 403))

    def test_private_addresses(self) -> None:
        """The policy's own rule about addresses is evaluated after the rules about names, too."""
        text = POLICY.replace("version = 1", 'version = 1\nprivate_addresses = "deny"')
        self.assert_order(self.policy(text))

    def test_private_addresses_of_a_service(self) -> None:
        text = POLICY.replace("version = 1", 'version = 1\nprivate_addresses = "deny"')
        self.assert_order(self.egressauthz(text))

    def test_authorizer_failure(self) -> None:
        proxy = self.start("--authz-url", f"http://127.0.0.1:{free_port()}")
        self.assertEqual(self.status(proxy, "a.allowed.test"), 503)
        self.assertEqual(self.status(proxy, "b.allowed.test", scheme="https"), 503)
        self.assertEqual(self.asked, set())

    def test_names_that_are_checked_without_a_lookup(self) -> None:
        proxy = self.start_proxy("--dns-server", self.names.address, *self.policy(ALLOW_ALL), local=False)
        for host in ("localhost", "a.localhost", "metadata.google.internal"):
            self.assertEqual(self.status(proxy, host), 403)
        self.assertEqual(self.asked, set())


class OtherOrdersTests(OrderTestCase):
    """Configurations in which denied names are resolved."""

    def test_before(self) -> None:
        """With C{--resolve before}, a check of C{ext_authz} includes the addresses, too."""
        proxy = self.start("--resolve", "before", *self.service(AuthzApi.EXT_AUTHZ))
        self.assertEqual(self.status(proxy, "get.denied.test"), 403)
        self.assertEqual(self.asked, {"get.denied.test"})
        self.assertEqual(self.status(proxy, "here.depends.test"), 200)
        self.assertEqual(self.status(proxy, "there.depends.test"), 403)

    def test_observe_mode(self) -> None:
        """A request that would be denied is forwarded, so its name is resolved; an enforced denial applies."""
        text = 'version = 1\n[[rules]]\naction = "deny"\nreason = "internal"\naddresses = ["private"]\n'
        for options in (self.policy(text), self.egressauthz(text)):
            self.names.queries.clear()
            proxy = self.start("--mode", "observe", *options)
            self.assertEqual(self.status(proxy, "a.allowed.test"), 200)
            self.assertEqual(self.status(proxy, "there.depends.test"), 403)
            self.assertEqual(self.asked, {"a.allowed.test", "there.depends.test"})
            records = self.records(proxy, 2)
            self.assertEqual([record["observed"] for record in records], ["deny", None])

    def test_explanation(self) -> None:
        """An explanation resolves no denied name either."""
        options = ["--dns-server", self.names.address, *self.policy()]
        for url, expected in (("http://get.denied.test/", set()), ("http://a.allowed.test/", {"a.allowed.test"})):
            arguments = [sys.executable, "-m", "egress", "explain", *options, "GET", url]
            done = self.run_program(*arguments, PYTHONPATH=str(ROOT))
            self.assertIn(done.returncode, (0, 1), done.stderr)
            self.assertEqual(self.asked, expected)
