"""Client authentication as curl does it: by a password, a token or a certificate."""

from __future__ import annotations

import base64
import socket
import time
from pathlib import Path

from tests.certificates import CLIENT, TestCA
from tests.integration.base import ONE_PROCESS, IntegrationTestCase, Proxy, run_egress
from tests.integration.processes import free_port

PASSWORD = "correct: horse"


def made(name: str, *options: str, password: str = "") -> tuple[str, str]:
    """Make a line for the file, as an operator does.

    @return: the line, and the other output.
    """
    done = run_egress("client", *options, name, stdin=f"{password}\n")
    done.check_returncode()
    return done.stdout, done.stderr


class ClientAuthTestCase(IntegrationTestCase):
    """Base: a file with a client that has a password, and one that has a token."""

    def setUp(self) -> None:
        super().setUp()
        token_line, said = made("ci", "--token")
        self.token = said.rpartition(" ")[2].strip()
        self.clients = self.write("clients.txt", made("alice", password=PASSWORD)[0] + token_line)

    def on_record(self, proxy: Proxy, *expected: tuple[str, str | None]) -> None:
        """Wait for the recorded outcomes and client names; a record is written just after the response."""
        deadline = time.monotonic() + 10
        found: list[tuple[str, str | None]] = []
        while len(found) < len(expected) and time.monotonic() < deadline:
            found = [(record["outcome"], record["identity"]) for record in proxy.records()]
        self.assertEqual(found, list(expected))

    def assert_no_secrets(self, proxy: Proxy) -> None:
        """No credential that clients sent is in a log."""
        for text in (proxy.process.output(), proxy.audit.read_text()):
            for secret in (PASSWORD, self.token, "Y29ycmVjd"):
                self.assertNotIn(secret, text)


class CredentialsTests(ClientAuthTestCase):
    """C{--client-auth}, for requests and for tunnels."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy = self.start_proxy(*self.allow_all(), "--client-auth", str(self.clients))
        self.urls = (self.origins.http_url("/files/hello.txt"), self.origins.https_url("/files/hello.txt"))

    def test_valid(self) -> None:
        for url in self.urls:
            for user in (f"alice:{PASSWORD}", f"ci:{self.token}"):
                with self.subTest(url, user=user[:2]):
                    self.assertEqual(self.fetch(self.proxy, url, "--proxy-user", user), (200, "hello\n"))
        self.on_record(self.proxy, *[("forwarded", "alice"), ("forwarded", "ci")] * 2)
        self.assert_no_secrets(self.proxy)

    def test_bearer(self) -> None:
        for url in self.urls:
            field = f"Proxy-Authorization: Bearer {self.token}"
            self.assertEqual(self.fetch(self.proxy, url, "--proxy-header", field), (200, "hello\n"))
        self.on_record(self.proxy, *[("forwarded", "ci")] * 2)

    def test_missing(self) -> None:
        plain, secure = self.urls
        problem = self.assert_problem(self.proxy, plain, 407, "client-auth")
        self.assertEqual(problem["type"], "urn:egressproxy:client-auth-required")
        done = self.curl(self.proxy, "-w", "%{http_connect}", secure)
        self.assertEqual((done.returncode, done.stdout), (56, "407"))
        self.on_record(self.proxy, *[("client-auth-required", None)] * 2)

    def test_invalid(self) -> None:
        plain, secure = self.urls
        for user in ("alice:wrong", "nobody:wrong", f"nobody:{PASSWORD}", f"alice:{self.token}", "alice:"):
            with self.subTest(user):
                problem = self.assert_problem(self.proxy, plain, 407, "client-auth", "--proxy-user", user)
                self.assertEqual(problem["type"], "urn:egressproxy:client-credentials-rejected")
                done = self.curl(self.proxy, "-w", "%{http_connect}", "--proxy-user", user, secure)
                self.assertEqual((done.returncode, done.stdout), (56, "407"))
        self.on_record(self.proxy, *[("client-credentials-rejected", None)] * 10)
        self.assertEqual(self.fetch(self.proxy, plain, "--proxy-user", f"alice:{PASSWORD}"), (200, "hello\n"))
        self.assert_no_secrets(self.proxy)

    def test_challenge(self) -> None:
        """A client that waits for the challenge authenticates on the same connection."""
        for url in self.urls:
            with self.subTest(url):
                done = self.curl(self.proxy, "-v", "--proxy-anyauth", "--proxy-user", f"alice:{PASSWORD}", url)
                self.assertEqual(done.stdout, "hello\n", done.stderr)
                self.assertIn("407", done.stderr)
                self.assertNotIn("Closing connection", done.stderr)

    def test_nothing_reaches_the_origin(self) -> None:
        for url in (self.origins.http_url("/echo"), self.origins.https_url("/echo")):
            status, content = self.fetch(self.proxy, url, "--proxy-user", f"ci:{self.token}")
            self.assertEqual(status, 200)
            self.assertIn('"host"', content)
            self.assertNotIn("roxy-", content.lower())

    def test_the_authorizer_receives_the_name(self) -> None:
        url, record = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", url, "--client-auth", str(self.clients))
        self.assertEqual(self.fetch(proxy, self.urls[1], "--proxy-user", f"ci:{self.token}"), (200, "hello\n"))
        asked = record.read_text()
        self.assertIn('"identity":"ci"', asked.replace(" ", "").replace("\\", ""))
        self.assertNotIn(self.token, asked)

    def test_a_client_is_removed(self) -> None:
        self.fetch(self.proxy, self.urls[0], "--proxy-user", f"ci:{self.token}")
        self.clients.write_text(made("alice", password=PASSWORD)[0])
        deadline = time.monotonic() + 20
        while self.fetch(self.proxy, self.urls[0], "--proxy-user", f"ci:{self.token}")[0] != 407:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.2)
        self.assertEqual(self.fetch(self.proxy, self.urls[0], "--proxy-user", f"alice:{PASSWORD}")[0], 200)

    def test_concurrent_first_connections(self) -> None:
        """A client opens its first connections simultaneously, and one password check is enough for them."""
        config = self.write("urls", "\n".join(f'url = "{self.urls[0]}"\noutput = "/dev/null"' for _ in range(40)))
        done = self.curl(
            self.proxy,
            *("-Z", "--parallel-immediate", "--parallel-max", "40", "-w", "%{http_code}\n", "-K", str(config)),
            *("--proxy-user", f"alice:{PASSWORD}"),
        )
        self.assertEqual(done.stdout.split(), ["200"] * 40, done.stderr)

    def test_a_flood_of_wrong_passwords(self) -> None:
        """All of them get a response; authenticated clients and clients with tokens are served meanwhile."""
        # Each of several processes has its own cache of authenticated clients.
        proxy = self.start_proxy(*self.allow_all(), "--client-auth", str(self.clients), *ONE_PROCESS)
        self.assertEqual(self.fetch(proxy, self.urls[0], "--proxy-user", f"alice:{PASSWORD}")[0], 200)
        flood = []
        for number in range(100):
            attempt = socket.create_connection(("127.0.0.1", proxy.port), timeout=30)
            self.addCleanup(attempt.close)
            encoded = base64.b64encode(f"alice:{number}".encode()).decode("ascii")
            attempt.sendall(
                f"GET {self.urls[0]} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic {encoded}\r\n\r\n".encode()
            )
            flood.append(attempt)
        began = time.monotonic()
        for user in (f"alice:{PASSWORD}", f"ci:{self.token}"):
            self.assertEqual(self.fetch(proxy, self.urls[0], "--proxy-user", user), (200, "hello\n"))
        self.assertLess(time.monotonic() - began, 5)
        statuses = {attempt.recv(65536).split(b" ")[1] for attempt in flood}
        self.assertEqual(statuses, {b"407", b"429"})


class CertificateTests(ClientAuthTestCase):
    """A proxy with an C{https} listener."""

    def setUp(self) -> None:
        super().setUp()
        self.ca, self.runners = TestCA("Proxies"), TestCA("Runners")
        self.ca_file = self.ca.write(self.directory, "proxies")
        self.pem = self.ca.issue("localhost", "127.0.0.1").write_combined(self.directory, "proxy")
        self.urls = (self.origins.http_url("/files/hello.txt"), self.origins.https_url("/files/hello.txt"))

    def start(self, *settings: str, options: tuple[str, ...] = ()) -> Proxy:
        """Start a proxy with an additional C{ssl:} endpoint; its URL is that of the endpoint."""
        port = free_port()
        listen = ":".join(["ssl", str(port), "interface=127.0.0.1", f"privateKey={self.pem}", *settings])
        proxy = self.start_proxy(*self.allow_all(), "--listen", listen, *options)
        proxy.url = f"https://localhost:{port}"
        return proxy

    def fetch_by(self, proxy: Proxy, url: str, *arguments: str) -> tuple[int, str]:
        return self.fetch(proxy, url, "--proxy-cacert", str(self.ca_file), *arguments)

    def certificate(self, issuer: TestCA, name: str, *names: str) -> tuple[str, ...]:
        path: Path = issuer.issue(*names, usage=CLIENT, subject=name).write_combined(self.directory, name)
        return ("--proxy-cert", str(path))

    def test_tls_without_client_authentication(self) -> None:
        proxy = self.start()
        for url in self.urls:
            self.assertEqual(self.fetch_by(proxy, url), (200, "hello\n"))

    def test_large_bodies(self) -> None:
        """Bodies in both directions, through every kind of tunnel."""
        proxy = self.start()
        passing = self.start(options=("--passthrough", "localhost"))
        upload = str(self.write("upload", "x" * 3_000_000))
        plain, secure = self.origins.http_url("/"), self.origins.https_url("/")
        for tunnel, url, ca in (
            (proxy, plain, ()),
            (proxy, plain, ("--proxytunnel",)),
            (proxy, secure, ()),
            (passing, secure, ("--cacert", str(self.origins.ca))),
        ):
            with self.subTest(url, arguments=ca):
                get = ("-r", "0-29999999", "-o", "/dev/null", "-w", "\n%{size_download}")
                done = self.curl(tunnel, "--proxy-cacert", str(self.ca_file), *ca, *get, f"{url}files/big")
                self.assertEqual((done.returncode, done.stdout.strip()), (0, "30000000"), done.stderr)
                _, content = self.fetch_by(tunnel, f"{url}sink", *ca, "--data-binary", f"@{upload}")
                self.assertIn("3000000", content)

    def test_passwords(self) -> None:
        proxy = self.start(f"client-auth={self.clients}")
        for url in self.urls:
            self.assertEqual(self.fetch_by(proxy, url, "--proxy-user", f"alice:{PASSWORD}"), (200, "hello\n"))
        self.assertEqual(self.fetch_by(proxy, self.urls[0])[0], 407)

    def test_certificates(self) -> None:
        proxy = self.start(f"client-ca={self.runners.write(self.directory, 'runners')}")
        mine = self.certificate(self.runners, "runner-7")
        named = self.certificate(self.runners, "named", "runner.example.com")
        for url in self.urls:
            self.assertEqual(self.fetch_by(proxy, url, *mine), (200, "hello\n"))
            self.assertEqual(self.fetch_by(proxy, url, *named, "--proxy-user", "admin:x"), (200, "hello\n"))
        expected: list[tuple[str, str | None]]
        expected = [("forwarded", "runner-7"), ("forwarded", "runner.example.com")] * 2
        self.on_record(proxy, *expected)
        refusals = [("client-tls-failed", None)] * 2
        for refused in ((), self.certificate(TestCA("Strangers"), "stranger")):
            for url in self.urls:
                done = self.curl(proxy, "--proxy-cacert", str(self.ca_file), *refused, url)
                self.assertNotEqual(done.returncode, 0)
                self.assertEqual(done.stdout, "")
            expected += refusals
        self.on_record(proxy, *expected)

    def test_settings_of_their_own(self) -> None:
        proxy = self.start("client-auth=none", options=("--client-auth", str(self.clients)))
        self.assertEqual(self.fetch_by(proxy, self.urls[1]), (200, "hello\n"))
        proxy.url = f"http://127.0.0.1:{proxy.port}"
        self.assertEqual(self.fetch(proxy, self.urls[0])[0], 407)

    def test_no_tls(self) -> None:
        """A client that sends plain HTTP to it gets no response."""
        proxy = self.start()
        proxy.url = proxy.url.replace("https:", "http:")
        self.assertNotEqual(self.curl(proxy, self.urls[0]).returncode, 0)

    def test_workers(self) -> None:
        proxy = self.start(f"client-auth={self.clients}", options=("--workers", "2"))
        for _ in range(4):
            self.assertEqual(self.fetch_by(proxy, self.urls[1], "--proxy-user", f"ci:{self.token}"), (200, "hello\n"))
        self.on_record(proxy, *[("forwarded", "ci")] * 4)

    def test_invalid_files(self) -> None:
        self.clients.write_text("alice:s3cret\n")
        with self.assertRaises(AssertionError) as caught:
            self.start_proxy("--client-auth", str(self.clients))
        self.assertIn("line 1: unknown scheme", str(caught.exception))
        self.assertNotIn("s3cret", str(caught.exception))
