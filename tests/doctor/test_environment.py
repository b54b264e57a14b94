"""Tests for L{egress.doctor.environment}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.checks.finding import Finding, Status
from egress.doctor.environment import excludes_proxy_host, judge_environment, wide_bypasses, wide_entries
from tests.doctor.setups import NAMED, PROXY, setup

SET_UP = f'eval "$(egress env --proxy {PROXY})"'


class NoProxyTests(SynchronousTestCase):
    """C{NO_PROXY} that excludes too much."""

    def test_wide_entries(self) -> None:
        for text, wide in (
            ("*", ["*"]),
            ("localhost, *", ["*"]),
            (".", ["."]),
            (".com,*.org,.example.com", [".com", "*.org"]),
            ("0.0.0.0/0,::/0,10.0.0.0/8", ["0.0.0.0/0", "::/0"]),
            ("localhost,127.0.0.1,.internal,*.local,registry.example.com,[::1]", []),
            ("not/a range,*,", ["*"]),
            ("*:443,.com:443", []),
            ("", []),
        ):
            with self.subTest(text):
                self.assertEqual(wide_entries(text), wide)

    def test_the_address_of_the_proxy(self) -> None:
        for text, excluded in (
            ("*", True),
            ("invalid", True),
            (".invalid", True),
            ("egressproxy.invalid:443", True),
            ("not a host!,localhost", False),
            ("example.com", False),
            ("", False),
        ):
            with self.subTest(text):
                self.assertEqual(excludes_proxy_host(text), excluded)

    def test_variables(self) -> None:
        environ = {"NO_PROXY": "localhost", "no_proxy": "*", "NPM_CONFIG_NOPROXY": ".com", "OTHER": "*"}
        self.assertEqual(wide_bypasses(environ), ["no_proxy", "NPM_CONFIG_NOPROXY"])


class EnvironmentTests(SynchronousTestCase):
    """The variables of an environment."""

    def judge(self, environ: dict[str, str], own: bool = False) -> list[Finding]:
        return judge_environment(setup(environ, own=own), lambda name: name != "/missing")

    def only(self, named: dict[str, str] | None = None, own: bool = False, **environ: str) -> Finding:
        (finding,) = self.judge({**(named or {}), **environ}, own)
        return finding

    def test_healthy(self) -> None:
        finding = self.only(NAMED, NO_PROXY="localhost", SSL_CERT_FILE="/there")
        self.assertEqual((finding.status, finding.fix), (Status.OK, None))

    def test_no_proxy(self) -> None:
        finding = self.only(NAMED, NO_PROXY="*", no_proxy="*")
        self.assertEqual(finding.status, Status.FAULT)
        self.assertIn("NO_PROXY=*, no_proxy=* lets programs contact hosts directly", finding.text)
        self.assertEqual(finding.fix and finding.fix.line, "unset NO_PROXY no_proxy")

    def test_no_variable(self) -> None:
        finding = self.only()
        self.assertEqual((finding.status, finding.text), (Status.FAULT, "no variable names the proxy"))
        self.assertEqual(finding.fix and finding.fix.line, SET_UP)

    def test_one_scheme(self) -> None:
        finding = self.only(http_proxy=PROXY)
        self.assertEqual(finding.status, Status.FAULT)
        self.assertIn("https requests leave directly", finding.text)
        finding = self.only(https_proxy=PROXY)
        self.assertEqual(finding.status, Status.WARNING)
        self.assertIn("http requests leave directly", finding.text)

    def test_two_spellings(self) -> None:
        finding = self.only(NAMED, https_proxy="http://ci:hunter2@other.test:1")
        self.assertEqual(finding.status, Status.FAULT)
        self.assertIn("differ", finding.text)
        self.assertNotIn("hunter2", finding.text)

    def test_missing_files(self) -> None:
        finding = self.only(NAMED, own=True, SSL_CERT_FILE="/missing", PIP_CERT="/there")
        self.assertEqual(finding.text, "SSL_CERT_FILE=/missing: there is no such file, or it is not readable")
        self.assertEqual(finding.fix and finding.fix.line, "egress run -- COMMAND")

    def test_several(self) -> None:
        self.assertEqual(len(self.judge({"NO_PROXY": ".invalid", "GIT_SSL_CAINFO": "/missing"})), 3)
