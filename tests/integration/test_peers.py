"""The programs around the proxy, without the proxy: a failure here is not a fault of the proxy."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

from tests.integration import test_newman, test_upstream
from tests.integration.base import IntegrationTestCase
from tests.integration.peers import GOOD, SELF_SIGNED
from tests.integration.processes import node_module


class OriginTests(IntegrationTestCase):
    """nginx and the application behind it."""

    def direct(self, url: str, *arguments: str) -> tuple[int, str]:
        """Fetch a URL with curl, without a proxy.

        @return: curl's exit status, and the body.
        """
        done = self.run_program("curl", "-sS", "--max-time", "30", "--cacert", str(self.origins.ca), *arguments, url)
        return done.returncode, done.stdout

    def test_nginx(self) -> None:
        for url in (
            self.origins.http_url("/files/hello.txt"),
            self.origins.https_url("/files/hello.txt"),
            self.origins.https_url("/files/hello.txt", GOOD),
        ):
            with self.subTest(url):
                seen = self.origins.requests_seen()
                self.assertEqual(self.direct(url), (0, "hello\n"))
                self.assertEqual(self.origins.requests_seen(), seen + 1)

    def test_a_bad_certificate_is_bad_to_curl_too(self) -> None:
        # curl: the peer's certificate cannot be verified.
        self.assertEqual(self.direct(self.origins.https_url("/", SELF_SIGNED))[0], 60)

    def test_the_collection(self) -> None:
        """newman's collection passes against the origins themselves, and they see the requests that a proxy allows."""
        for base in (self.origins.http_url(""), self.origins.https_url("")):
            with self.subTest(base):
                (self.directory / "upload.bin").write_bytes(b"content")
                report = self.directory / "report.json"
                seen = self.origins.requests_seen()
                done = self.run_program(
                    "node",
                    node_module("newman/bin/newman.js"),
                    "run",
                    str(test_newman.COLLECTION),
                    "--env-var",
                    f"base={base}",
                    "--working-dir",
                    str(self.directory),
                    "--ssl-extra-ca-certs",
                    str(self.origins.ca),
                    "--reporters",
                    "json",
                    "--reporter-json-export",
                    str(report),
                )
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                run = json.loads(report.read_text("utf-8"))["run"]
                self.assertEqual(run["failures"], [])
                self.assertGreaterEqual(run["stats"]["requests"]["total"], 12)
                self.assertEqual(self.origins.requests_seen() - seen, test_newman.REQUESTS)


class ServiceTests(IntegrationTestCase):
    """The sample authorization service follows the contract."""

    def test_responses(self) -> None:
        url, record = self.start_authz_service("DELETE")
        questions = (
            ({"url": "https://origin.test/", "method": "GET", "headers": "{}"}, 200, True),
            ({"url": "https://origin.test/", "method": "DELETE", "headers": "{}"}, 403, False),
            ({"method": "GET", "headers": "{}"}, 400, False),
            ({"url": "https://origin.test/", "headers": "{}"}, 400, False),
        )
        for question, status, allowed in questions:
            with self.subTest(question):
                request = urllib.request.Request(
                    f"{url}/validate", json.dumps(question).encode(), {"Content-Type": "application/json"}
                )
                try:
                    with urllib.request.urlopen(request, timeout=10) as answer:
                        found, content = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    found, content = error.code, error.read()
                self.assertEqual((found, json.loads(content)["allowed"]), (status, allowed))
        recorded = [json.loads(line) for line in record.read_text("utf-8").splitlines()]
        self.assertEqual(recorded, [question for question, _, _ in questions])


class UpstreamProxyTests(test_upstream.UpstreamTestCase):
    """Squid and tinyproxy require the configured credentials."""

    def connect(self, proxy: str, url: str) -> str:
        """Fetch a URL with curl through an upstream proxy, without egressproxy.

        @return: the status, and the status of the CONNECT response.
        """
        arguments = ["-x", f"http://{proxy}", "--cacert", str(self.origins.ca), "-o", "/dev/null", url]
        done = self.run_program(
            "curl", "-sS", "--max-time", "30", "--noproxy", "", "-w", "%{http_code} %{http_connect}", *arguments
        )
        return done.stdout

    def test_credentials(self) -> None:
        good, wrong = f"{test_upstream.USER}:{test_upstream.PASSWORD}", f"{test_upstream.USER}:wrong"
        http, https = self.origins.http_url("/echo"), self.origins.https_url("/echo")
        for name, address, refusal in (
            ("squid", self.start_squid()[0], "407"),
            # Old versions respond as if they were the origin.
            ("tinyproxy", self.start_tinyproxy(), "40[17]"),
        ):
            with self.subTest(name):
                self.assertEqual(self.connect(f"{good}@{address}", http), "200 000", name)
                self.assertEqual(self.connect(f"{good}@{address}", https), "200 200", name)
                self.assertRegex(self.connect(f"{wrong}@{address}", http), f"{refusal} 000", name)
                self.assertRegex(self.connect(f"{wrong}@{address}", https), f"000 {refusal}", name)
