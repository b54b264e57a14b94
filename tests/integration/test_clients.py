"""Common clients: curl, Python's requests and httpx."""

from __future__ import annotations

import json
import socket
import sys

from tests.integration.base import DENY_CLOSED, IntegrationTestCase

_SCRIPT = """
import json, sys
import {library} as library
kind, url, closed = sys.argv[1:]
answers = [library.post(url, json={{"name": "value"}}), library.get(closed), library.head(closed)]
print(json.dumps([[answer.status_code, answer.headers.get("content-type"), answer.text] for answer in answers]))
"""


class CurlTests(IntegrationTestCase):
    """curl, with features that other clients do not have."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy = self.start_proxy("--policy", str(self.write("policy.toml", DENY_CLOSED)))

    def urls(self, path: str) -> tuple[str, str]:
        """Return the URL at both origins."""
        return self.origins.http_url(path), self.origins.https_url(path)

    def test_allowed(self) -> None:
        for url in self.urls("/files/hello.txt"):
            with self.subTest(url):
                self.assertEqual(self.fetch(self.proxy, url), (200, "hello\n"))

    def test_denied(self) -> None:
        for url in self.urls("/closed/door"):
            with self.subTest(url):
                problem = self.assert_problem(self.proxy, url, 403, "authz")
                self.assertEqual((problem["reason"], problem["ruleId"]), ("this path is closed", "closed"))

    def test_denied_in_plain_text(self) -> None:
        for url in self.urls("/closed/door"):
            with self.subTest(url):
                status, content = self.fetch(self.proxy, url, "-H", "Accept: text/plain")
                self.assertEqual(status, 403)
                self.assertIn("this path is closed\n", content)
                self.assertFalse(content.startswith("{"))

    def test_denied_head_and_the_next_request(self) -> None:
        for url, next_url in zip(self.urls("/closed/door"), self.urls("/files/hello.txt"), strict=True):
            with self.subTest(url):
                done = self.curl(
                    self.proxy,
                    "--head",
                    url,
                    "--next",
                    "-sS",
                    "--cacert",
                    str(self.proxy.ca),
                    "-x",
                    self.proxy.url,
                    "--noproxy",
                    "",
                    next_url,
                )
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("\nHTTP/2 403" if "https" in url else "HTTP/1.1 403", done.stdout)
                self.assertTrue(done.stdout.endswith("hello\n"))

    def test_spellings_of_a_denied_path(self) -> None:
        for path in ("/x/../closed/door", "/%63losed/door", "//closed/door", "/closed%2fdoor", "/x/%2e%2e/closed/door"):
            with self.subTest(path):
                self.assert_problem(self.proxy, self.origins.http_url(path), 403, "authz", "--path-as-is")

    def test_addresses_of_this_machine_are_blocked_by_default(self) -> None:
        proxy = self.start_proxy(*self.allow_all(), local=False)
        seen = self.origins.requests_seen()
        port = self.origins.http
        for host in (
            "127.0.0.1",
            "localhost",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "169.254.169.254",
            "0.0.0.0",
        ):
            with self.subTest(host):
                # Absolute-form, written directly: curl would normalize some of these.
                target = f"http://{host}:{port}/"
                self.assert_problem(proxy, self.origins.http_url("/"), 403, "address", "--request-target", target)
        self.assertEqual(self.origins.requests_seen(), seen)

    def test_requests_to_the_proxy_itself_are_blocked(self) -> None:
        problem = self.assert_problem(self.proxy, f"http://127.0.0.1:{self.proxy.port}/", 403, "address")
        self.assertIn("the proxy itself", problem["reason"])

    def test_expect_continue(self) -> None:
        upload = str(self.write("upload", "x" * 200_000))
        for url in self.urls("/sink"):
            with self.subTest(url):
                done = self.curl(
                    self.proxy, "-v", "-H", "Expect: 100-continue", "--expect100-timeout", "20", "-d", f"@{upload}", url
                )
                self.assertEqual(json.loads(done.stdout)["bytes"], 200_000)
                self.assertRegex(done.stderr, "< HTTP/(1.1|2) 100")

    def test_http_1_0(self) -> None:
        for url in self.urls("/chunked"):
            with self.subTest(url):
                self.assertEqual(self.fetch(self.proxy, url, "--http1.0"), (200, "one,two,three"))

    def test_connections_are_persistent(self) -> None:
        for url in self.urls("/files/hello.txt"):
            with self.subTest(url):
                done = self.curl(self.proxy, "-v", url, url, url)
                self.assertEqual(done.stdout, "hello\n" * 3)
                self.assertEqual(done.stderr.count("Re-using existing"), 2)

    def test_trailers(self) -> None:
        # Directly to the application: nginx drops trailers.
        url = f"http://127.0.0.1:{self.origins.app}/trailers"
        with socket.create_connection(("127.0.0.1", self.proxy.port), timeout=20) as client:
            client.sendall(f"GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            received = b""
            while piece := client.recv(65536):
                received += piece
        self.assertTrue(received.endswith(b"7\r\ncontent\r\n0\r\nX-Sum: 42\r\n\r\n"), received)


class PythonTests(IntegrationTestCase):
    """Python's HTTP clients, configured only by environment variables."""

    def run_script(self, library: str) -> None:
        proxy = self.start_proxy("--policy", str(self.write("policy.toml", DENY_CLOSED)))
        script = self.write("client.py", _SCRIPT.format(library=library))
        for base in (self.origins.http_url(""), self.origins.https_url("")):
            with self.subTest(base):
                done = self.run_program(
                    sys.executable,
                    str(script),
                    "post",
                    f"{base}/echo",
                    f"{base}/closed/door",
                    HTTP_PROXY=proxy.url,
                    HTTPS_PROXY=proxy.url,
                    http_proxy=proxy.url,
                    https_proxy=proxy.url,
                    REQUESTS_CA_BUNDLE=str(proxy.ca),
                    SSL_CERT_FILE=str(proxy.ca),
                )
                self.assertEqual(done.returncode, 0, done.stderr)
                posted, denied, head = json.loads(done.stdout)
                self.assertEqual(posted[0], 200)
                self.assertEqual(json.loads(json.loads(posted[2])["body"]), {"name": "value"})
                self.assertEqual(denied[:2], [403, "application/problem+json"])
                self.assertEqual(json.loads(denied[2])["reason"], "this path is closed")
                self.assertEqual(head, [403, "application/problem+json", ""])

    def test_requests(self) -> None:
        self.run_script("requests")

    def test_httpx(self) -> None:
        self.run_script("httpx")
