"""Tests for L{egress.console.pages.setup}."""

from __future__ import annotations

from datetime import datetime, timezone
from shutil import rmtree
from typing import Any

from cryptography import x509
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from egress.checks.finding import Fix, fault, ok
from egress.config.model import ProxyConfig
from egress.tls.ca_source import ca_source
from tests.console.browser import ADMIN, VIEWER, ConsoleBrowser
from tests.files import make_directory


class FakeChecks:
    """Checks with the results of the test."""

    def __init__(self) -> None:
        self.results: Deferred[Any] = succeed([ok("ca", "is valid"), fault("clock", "is <b>late</b>", Fix("set it"))])
        self.runs = 0

    def run(self) -> Deferred[Any]:
        self.runs += 1
        return self.results


class SetupPageTests(SynchronousTestCase):
    """Settings, downloads and checks."""

    def setUp(self) -> None:
        self.directory = make_directory(self) / "ca"
        self.checks = FakeChecks()
        self.address: Any = IPv4Address("TCP", "127.0.0.1", 18080)

    def open(self, token: str = ADMIN, **settings: Any) -> ConsoleBrowser:
        config = ProxyConfig(
            admin="tcp:9099", admin_token=ADMIN, admin_viewer_token=VIEWER, ca_dir=self.directory, **settings
        )
        authority = ca_source(config).load_or_create(datetime.now(timezone.utc))
        browser = ConsoleBrowser(
            config=config,
            authority=lambda: authority,
            listening=lambda: succeed((self.address,)),
            server_checks=self.checks,
        )
        browser.sign_in(token)
        return browser

    def test_settings(self) -> None:
        """The address is that of the listener."""
        page = self.open().get("/console/setup")
        self.assertEqual(page.status, 200)
        self.assertIn("export HTTPS_PROXY=http://127.0.0.1:18080", page.text)
        self.assertIn("Only programs on the machine of the proxy can reach this address.", page.text)
        self.assertNotIn("NAME:PASSWORD", page.text)
        page = self.open().get("/console/setup?proxy=http%3A%2F%2Fproxy.example%3A8080&format=fish&directory=%2Fopt")
        self.assertIn("set -gx HTTPS_PROXY 'http://proxy.example:8080'", page.text)
        self.assertIn("sudo mkdir -p /opt", page.text)
        self.assertNotIn("Only programs on the machine", page.text)

    def test_invalid(self) -> None:
        page = self.open().get("/console/setup?proxy=%3Cscript%3E&directory=x")
        self.assertIn("Write a URL with a port", page.text)
        self.assertIn("Write an absolute path", page.text)
        self.assertNotIn('<script>"', page.body)
        self.assertNotIn("HTTPS_PROXY=", page.text)

    def test_client_auth(self) -> None:
        file = self.directory.parent / "clients"
        file.write_text("")
        page = self.open(client_auth=file).get("/console/setup")
        self.assertIn("http://NAME:PASSWORD@127.0.0.1:18080", page.text)

    def test_other_listeners(self) -> None:
        """Without a listener on TCP, the page has the default address."""
        self.address = UNIXAddress("/run/egress.sock")
        page = self.open(listen=("unix:/run/egress.sock",)).get("/console/setup")
        self.assertIn("HTTPS_PROXY=http://127.0.0.1:8080", page.text)

    def test_ca(self) -> None:
        browser = self.open()
        pem = browser.get("/console/setup/ca.pem")
        self.assertEqual(pem.body, (self.directory / "ca.pem").read_text())
        self.assertEqual(pem.field("content-disposition"), 'attachment; filename="ca.pem"')
        certificate = x509.load_pem_x509_certificate(pem.body.encode())
        self.assertIn(certificate.subject.rfc4514_string(), browser.get("/console/setup").text)
        self.assertEqual(browser.cookies and browser.get("/console/setup/ca.key").status, 404)

    def test_no_ca(self) -> None:
        browser = self.open()
        rmtree(self.directory)
        page = browser.get("/console/setup")
        self.assertIn("The CA cannot be read", page.text)
        self.assertEqual(browser.get("/console/setup/ca.pem").status, 409)

    def test_checks(self) -> None:
        browser = self.open()
        self.assertIn("Not run since the start of the proxy", browser.get("/console/setup").text)
        response = browser.post("/console/setup/checks")
        self.assertEqual((response.status, response.field("location")), (303, "/console/setup#checks"))
        page = browser.get("/console/setup")
        self.assertIn("1 to fix, 2027-01-15 08:00:00 UTC", page.text)
        self.assertIn("Clock \u2715 fault is <b>late</b> set it", page.text)
        self.assertNotIn("<b>late", page.body)

    def test_viewer(self) -> None:
        """A viewer sees the results, and cannot run the checks."""
        browser = self.open(VIEWER)
        self.assertNotIn("Run the checks", browser.get("/console/setup").text)
        self.assertEqual(browser.post("/console/setup/checks").status, 403)
        self.assertEqual(self.checks.runs, 0)

    def test_no_checks(self) -> None:
        self.checks = None  # type: ignore[assignment]
        browser = self.open()
        self.assertNotIn("Run the checks", browser.get("/console/setup").text)
        self.assertEqual(browser.post("/console/setup/checks").status, 409)
