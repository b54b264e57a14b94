"""Origins that use HTTP/2: nginx, nghttpd and hypercorn behind the proxy."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.certificates import TestCA
from tests.integration.base import IntegrationTestCase, Proxy
from tests.integration.peers import start_nginx
from tests.integration.processes import HERE, Process, free_port, program

MIB = 1024 * 1024

_NGINX = """
    log_format versions '$request_uri $server_protocol $connection';
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {directory}/server.pem;
        ssl_certificate_key {directory}/server-key.pem;
        access_log {directory}/versions.log versions;
        root {directory}/www;
        {settings}
    }}
"""


class Http2OriginTests(IntegrationTestCase):
    """Each origin is reached over HTTP/2, and each request through the proxy succeeds."""

    def setUp(self) -> None:
        super().setUp()
        ca = TestCA("CA of the origins")
        ca.issue("localhost", "127.0.0.1").write(self.directory, "server")
        self.ca = ca.write(self.directory, "origins-ca")
        self.www = self.directory / "www"
        self.www.mkdir()
        self.directory.chmod(0o755)
        for number in range(40):
            (self.www / f"{number}.txt").write_text(f"{number}\n")
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"

    def trusting_proxy(self, *options: str) -> Proxy:
        """Start a proxy that trusts the origins of this test."""
        return self.start_proxy(*self.allow_all(), "--ssl-extra-ca-certs", str(self.ca), *options)

    def start(self, arguments: Sequence[str], name: str) -> Process:
        """Start an origin."""
        process = Process(arguments, self.directory, name)
        self.addCleanup(process.stop)
        process.wait_for_port(self.port)
        return process

    def start_nginx(self, settings: str = "") -> None:
        """Start nginx."""
        http = _NGINX.format(port=self.port, directory=self.directory, settings=settings)
        self.addCleanup(start_nginx(self.directory, http, self.port).stop)

    def versions(self, number: int) -> list[list[str]]:
        """Return the path, the version and the connection of each request, once nginx has logged that many."""
        log = self.directory / "versions.log"
        self.wait_until(lambda: len(log.read_text().splitlines()) >= number, "the log of nginx")
        return [line.split() for line in log.read_text().splitlines()]

    def fetch_all(self, proxy: Proxy, paths: Sequence[str]) -> None:
        """Fetch files concurrently, and check their content."""
        out = self.directory / "out"
        out.mkdir(exist_ok=True)
        urls = [part for path in paths for part in (f"{self.url}/{path}", "-o", str(out / path))]
        done = self.curl(proxy, "--parallel", "--parallel-immediate", "--parallel-max", "40", "--fail", *urls)
        self.assertEqual(done.returncode, 0, done.stderr)
        for path in paths:
            self.assertEqual((out / path).read_bytes(), (self.www / path).read_bytes())

    def trailers(self, proxy: Proxy, url: str, *arguments: str) -> str:
        """Fetch a URL, and return the fields before and after the content."""
        fields = self.directory / "fields"
        done = self.curl(proxy, "-D", str(fields), "-H", "TE: trailers", "-H", "Connection: TE", *arguments, url)
        self.assertEqual(done.returncode, 0, done.stderr)
        return fields.read_text()

    def big_file(self, size: int) -> Path:
        """Write a file that a mistake in the order of its parts would change."""
        path = self.directory / "big"
        path.write_bytes(b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(1024)) * (size // 32768))
        return path

    def test_concurrent_requests_share_a_connection(self) -> None:
        self.start_nginx()
        proxy = self.trusting_proxy()
        self.fetch_all(proxy, [f"{number}.txt" for number in range(40)])
        lines = self.versions(40)
        self.assertEqual({version for _, version, _ in lines}, {"HTTP/2.0"})
        before = {connection for _, _, connection in lines}
        self.assertLessEqual(len(before), len(proxy.workers) or 1)
        with self.subTest("a reload replaces the connections"):
            os.kill(proxy.pid, signal.SIGHUP)
            self.wait_until(lambda: "reloaded" in proxy.process.output(), "the reload")
            self.assertEqual(self.fetch(proxy, f"{self.url}/1.txt"), (200, "1\n"))
            self.assertNotIn(self.versions(41)[-1][2], before)
        with self.subTest("an upgrade uses HTTP/1.1"):
            fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
            key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
            headers = [part for field in (*fields, key) for part in ("-H", field)]
            self.assertEqual(self.fetch(proxy, f"{self.url}/2.txt", "--http1.1", *headers), (200, "2\n"))
            self.assertEqual(self.versions(42)[-1][:2], ["/2.txt", "HTTP/1.1"])
        with self.subTest("the audit records have both versions"):
            records = self.records(proxy, 42)
            versions = {(record["clientHttp"], record["originHttp"]) for record in records}
            self.assertLessEqual({("2", "2"), ("1.1", "1.1")}, versions)
            self.assertEqual(sum(record["originHttp"] == "1.1" for record in records), 1)

    def test_an_origin_that_ends_its_connections(self) -> None:
        """No request fails although the origin announces the end of each connection after a few requests."""
        self.start_nginx("keepalive_requests 25;")
        proxy = self.trusting_proxy()
        for _ in range(3):
            self.fetch_all(proxy, [f"{number}.txt" for number in range(40)])
        lines = self.versions(120)
        self.assertEqual({version for _, version, _ in lines}, {"HTTP/2.0"})
        self.assertGreater(len({connection for _, _, connection in lines}), 4)

    def test_http2_turned_off(self) -> None:
        self.start_nginx()
        settings = self.write("origins.toml", '[[origin]]\nhosts = ["localhost"]\nhttp2 = false\n')
        for number, options in enumerate((("--http2", "off"), ("--origin-tls", str(settings))), 1):
            proxy = self.trusting_proxy(*options)
            self.assertEqual(self.fetch(proxy, f"{self.url}/{number}.txt"), (200, f"{number}\n"))
            self.assertEqual(self.versions(number)[-1][:2], [f"/{number}.txt", "HTTP/1.1"])

    def test_through_an_upstream_proxy(self) -> None:
        self.start_nginx()
        upstream = self.trusting_proxy("--passthrough", "localhost")
        proxy = self.trusting_proxy("--upstream-proxy", upstream.url)
        self.fetch_all(proxy, [f"{number}.txt" for number in range(10)])
        self.assertEqual({version for _, version, _ in self.versions(10)}, {"HTTP/2.0"})

    def test_nghttpd(self) -> None:
        """The limit of concurrent streams, trailers, and a large transfer in both directions."""
        big = self.big_file(24 * MIB)
        self.forked = False
        options = [
            "--max-concurrent-streams=3",
            "--trailer=x-sum: done",
            "--echo-upload",
            "--no-content-length",
            "-d",
            str(self.www),
        ]
        certificate = [str(self.directory / "server-key.pem"), str(self.directory / "server.pem")]
        self.start([program("nghttpd"), *options, str(self.port), *certificate], "nghttpd")
        proxy = self.trusting_proxy()
        self.fetch_all(proxy, [f"{number}.txt" for number in range(40)])
        self.assertIn("x-sum: done", self.trailers(proxy, f"{self.url}/1.txt"))
        memory = proxy.memory("VmRSS")
        echo = self.directory / "echo"
        done = self.curl(proxy, "--fail", "-H", "Expect:", "-T", str(big), "-o", str(echo), f"{self.url}/echo")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(echo.read_bytes(), big.read_bytes())
        self.assertLess(proxy.memory("VmRSS") - memory, 24 * MIB)

    def test_hypercorn(self) -> None:
        """Uploads, trailers, cookies, and a response before the end of the request."""
        if find_spec("hypercorn") is None:
            raise SkipTest("hypercorn is not installed")
        big = self.big_file(24 * MIB)
        files = ["--certfile", str(self.directory / "server.pem"), "--keyfile", str(self.directory / "server-key.pem")]
        bind = ["--bind", f"127.0.0.1:{self.port}"]
        arguments = [sys.executable, "-m", "hypercorn", *files, *bind, "h2_app:app"]
        self.start(["env", "-C", str(HERE), *arguments], "hypercorn")
        proxy = self.trusting_proxy()
        expected = f"{24 * MIB} {hashlib.sha256(big.read_bytes()).hexdigest()}"
        status, content = self.fetch(proxy, self.url, "-T", str(big))
        self.assertEqual((status, content), (200, expected))
        fields = self.trailers(proxy, self.url, "-H", "Cookie: a=1; b=2", "-d", "abc")
        for field in ("x-version: 2", "x-cookie: a=1; b=2", "x-sum: done"):
            self.assertIn(field, fields)
        status, _ = self.fetch(proxy, f"{self.url}/early", "--http1.1", "-T", str(big))
        self.assertEqual(status, 413)
        self.assertEqual(self.fetch(proxy, f"{self.url}/", "-d", "abc")[0], 200)
