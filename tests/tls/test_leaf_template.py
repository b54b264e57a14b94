"""Tests for L{egress.tls.leaf_template}; those of L{egress.tls.issuer} cover the contents of a certificate."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.tls.leaf_template import CaKey, LeafTemplate, encode, encode_time, key_usage
from tests.certificates import new_key

ISSUER = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ünïcode & Co"),
        x509.NameAttribute(NameOID.COMMON_NAME, "Corp CA"),
    ]
)
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
DAY = timedelta(days=1)
LATE = datetime(2049, 12, 31, 23, 59, 59, tzinfo=timezone.utc)
HOST = Authority("api.example.com", 443)
LONGEST = Authority(".".join(["a" * 63] * 3 + ["b" * 61]), 443)
SMALL = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEY = new_key()


class LeafTemplateTests(SynchronousTestCase):
    """Every byte is the same as from the builder of cryptography, whose signatures differ."""

    def check(
        self,
        authority: Authority = HOST,
        named: bool = True,
        serial: int = 1,
        begin: datetime = NOW,
        *,
        end: datetime = NOW + 3 * DAY,
        signing_key: CaKey = KEY,
        key: CaKey = KEY,
    ) -> None:
        """Create a certificate both ways."""
        issuer_key = x509.SubjectKeyIdentifier.from_public_key(signing_key.public_key())
        template = LeafTemplate(ISSUER, issuer_key, signing_key, key)
        found = x509.load_der_x509_certificate(template.sign(authority, named, serial, begin, end))
        names = [x509.NameAttribute(NameOID.COMMON_NAME, authority.host)] if named else []
        address = authority.ip
        name = x509.DNSName(authority.host) if address is None else x509.IPAddress(address)
        expected = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(names))
            .issuer_name(ISSUER)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key), critical=False)
            .add_extension(x509.SubjectAlternativeName([name]), critical=not named)
            .sign(signing_key, hashes.SHA256())
        )
        self.assertEqual(found.tbs_certificate_bytes, expected.tbs_certificate_bytes)
        self.assertEqual(found.signature_algorithm_oid, expected.signature_algorithm_oid)
        self.assertEqual(
            found.signature_algorithm_parameters.__class__, expected.signature_algorithm_parameters.__class__
        )
        issuer = x509.CertificateBuilder().subject_name(ISSUER).issuer_name(ISSUER).public_key(signing_key.public_key())
        issuer = issuer.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + DAY)
        found.verify_directly_issued_by(issuer.sign(signing_key, hashes.SHA256()))

    def test_hosts(self) -> None:
        for host in ("a", "api.example.com", "xn--bcher-kva.example", "192.0.2.1", "2001:db8::1", LONGEST.host):
            for named in (True, False) if len(host) <= 64 else (False,):
                with self.subTest(host, named=named):
                    self.check(Authority(host, 8443), named)

    def test_keys(self) -> None:
        keys = (new_key(), ec.generate_private_key(ec.SECP384R1()), SMALL)
        for signing_key in keys:
            for key in keys:
                with self.subTest(signing_key=signing_key, key=key):
                    self.check(signing_key=signing_key, key=key)

    def test_times(self) -> None:
        ahead = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
        for begin, end in ((ahead, ahead + DAY), (LATE, LATE + timedelta(seconds=1)), (NOW, NOW.replace(year=9999))):
            with self.subTest(begin=begin, end=end):
                self.check(begin=begin, end=end)

    @given(st.integers(1, 2**159 - 1))
    def test_serial_numbers(self, serial: int) -> None:
        self.check(serial=serial)


class EncodeTests(SynchronousTestCase):
    """Single values."""

    def test_lengths(self) -> None:
        for size, length in (
            (0, "00"),
            (127, "7f"),
            (128, "8180"),
            (255, "81ff"),
            (256, "820100"),
            (65535, "82ffff"),
            (65536, "83010000"),
        ):
            with self.subTest(size):
                self.assertEqual(encode(4, b"x" * size), bytes.fromhex(f"04{length}") + b"x" * size)

    def test_times(self) -> None:
        half = timedelta(microseconds=500_000)
        self.assertEqual(encode_time(LATE + half), b"\x17\x0d491231235959Z")
        self.assertEqual(encode_time(LATE + timedelta(seconds=1)), b"\x18\x0f20500101000000Z")
