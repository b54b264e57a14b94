"""Tests for L{egress.tls.origin_names}; those of L{egress.tls.origin_trust} send the certificates in handshakes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

import service_identity
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import example, given
from hypothesis import strategies as st
from service_identity.hazmat import DNS_ID, DNSPattern
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.tls.origin_names import name_fault
from tests.certificates import common_name, new_key

KEY = new_key()
NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
PREFIX = "the certificate of api.example.com:443"

LABELS = st.sampled_from(["a", "b-c", "_x", "1", "xn--bcher-kva", "a1", "0x1"])
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
PATTERNS = st.lists(st.one_of(LABELS, st.sampled_from(["*", "A", "*a", ""])), min_size=1, max_size=4).map(".".join)


def certificate(*names: x509.GeneralName) -> x509.Certificate:
    """Create a certificate; without names, it has no extension."""
    builder = x509.CertificateBuilder().subject_name(common_name("api.example.com")).issuer_name(common_name("CA"))
    builder = builder.public_key(KEY.public_key()).serial_number(1)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256())


def dns(*names: str) -> x509.Certificate:
    """Create a certificate for hosts."""
    return certificate(*map(x509.DNSName, names))


def by_the_rules(host: str, name: str) -> bool:
    """Compare a name with a host by means of service_identity only.

    Its release 24.1 fails on a wildcard and a host of one label, which do not match (RFC 9525 section 6.3).
    """
    if "." not in host and "*" in name:
        return False
    try:
        return DNS_ID(host).verify(DNSPattern.from_bytes(name.encode("ascii")))
    except service_identity.CertificateError:
        return False


class NameFaultTests(SynchronousTestCase):
    """The comparison of names."""

    def fault(self, found: x509.Certificate, host: str = "api.example.com") -> str | None:
        return name_fault(found, Authority(host, 443))

    def test_matches(self) -> None:
        for names in (
            ["api.example.com"],
            ["API.example.com"],
            ["*.example.com"],
            ["other.example", "*.EXAMPLE.com"],
            ["80", "api.example.com"],
        ):
            with self.subTest(names):
                self.assertIsNone(self.fault(dns(*names)))

    def test_addresses(self) -> None:
        found = certificate(x509.IPAddress(ip_address("192.0.2.1")), x509.IPAddress(ip_address("2001:db8::1")))
        self.assertIsNone(self.fault(found, "192.0.2.1"))
        self.assertIsNone(self.fault(found, "2001:db8::1"))
        self.assertIn("is for another host: 192.0.2.1, 2001:db8::1", self.fault(found, "192.0.2.2") or "")
        # An address as a host name is not valid.
        self.assertIn("contains no valid host name", self.fault(dns("192.0.2.1"), "192.0.2.1") or "")

    def test_no_names(self) -> None:
        self.assertEqual(self.fault(certificate()), f"{PREFIX} contains no host name")
        self.assertEqual(self.fault(certificate(x509.RFC822Name("a@b.example"))), f"{PREFIX} contains no host name")

    def test_other_names(self) -> None:
        self.assertEqual(self.fault(dns("b.example")), f"{PREFIX} is for another host: b.example")
        self.assertEqual(
            self.fault(dns("b.example", "80")),
            f"{PREFIX} is for another host: b.example; ignored invalid names: 80",
        )
        many = [f"h{number}.example" for number in range(7)]
        self.assertTrue((self.fault(dns(*many)) or "").endswith("h4.example and 2 more"))

    def test_a_host_of_one_label(self) -> None:
        """Another name of the certificate matches, after a wildcard that does not."""
        self.assertIsNone(self.fault(dns("*.example.com", "intranet"), "intranet"))
        self.assertIsNone(self.fault(dns("*.example.com", "INTRANET"), "intranet"))
        self.assertEqual(
            self.fault(dns("*.example.com"), "intranet"),
            "the certificate of intranet:443 is for another host: *.example.com",
        )

    def test_wildcards(self) -> None:
        for host, name in (
            ("a.b.example.com", "*.example.com"),
            ("example.com", "*.com"),
            ("com", "*"),
            ("com", "*.example.com"),
            ("xn--bcher-kva.example.com", "*.example.com"),
            ("api.example.com", "a*.example.com"),
        ):
            with self.subTest(host=host, name=name):
                self.assertIsNotNone(self.fault(dns(name), host))

    @given(HOSTS, PATTERNS)
    @example("a.b-c.a", "*.b-c.a")
    @example("a.b-c.a", "a.b-c.a")
    @example("xn--bcher-kva.b-c.a", "*.b-c.a")
    @example("a.a", "*.a")
    @example("1.a", "1.a")
    @example("a", "*.a.a")
    @example("1.1.1.1", "1.1.1.1")
    @example("1", "1")
    def test_same_as_by_the_rules(self, host: str, name: str) -> None:
        """The short comparison of common names accepts nothing else."""
        try:
            DNS_ID(host)
        except ValueError:
            if Authority(host, 443).ip is None:
                self.assertRaises(ValueError, self.fault, dns(name), host)
            else:
                # An address only matches an address.
                self.assertIsNotNone(self.fault(dns(name), host))
        else:
            self.assertEqual(self.fault(dns(name), host) is None, by_the_rules(host, name))
