"""Tests for L{egress.tls.truststore}."""

from __future__ import annotations

import hashlib
import struct
from datetime import datetime, timezone

from cryptography import x509
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12
from twisted.trial.unittest import SynchronousTestCase

from egress.tls import truststore
from egress.tls.issuer import CaError, read_certificates
from egress.tls.truststore import Form, alias_of, write_certificates
from tests.certificates import TestCA

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
PASSWORD = "changeit"
PAIR = [TestCA("A").certificate, TestCA("B").certificate]

# The attribute with which Java marks a trusted certificate, 2.16.840.1.113894.746875.1.1, in DER.
TRUSTED_KEY_USAGE = bytes.fromhex("060c6086480186f966adca7b0101")


class Reader:
    """Reads the output of C{java.io.DataOutputStream}."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0

    def take(self, size: int) -> bytes:
        self.place += size
        return self.content[self.place - size : self.place]

    def number(self, form: str) -> int:
        (number,) = struct.unpack(f">{form}", self.take(struct.calcsize(form)))
        assert isinstance(number, int)
        return number

    def text(self) -> str:
        return self.take(self.number("H")).decode("utf-8")


class FormatTests(SynchronousTestCase):
    """The output formats."""

    def write(self, form: Form, certificates: list[x509.Certificate] = PAIR, password: str = PASSWORD) -> bytes:
        return write_certificates(certificates, form, password, NOW)

    def refused(self, form: Form, *words: str, password: str = PASSWORD) -> None:
        error = self.assertRaises(CaError, self.write, form, PAIR, password)
        for word in words:
            self.assertIn(word, error.reason)

    def test_pem(self) -> None:
        self.assertEqual(read_certificates(self.write(Form.PEM)), PAIR)

    def test_der(self) -> None:
        """It contains one certificate; the format is rejected if there are several certificates to trust."""
        self.assertEqual(x509.load_der_x509_certificate(self.write(Form.DER, PAIR[:1])), PAIR[0])
        self.refused(Form.DER, "there are 2 to trust")

    def test_jks(self) -> None:
        """The bytes follow the format, and the digest is that of the password."""
        content = self.write(Form.JKS)
        reader = Reader(content)
        self.assertEqual([reader.number("I"), reader.number("i"), reader.number("i")], [0xFEEDFEED, 2, 2])
        for certificate in PAIR:
            self.assertEqual(reader.number("i"), 2)
            self.assertEqual(reader.text(), alias_of(certificate))
            self.assertEqual(reader.number("q"), int(NOW.timestamp()) * 1000)
            self.assertEqual(reader.text(), "X.509")
            self.assertEqual(x509.load_der_x509_certificate(reader.take(reader.number("i"))), certificate)
        salted = "".join(f"\0{letter}" for letter in PASSWORD).encode() + b"Mighty Aphrodite"
        self.assertEqual(reader.take(100), hashlib.sha1(salted + content[:-20]).digest())

    def test_pkcs12(self) -> None:
        """Java trusts each certificate; the error for an old library names it."""
        if not hasattr(pkcs12, "serialize_java_truststore"):
            self.refused(Form.PKCS12, "cryptography 45", "jks")
            return
        content = self.write(Form.PKCS12)
        found = pkcs12.load_pkcs12(content, PASSWORD.encode()).additional_certs
        self.assertEqual([each.certificate for each in found], PAIR)
        self.assertEqual([each.friendly_name for each in found], [alias_of(each).encode() for each in PAIR])
        self.assertNotIn(TRUSTED_KEY_USAGE, content)
        self.patch(truststore, "BestAvailableEncryption", lambda _: NoEncryption())
        self.assertEqual(self.write(Form.PKCS12).count(TRUSTED_KEY_USAGE), 2)
        self.patch(pkcs12, "serialize_java_truststore", None)
        self.refused(Form.PKCS12, "cryptography 45", "jks")

    def test_short_password(self) -> None:
        for form in (Form.JKS, Form.PKCS12):
            self.refused(form, "six characters", password="abcde")

    def test_aliases(self) -> None:
        """They are unique and stable; Java writes them in lower case."""
        aliases = [alias_of(certificate) for certificate in PAIR]
        self.assertEqual(len(set(aliases)), 2)
        self.assertEqual(aliases, [alias_of(certificate).lower() for certificate in PAIR])
