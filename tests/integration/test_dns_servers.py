"""Name resolution by configured DNS servers: C{--dns-server}."""

from __future__ import annotations

import subprocess
import time

from tests.integration.base import IntegrationTestCase, Proxy
from tests.integration.names import NameServer
from tests.integration.processes import environment, free_port, program


class DnsServerTests(IntegrationTestCase):
    """Only the configured servers are queried."""

    def server(self, host: str = "127.0.0.1", **names: list[str] | None) -> NameServer:
        """Start a DNS server."""
        server = NameServer({name.replace("_", "."): found for name, found in names.items()}, host)
        self.addCleanup(server.close)
        return server

    def start(self, *servers: str) -> Proxy:
        """Start a proxy that uses them."""
        options = [word for server in servers for word in ("--dns-server", server)]
        return self.start_proxy(*self.allow_all(), *options)

    def get(self, proxy: Proxy, host: str) -> int:
        """Fetch a page from a local origin, under a name of its own."""
        return self.fetch(proxy, f"http://{host}:{self.origins.http}/echo")[0]

    def test_names(self) -> None:
        server = self.server(a_test=["127.0.0.1"])
        proxy = self.start(server.address)
        self.assertEqual(self.get(proxy, "a.test"), 200)
        self.assertEqual(sorted(server.queries), [("a.test", "A"), ("a.test", "AAAA")])
        self.assert_problem(proxy, "http://unknown.test/", 502, "dns")
        self.assertEqual(self.get(proxy, "localhost"), 200)
        self.assertFalse(server.asked("localhost"))

    def test_over_ipv6(self) -> None:
        server = self.server("::1", a_test=["127.0.0.1"])
        self.assertEqual(self.get(self.start(server.address), "a.test"), 200)

    def test_truncated(self) -> None:
        many = ["127.0.0.1", *(f"127.0.1.{number}" for number in range(1, 100))]
        server = self.server(a_test=many)
        self.assertEqual(self.get(self.start(server.address), "a.test"), 200)
        self.assertEqual(server.over_tcp, [("a.test", "A")])

    def test_the_next_server(self) -> None:
        """One server that does not listen, one that does not respond, and one that responds."""
        silent, server = self.server(a_test=None, b_test=None), self.server(a_test=["127.0.0.1"], b_test=["127.0.0.1"])
        proxy = self.start(f"127.0.0.1:{free_port()}", silent.address, server.address)
        self.assertEqual(self.get(proxy, "a.test"), 200)
        self.assertTrue(silent.asked("a.test"))
        begin = time.monotonic()
        self.assertEqual(self.get(proxy, "b.test"), 200)
        self.assertLess(time.monotonic() - begin, 1, "a silent server is asked last for a while")

    def test_a_blocked_address_rejects_the_name(self) -> None:
        server = self.server(a_test=["127.0.0.1", "169.254.169.254"])
        problem = self.assert_problem(self.start(server.address), "http://a.test/", 403, "address")
        self.assertIn("169.254.169.254", problem["reason"])

    def test_hanging_names(self) -> None:
        """Lookups without threads are bounded, too, and delay no other client."""
        names = {f"n{number}_test": None for number in range(60)}
        server = self.server(good_test=["127.0.0.1"], **names)  # type: ignore[arg-type]
        proxy = self.start(server.address)
        config = [f'url = "http://n{number}.test/"\noutput = "/dev/null"' for number in range(60)]
        path = self.write("urls", "\n".join(config))
        arguments = [program("curl"), "-s", "-Z", "--parallel-max", "60", "-x", proxy.url, "-K", str(path)]
        waiting = subprocess.Popen(arguments, env=environment(), stderr=subprocess.DEVNULL)
        self.addCleanup(waiting.wait)
        self.addCleanup(waiting.kill)
        while len(server.queries) < 30:
            self.assertIsNone(waiting.poll())
            time.sleep(0.02)
        begin = time.monotonic()
        done = self.curl(proxy, "--interface", "127.0.0.2", f"http://good.test:{self.origins.http}/echo", "-f")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertLess(time.monotonic() - begin, 2)
