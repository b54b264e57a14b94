"""Tests for L{egress.client_auth.certificate_names}."""

from __future__ import annotations

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from egress.client_auth.certificate_names import name_of
from tests.certificates import CLIENT, TestCA

URI = x509.UniformResourceIdentifier("spiffe://example.com/runner")
DNS = x509.DNSName("runner.example.com")
EMAIL = x509.RFC822Name("runner@example.com")


class NameOfTests(SynchronousTestCase):
    """The client's name in a certificate."""

    def name(self, *names: x509.GeneralName, subject: str = "runner-7") -> str | None:
        extensions = ((x509.SubjectAlternativeName(names), False),) if names else ()
        return name_of(TestCA().issue(usage=CLIENT, subject=subject, extensions=extensions).certificate)

    def test_order(self) -> None:
        self.assertEqual(self.name(EMAIL, DNS, URI), "spiffe://example.com/runner")
        self.assertEqual(self.name(EMAIL, DNS), "runner.example.com")
        self.assertEqual(self.name(EMAIL), "runner@example.com")
        self.assertEqual(self.name(), "runner-7")

    def test_first_name_of_a_kind(self) -> None:
        self.assertEqual(self.name(x509.DNSName("b.example"), x509.DNSName("a.example")), "b.example")

    def test_other_kinds_of_names(self) -> None:
        self.assertEqual(self.name(x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))), "runner-7")

    def test_unusable_names(self) -> None:
        self.assertIsNone(self.name(x509.UniformResourceIdentifier("urn:" + "x" * 300), DNS))
        self.assertIsNone(self.name(subject="a\nb"))

    def test_no_name(self) -> None:
        issued = TestCA().issue(usage=CLIENT, extensions=())
        broken = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x82\x05a")
        self.assertIsNone(name_of(TestCA().issue(usage=CLIENT, extensions=((broken, False),)).certificate))
        self.assertEqual(name_of(issued.certificate), "a test")
