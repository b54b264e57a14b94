"""Tests for L{egress.tls.origin_policy}."""

from __future__ import annotations

from pathlib import Path

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.model.no_proxy import HostPattern
from egress.tls.origin_policy import OriginTlsPolicy, load_origin_policies
from egress.tls.pem import TrustError

ALL = """
[[origin]]
hosts = ["api.partner.example", "*.bank.example:8443"]
client-certificate = "partner.pem"
minimum-version = "TLSv1.3"
ca = "/etc/partner-ca.pem"
http2 = false

[[origin]]
hosts = ["*.example.com"]
minimum-version = "TLSv1.2"
"""


class LoadOriginPoliciesTests(SynchronousTestCase):
    """A file is either valid as a whole, or rejected."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def load(self, text: str) -> tuple[OriginTlsPolicy, ...]:
        self.path.write_text(text, "utf-8")
        return load_origin_policies(self.path)

    def test_all_settings(self) -> None:
        first, second = self.load(ALL)
        self.assertEqual(
            first,
            OriginTlsPolicy(
                hosts=(
                    HostPattern("api.partner.example", subdomains=False, exact=True),
                    HostPattern("bank.example", subdomains=True, exact=False, port=8443),
                ),
                client_certificate=self.path.parent / "partner.pem",
                minimum_version=SSL.TLS1_3_VERSION,
                ca=Path("/etc/partner-ca.pem"),
                http2=False,
            ),
        )
        self.assertEqual(second, OriginTlsPolicy(hosts=(HostPattern("example.com", subdomains=True, exact=False),)))

    def test_applies_to(self) -> None:
        first, _ = self.load(ALL)
        for host, port, holds in (
            ("api.partner.example", 443, True),
            ("api.partner.example", 8443, True),
            ("a.api.partner.example", 443, False),
            ("a.bank.example", 8443, True),
            ("a.bank.example", 443, False),
            ("bank.example", 8443, False),
        ):
            self.assertEqual(first.applies_to(Authority(host, port)), holds, (host, port))

    def test_rejected(self) -> None:
        hosts = '[[origin]]\nhosts = ["a.example"]\n'
        for text, words in (
            ("", "write [[origin]] before each table"),
            ("origin = 1", "write [[origin]] before each table"),
            ("origin = []", "write [[origin]] before each table"),
            ("[[origins]]", "write [[origin]] before each table"),
            (f"version = 1\n{hosts}ca = 'x'", "and nothing else"),
            ("origin = [1]", "origin 1: must be a table"),
            ("[[origin", "is not TOML"),
            (f"{hosts}verify = false", "unknown key 'verify'"),
            (hosts, "has no settings"),
            (f"{hosts}minimum-version = 'TLSv1.1'", "must be one of TLSv1.2, TLSv1.3, not 'TLSv1.1'"),
            (f"{hosts}minimum-version = 1.3", "'minimum-version' must be a string"),
            (f"{hosts}ca = ''", "'ca' must be a string"),
            (f"{hosts}http2 = 'off'", "'http2' must be true or false"),
            (f"{hosts}client-certificate = ['x']", "'client-certificate' must be a string"),
            (f"{hosts}ca = 'a\\u0000'".replace("'", '"'), "'ca' must be a string"),
            ("[[origin]]\nca = 'x'\nminimum-version = 'TLSv1.2'", "'hosts' must be a list"),
            ("[[origin]]\nca = 'x'\nhosts = 'a.example'", "'hosts' must be a list"),
            ("[[origin]]\nca = 'x'\nhosts = []", "'hosts' must be a list"),
            ("[[origin]]\nca = 'x'\nhosts = [1]", "origin 1: hosts 1: "),
            (f"{hosts}ca = 'x'\n[[origin]]\nca = 'x'\nhosts = ['*']", "origin 2: hosts '*': "),
        ):
            with self.subTest(text):
                error = self.assertRaises(TrustError, self.load, text)
                self.assertIn(words, error.reason)
                self.assertTrue(error.reason.startswith(str(self.path)))
                self.assertNotIn("\n", error.reason)

    def test_unreadable(self) -> None:
        error = self.assertRaises(TrustError, load_origin_policies, self.path)
        self.assertIn("No such file", error.reason)
        self.path.write_bytes(b"\xff")
        error = self.assertRaises(TrustError, load_origin_policies, self.path)
        self.assertIn("UTF-8", error.reason)
