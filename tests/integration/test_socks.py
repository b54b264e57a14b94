"""SOCKS5: real clients of the proxy, and real SOCKS servers as upstream proxies."""

from __future__ import annotations

import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from tests.integration.base import Proxy, run_egress
from tests.integration.processes import Process, free_port, program
from tests.integration.raw_origin import RawOrigin, RawOriginTestCase, Wire
from tests.integration.test_client_auth import PASSWORD, made

CLOSED = (
    'version = 1\n[[rules]]\naction = "deny"\nreason = "not from here"\npaths = ["/closed"]\n'
    '[[rules]]\naction = "allow"\n'
)

# A program that fetches URLs with requests and PySocks, and prints the responses.
FETCH = """
import sys, requests
proxy, ca, *urls = sys.argv[1:]
for url in urls:
    print(requests.get(url, proxies={"http": proxy, "https": proxy}, verify=ca, timeout=30).text.strip())
"""


def greet(origin: RawOrigin, wire: Wire) -> None:
    """Send first, as SSH servers do, then repeat a line in upper case."""
    wire.send("SSH-2.0-origin\r\n")
    wire.send(wire.read_until(b"\n").upper())


class SocksClientTests(RawOriginTestCase):
    """A listener for SOCKS5 and HTTP."""

    def start_socks(self, *options: str) -> Proxy:
        """Start a proxy with such a listener.

        @ivar socks: its address.
        """
        port = free_port()
        self.socks = f"127.0.0.1:{port}"
        return self.start_proxy("--listen", f"tcp:{port}:interface=127.0.0.1:socks5=yes", *options)

    def curl_socks(self, proxy: Proxy, *arguments: str) -> tuple[int, str]:
        """Run curl with its own SOCKS options.

        @return: the status of curl, and its output.
        """
        trust = ("--noproxy", "", "--cacert", str(proxy.ca))
        done = self.run_program("curl", "-sS", "--max-time", "20", *trust, *arguments)
        return done.returncode, done.stdout or done.stderr

    def test_clients(self) -> None:
        """One proxy for curl, requests, and a protocol in which the server sends first."""
        origin = RawOrigin(greet)
        self.addCleanup(origin.stop)
        # A deny rule with a path applies to tunnels, too.
        allow = f'version = 1\n[[rules]]\naction = "allow"\nports = [{origin.port}]\n'
        policy = str(self.write("policy.toml", CLOSED.replace("version = 1\n", allow)))
        proxy = self.start_socks("--policy", policy, "--opaque-ports", str(origin.port))
        self.curl_and_requests(proxy)
        self.another_protocol(proxy, origin)

    def curl_and_requests(self, proxy: Proxy) -> None:
        plain, secure = self.origins.http_url("/files/hello.txt"), self.origins.https_url("/files/hello.txt")
        for option in ("--socks5-hostname", "--socks5"):
            for url in (plain, secure):
                with self.subTest(option, url=url):
                    self.assertEqual(self.curl_socks(proxy, option, self.socks, url), (0, "hello\n"))
        with self.subTest("HTTP on the same port"):
            self.assertEqual(self.curl_socks(proxy, "--proxy", f"http://{self.socks}", secure), (0, "hello\n"))
        for scheme in ("socks5h", "socks5"):
            with self.subTest(scheme):
                done = self.run_program(
                    sys.executable, "-c", FETCH, f"{scheme}://{self.socks}", str(proxy.ca), plain, secure
                )
                self.assertEqual((done.returncode, done.stdout), (0, "hello\nhello\n"), done.stderr)
        with self.subTest("a denial is sent inside"):
            closed = self.origins.https_url("/closed")
            status, response = self.curl_socks(proxy, "--socks5-hostname", self.socks, closed)
            self.assertEqual(status, 0)
            self.assertIn("not from here", response)
        with self.subTest("SOCKS4"):
            self.assertEqual(self.curl_socks(proxy, "--socks4", self.socks, plain)[0], 97)
        records = self.records(proxy, 11)
        self.assertEqual(
            [record["outcome"] for record in records], ["forwarded"] * 9 + ["denied", "unsupported-request"]
        )
        # The name, also where curl connected to its address.
        self.assertEqual([record["url"] for record in records[1:5:2]], [secure, secure])

    def test_passwords(self) -> None:
        clients = self.write("clients.txt", made("alice", password=PASSWORD)[0])
        proxy = self.start_socks(*self.allow_all(), "--client-auth", str(clients))
        url = self.origins.https_url("/files/hello.txt")
        socks = ("--socks5-hostname", self.socks)
        self.assertEqual(self.curl_socks(proxy, *socks, "--proxy-user", f"alice:{PASSWORD}", url), (0, "hello\n"))
        self.assertEqual(self.curl_socks(proxy, *socks, "--proxy-user", "alice:wrong", url)[0], 97)
        self.assertEqual(self.curl_socks(proxy, *socks, url)[0], 97)
        self.assertEqual(
            [(record["outcome"], record["identity"]) for record in self.records(proxy, 3)],
            [("forwarded", "alice"), ("client-credentials-rejected", None), ("client-auth-required", None)],
        )
        self.assertNotIn(PASSWORD, proxy.audit.read_text() + proxy.process.output())

    def another_protocol(self, proxy: Proxy, origin: RawOrigin) -> None:
        """A tunnel in which the server sends first, as SSH with C{nc -X 5}."""
        before = len(proxy.records())
        host, _, port = self.socks.partition(":")
        wire = Wire(socket.create_connection((host, int(port))))
        self.addCleanup(wire.close)
        name = b"localhost"
        wire.send(b"\x05\x01\x00\x05\x01\x00\x03%c%b%b" % (len(name), name, origin.port.to_bytes(2, "big")))
        self.assertEqual(wire.read(12), b"\x05\x00\x05\x00\x00\x01\0\0\0\0\0\0")
        self.assertEqual(wire.read_until(b"\n"), b"SSH-2.0-origin\r\n")
        wire.send("hello\n")
        self.assertEqual(wire.read_to_end(), b"HELLO\n")
        wire.close()
        record = self.records(proxy, before + 1)[-1]
        self.assertEqual((record["stage"], record["outcome"]), ("tunnel", "forwarded"))


class SocksUpstreamTests(RawOriginTestCase):
    """SOCKS servers as upstream proxies: microsocks, and this proxy."""

    def start_microsocks(self) -> str:
        """Start microsocks, which requires a name and a password.

        @return: C{name:password@host:port}.
        """
        port = free_port()
        arguments = [program("microsocks"), "-i", "127.0.0.1", "-p", str(port), "-u", "runner", "-P", PASSWORD]
        server = Process(arguments, self.directory, "microsocks")
        self.addCleanup(server.stop)
        server.wait_for_port(port)
        return f"runner:{quote(PASSWORD)}@127.0.0.1:{port}"

    def start_through(self, *upstreams: str) -> list[Proxy]:
        """Start a proxy for each upstream proxy, at the same time."""
        allow_all = self.allow_all()
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda each: self.start_proxy(*allow_all, "--upstream-proxy", each), upstreams))

    def test_microsocks(self) -> None:
        server = self.start_microsocks()
        urls = (self.origins.http_url("/files/hello.txt"), self.origins.https_url("/files/hello.txt"))
        schemes = ("socks5h", "socks5")
        rejected = f"socks5h://runner:wrong@{server.rpartition('@')[2]}"
        *proxies, wrong = self.start_through(*(f"{scheme}://{server}" for scheme in schemes), rejected)
        for scheme, proxy in zip(schemes, proxies, strict=True):
            for url in urls:
                with self.subTest(scheme, url=url):
                    self.assertEqual(self.fetch(proxy, url), (200, "hello\n"))
            records = self.records(proxy, 2)
            self.assertEqual({record["upstream"] for record in records}, {server.rpartition("@")[2]})
            with self.subTest("no such port"):
                problem = self.assert_problem(proxy, f"http://127.0.0.1:{free_port()}/", 502, "upstream")
                self.assertIn("SOCKS reply 5", problem["reason"])
        with self.subTest("wrong password"):
            problem = self.assert_problem(wrong, urls[0], 502, "upstream")
            self.assertIn("check the credentials in --upstream-proxy", problem["reason"])

    def test_chains(self) -> None:
        """This proxy is the first or the second one; the origins' certificates are verified by the first one."""
        server = self.start_microsocks()
        port = free_port()
        listen = f"tcp:{port}:interface=127.0.0.1:socks5=yes"
        # It relays the tunnels, so that it needs no certificate.
        relay = self.start_proxy(
            *self.allow_all(), "--listen", listen, "--passthrough", "localhost", "--opaque-ports", "1-65535"
        )
        url = self.origins.https_url("/files/hello.txt")
        upstreams = (
            f"socks5h://{server} via socks5h://127.0.0.1:{port}",
            f"socks5h://127.0.0.1:{port} via socks5://{server}",
            f"{relay.url} via socks5h://{server}",
        )
        for upstream, proxy in zip(upstreams, self.start_through(*upstreams), strict=True):
            with self.subTest(upstream):
                self.assertEqual(self.fetch(proxy, url), (200, "hello\n"))
        checked = run_egress("check", "--upstream-proxy", upstream, *self.allow_all())
        self.assertIn(f"via socks5h://{server.rpartition('@')[2]} responds", checked.stdout)
        self.assertNotIn(quote(PASSWORD), checked.stdout + checked.stderr)
