"""Per-origin TLS policy: nginx that requires a certificate, is outdated, has a pinned CA, or is revoked."""

from __future__ import annotations

from pathlib import Path

from tests.certificates import CLIENT, TestCA, TestCertificate
from tests.integration.base import IntegrationTestCase, Proxy
from tests.integration.peers import start_nginx
from tests.integration.processes import free_port
from tests.tls import test_ocsp as staple

_HTTP = """
    access_log {directory}/access.log;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        {settings}
        location / {{ return 200 "$ssl_protocol $ssl_client_s_dn\\n"; }}
    }}
"""


class OriginTermsTests(IntegrationTestCase):
    """C{--origin-tls}, and stapled OCSP responses."""

    def setUp(self) -> None:
        super().setUp()
        self.directory.chmod(0o755)
        self.ca = TestCA("Origins")
        self.ca_file = self.ca.write(self.directory, "origins")
        self.clients = TestCA("Their clients")
        self.clients_file = self.clients.write(self.directory, "clients")

    def origin(self, certificate: TestCertificate, settings: str) -> str:
        """Start an origin.

        @return: its URL.
        """
        port = free_port()
        directory = self.directory / str(port)
        directory.mkdir(mode=0o755)
        pem, key = certificate.write(directory)
        http = _HTTP.format(directory=directory, port=port, certificate=pem, key=key, settings=settings)
        process = start_nginx(directory, http, port)
        self.addCleanup(process.stop)
        return f"https://localhost:{port}/"

    def seen(self, url: str) -> str:
        """Return the requests that reached an origin."""
        port = url.rpartition(":")[2].strip("/")
        return Path(self.directory / port / "access.log").read_text("utf-8")

    def proxy(self, terms: str = "", *options: str) -> Proxy:
        """Start a proxy that trusts the CA of the origins."""
        files = ["--origin-tls", str(self.write("terms.toml", terms))] if terms else []
        return self.start_proxy(*self.allow_all(), "--ssl-extra-ca-certs", str(self.ca_file), *files, *options)

    def test_client_certificate(self) -> None:
        url = self.origin(
            self.ca.issue("localhost"),
            f"ssl_protocols TLSv1.3; ssl_client_certificate {self.clients_file}; ssl_verify_client on;",
        )
        self.clients.issue(usage=CLIENT, subject="our proxy").write_combined(self.directory, "mine")
        terms = '[[origin]]\nhosts = ["localhost"]\nclient-certificate = "mine.pem"\n'
        for options in ((), ("--workers", "2")):
            proxy = self.proxy(terms, *options)
            self.assertEqual(self.fetch(proxy, url), (200, "TLSv1.3 CN=our proxy\n"))
            self.assertEqual(self.fetch(proxy, url), (200, "TLSv1.3 CN=our proxy\n"), "the connection was kept")
        status, content = self.fetch(self.proxy(), url)
        self.assertEqual(status, 400)
        self.assertIn("No required SSL certificate was sent", content)

    def test_minimum_version(self) -> None:
        url = self.origin(self.ca.issue("localhost"), "ssl_protocols TLSv1.2;")
        self.assertEqual(self.fetch(self.proxy(), url), (200, "TLSv1.2 \n"))
        proxy = self.proxy('[[origin]]\nhosts = ["localhost"]\nminimum-version = "TLSv1.3"\n')
        self.assert_problem(proxy, url, 502, "origin-tls")
        self.assertEqual(self.seen(url).count("\n"), 1)

    def test_pinned_ca(self) -> None:
        url = self.origin(self.ca.issue("localhost"), "")
        for name, good in (("origins.pem", True), ("clients.pem", False)):
            proxy = self.proxy(f'[[origin]]\nhosts = ["localhost"]\nca = "{name}"\n')
            if good:
                self.assertEqual(self.fetch(proxy, url)[0], 200)
            else:
                problem = self.assert_problem(proxy, url, 502, "origin-tls")
                self.assertIn("--origin-tls", problem["reason"])
        self.assertEqual(self.seen(url).count("\n"), 1)

    def test_stapled(self) -> None:
        for status, expected in ((staple.GOOD, 200), (staple.REVOKED, 502)):
            server = self.ca.issue("localhost")
            response = self.directory / "response.der"
            response.write_bytes(staple.made(self.ca, server.certificate, status))
            url = self.origin(server, f"ssl_stapling on; ssl_stapling_file {response};")
            proxy = self.proxy()
            if expected == 200:
                self.assertEqual(self.fetch(proxy, url)[0], 200)
            else:
                problem = self.assert_problem(proxy, url, 502, "origin-tls")
                self.assertIn("was revoked", problem["reason"])
                self.assertEqual(self.seen(url), "")

    def test_not_stapled(self) -> None:
        url = self.origin(self.ca.issue("localhost", extensions=(staple.FEATURE,)), "")
        problem = self.assert_problem(self.proxy(), url, 502, "origin-tls")
        self.assertIn("requires a stapled revocation status", problem["reason"])

    def test_an_invalid_file(self) -> None:
        with self.assertRaises(AssertionError) as caught:
            self.proxy('[[origin]]\nhosts = ["localhost"]\nca = "missing.pem"\n')
        self.assertIn("--origin-tls: ", str(caught.exception))
        self.assertIn("missing.pem: No such file", str(caught.exception))
