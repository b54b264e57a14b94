"""HTTP/2 clients, inside intercepted TLS, to an HTTP/1.1 origin."""

from __future__ import annotations

import json
import re
import sys

from tests.integration.base import DENY_CLOSED, IntegrationTestCase
from tests.integration.connect_forwarder import ConnectForwarder
from tests.integration.http2_programs import GO, HTTPX, JAVA, NODE


class Http2TestCase(IntegrationTestCase):
    """A proxy whose policy denies one path."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy = self.start_proxy("--policy", str(self.write("policy.toml", DENY_CLOSED)))


class ClientTests(Http2TestCase):
    """Clients that send many requests side by side."""

    def test_denied_uploads(self) -> None:
        """curl reports the response, and not the end of the stream."""
        content = self.directory / "content"
        content.write_bytes(bytes(1 << 20))
        wanted = ("-o", "/dev/null", "-w", "%{http_version} %{http_code}")
        for upload in (("-T", str(content)), ("--data-binary", f"@{content}")):
            done = self.curl(self.proxy, "--http2", *wanted, *upload, self.origins.https_url("/closed/door"))
            self.assertEqual((done.returncode, done.stdout), (0, "2 403"), done.stderr)

    def test_curl(self) -> None:
        """Some of 30 transfers are denied."""
        urls = [self.origins.https_url(f"/{'closed' if number % 3 else 'echo'}/{number}") for number in range(30)]
        wanted = "\nversion=%{http_version} code=%{http_code}\n"
        done = self.curl(self.proxy, "--http2", "-Z", "-w", wanted, *urls)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = re.findall(r"^version=(\d) code=(\d+)$", done.stdout, re.MULTILINE)
        self.assertEqual(sorted(found), [("2", "200")] * 10 + [("2", "403")] * 20)
        problem = json.loads(done.stdout[done.stdout.index('{"type"') :].partition("\n")[0])
        self.assertEqual((problem["reason"], problem["ruleId"]), ("this path is closed", "closed"))

    def test_turned_off(self) -> None:
        """The client selects HTTP/1.1."""
        proxy = self.start_proxy(*self.allow_all(), "--http2", "off")
        done = self.curl(proxy, "-w", "%{http_version}", self.origins.https_url("/files/hello.txt"))
        self.assertEqual((done.returncode, done.stdout), (0, "hello\n1.1"), done.stderr)

    def test_libraries(self) -> None:
        """The origin counts the bytes of each content."""
        go = str(self.directory / "client")
        built = self.run_program("go", "build", "-o", go, str(self.write("client.go", GO)))
        self.assertEqual(built.returncode, 0, built.stderr)
        for version, *command in (
            ("HTTP/2", sys.executable, "-c", HTTPX),
            ("h2", "node", str(self.write("client.js", NODE))),
            ("HTTP_2", "java", "-XX:TieredStopAtLevel=1", str(self.write("Http2.java", JAVA))),
            ("HTTP/2.0", go),
        ):
            with self.subTest(version):
                done = self.run_program(*command, self.proxy.url, str(self.proxy.ca), self.origins.https_url("/sink"))
                lines = [line.split(" ", 2) for line in done.stdout.splitlines()]
                self.assertEqual(len(lines), 20, done.stdout + done.stderr)
                self.assertEqual({(found, status) for found, status, _ in lines}, {(version, "200")})
                sizes = sorted(json.loads(content)["bytes"] for _, _, content in lines)
                self.assertEqual(sizes, [10_000 * number for number in range(20)])

    def test_nghttp2(self) -> None:
        """Its programs use no proxy. Two connections have 50 streams each."""
        host, path = self.origins.https_url("/files/hello.txt").removeprefix("https://").split("/", 1)
        forwarder = ConnectForwarder(self.proxy.port, host)
        self.addCleanup(forwarder.close)
        authority, url = f":authority: {host}", f"https://localhost:{forwarder.port}/{path}"
        done = self.run_program("nghttp", "-v", "-H", authority, url)
        for text in ("The negotiated protocol: h2", ":status: 200", "hello"):
            self.assertIn(text, done.stdout)
        done = self.run_program("h2load", "-n", "1000", "-c", "2", "-m", "50", "-H", authority, url)
        self.assertIn("1000 succeeded, 0 failed, 0 errored, 0 timeout", done.stdout)
        self.assertIn("1000 2xx", done.stdout)
        self.records(self.proxy, 1001)
