"""Tests for L{egress.tls.name_constraints}."""

from __future__ import annotations

from ipaddress import ip_network

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.tls.name_constraints import constraints_of, describe, name_constraints, permits
from tests.certificates import TestCA, common_name

TEN = ip_network("10.0.0.0/8")
SIX = ip_network("2001:db8::/32")


class PermitsTests(SynchronousTestCase):
    """The hosts for which a CA may sign."""

    def check(self, constraints: x509.NameConstraints, permitted: str, refused: str) -> None:
        for hosts, expected in ((permitted, True), (refused, False)):
            for host in hosts.split():
                with self.subTest(host):
                    self.assertEqual(permits(constraints, Authority.parse(host, 443)), expected)

    def test_names(self) -> None:
        """A name permits itself and its subdomains; addresses are excluded."""
        self.check(
            name_constraints(["example.com", "internal"]),
            "example.com a.example.com a.b.example.com internal x.internal",
            "example.org notexample.com example.com.org com a.com 10.0.0.1 [2001:db8::1]",
        )

    def test_addresses(self) -> None:
        """A range permits addresses of one family; names and the other family are excluded."""
        self.check(name_constraints([TEN]), "10.0.0.1 10.255.0.1", "11.0.0.1 [2001:db8::1] example.com")
        self.check(name_constraints([SIX]), "[2001:db8::1]", "10.0.0.1 [2001:db9::1] example.com")

    def test_both(self) -> None:
        """Names and ranges of both families."""
        self.check(
            name_constraints(["example.com", TEN, SIX]),
            "example.com 10.0.0.1 [2001:db8::1]",
            "example.org 11.0.0.1 [2001:db9::1]",
        )

    def test_excluded(self) -> None:
        """Exclusions of other CAs take precedence, in any notation."""
        constraints = x509.NameConstraints(
            [x509.DNSName("Example.com")], [x509.DNSName("secret.example.com"), x509.IPAddress(TEN)]
        )
        self.check(
            constraints, "example.com a.example.com 11.0.0.1", "secret.example.com a.secret.example.com 10.0.0.1"
        )

    def test_leading_dot(self) -> None:
        """A form that is not part of the standard."""
        self.check(x509.NameConstraints([x509.DNSName(".example.com")], None), "a.example.com", "example.org")

    def test_other_kinds(self) -> None:
        """Constraints for other kinds of names, such as directory names and e-mail addresses, do not apply to hosts."""
        constraints = x509.NameConstraints(
            [x509.DirectoryName(common_name("somebody"))], [x509.RFC822Name("example.com")]
        )
        self.check(constraints, "example.com 10.0.0.1", "")


class ReadingTests(SynchronousTestCase):
    """Reading and describing constraints."""

    def test_no_constraints(self) -> None:
        self.assertIsNone(constraints_of(TestCA().certificate))

    def test_describe(self) -> None:
        for constraints, expected in (
            (name_constraints(["example.com"]), "example.com"),
            (name_constraints([TEN, SIX]), "10.0.0.0/8, 2001:db8::/32"),
            (name_constraints(["example.com", TEN]), "example.com, 10.0.0.0/8"),
            (x509.NameConstraints(None, [x509.DNSName("example.com")]), "every host except example.com"),
            (
                x509.NameConstraints([x509.DNSName("example.com")], [x509.DNSName("a.example.com")]),
                "example.com except a.example.com",
            ),
        ):
            with self.subTest(expected):
                self.assertEqual(describe(constraints), expected)
