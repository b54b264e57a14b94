"""Tests for L{egress.tls.intermediate}."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.tls.intermediate import INTERMEDIATE_LIFETIME, IntermediateIssuer, new_key_pem, request_pem
from egress.tls.issuer import BACKDATED, CaError, CertificateAuthority, read_certificates
from egress.tls.name_constraints import constraints_of, name_constraints
from tests.certificates import TestCA, common_name, key_pem_of, new_key

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
DAY = timedelta(days=1)


def issuer_of(root: CertificateAuthority) -> IntermediateIssuer:
    """Return the issuer of a root."""
    secret = root.secret_pem()
    return IntermediateIssuer(read_certificates(secret), secret)


def root_of(limits: x509.NameConstraints | None = None, lifetime: timedelta = 1000 * DAY) -> CertificateAuthority:
    """Make a root."""
    return CertificateAuthority.create("root test", NOW, lifetime, limits, path_length=1)


def request_of(key: Any, name: x509.Name) -> bytes:
    """Make a request."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM)


class SignTests(SynchronousTestCase):
    """A root signs the CA of a replica."""

    def setUp(self) -> None:
        self.key = new_key_pem()
        self.root = root_of()

    def sign(self, root: CertificateAuthority | None = None, **settings: Any) -> x509.Certificate:
        return issuer_of(root or self.root).sign(request_pem(self.key, "one"), NOW, **settings)

    def test_replica(self) -> None:
        """The proxy can use it; it signs leaf certificates and nothing else."""
        found = self.sign()
        ca = CertificateAuthority.from_key(self.key, found, NOW, [self.root.certificate])
        self.assertEqual((ca.root, ca.chain), (self.root.certificate, (found,)))
        leaf = ca.issue(Authority("a.example", 443), NOW)
        self.assertEqual(leaf.chain, (found,))
        extensions = found.extensions
        basic = extensions.get_extension_for_class(x509.BasicConstraints)
        self.assertEqual((basic.critical, basic.value), (True, x509.BasicConstraints(ca=True, path_length=0)))
        usage = extensions.get_extension_for_class(x509.KeyUsage)
        self.assertTrue(usage.critical and usage.value.key_cert_sign and not usage.value.key_encipherment)
        servers = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(list(servers), [ExtendedKeyUsageOID.SERVER_AUTH])
        issued = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        own = self.root.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        self.assertEqual(issued, own)
        self.assertEqual(found.subject, common_name("egressproxy CA one"))
        self.assertIsNone(constraints_of(found))

    def test_validity(self) -> None:
        """It never outlasts the root, and never begins before it."""
        found = self.sign()
        self.assertEqual(found.not_valid_before_utc, NOW - BACKDATED)
        self.assertEqual(found.not_valid_after_utc, NOW + INTERMEDIATE_LIFETIME)
        self.assertEqual(self.sign(lifetime=2 * DAY).not_valid_after_utc, NOW + 2 * DAY)
        short = root_of(lifetime=DAY)
        self.assertEqual(self.sign(short).not_valid_after_utc, short.not_after)
        late = TestCA("Root", now=NOW + DAY)
        found = IntermediateIssuer([late.certificate], key_pem_of(late.key)).sign(request_pem(self.key, "x"), NOW)
        self.assertEqual(found.not_valid_before_utc, late.certificate.not_valid_before_utc)

    def test_warning(self) -> None:
        """The proxy warns in the last tenth of its lifetime."""
        ca = CertificateAuthority.from_key(self.key, self.sign(), NOW, [self.root.certificate])
        self.assertEqual(ca.not_after, NOW + INTERMEDIATE_LIFETIME)
        self.assertEqual([ca.ends_soon(NOW + days * DAY) for days in (80, 82)], [False, True])

    def test_constraints(self) -> None:
        """The limits of the root are repeated, because some clients enforce only those of an intermediate CA."""
        limits, fewer = name_constraints(["example.com"]), name_constraints(["a.example.com"])
        self.assertEqual(constraints_of(self.sign(root_of(limits))), limits)
        self.assertEqual(constraints_of(self.sign(root_of(limits), limits=fewer)), fewer)
        self.assertEqual(constraints_of(self.sign(limits=fewer)), fewer)

    def test_longer_chain(self) -> None:
        """A CA below the root can sign."""
        root = TestCA("Root", now=NOW)
        middle = TestCA("Middle", root)
        chain = [middle.certificate, root.certificate]
        found = IntermediateIssuer(chain, key_pem_of(middle.key)).sign(request_pem(self.key, "one"), NOW)
        CertificateAuthority.from_key(self.key, found, NOW, chain)

    def test_kinds_of_keys(self) -> None:
        """Keys that operators have."""
        for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
            content = key_pem_of(key)
            found = issuer_of(self.root).sign(request_pem(content, "one"), NOW)
            CertificateAuthority.from_key(content, found, NOW, [self.root.certificate])


class RejectedTests(SynchronousTestCase):
    """A request that is not valid, or a root that cannot sign."""

    def setUp(self) -> None:
        self.root = root_of()

    def refused(self, request: bytes, words: str, root: IntermediateIssuer | None = None) -> None:
        error = self.assertRaises(CaError, (root or issuer_of(self.root)).sign, request, NOW)
        self.assertIn(words, error.reason)

    def test_requests(self) -> None:
        self.refused(b"garbage", "contains no certificate signing request")
        self.refused(request_of(new_key(), x509.Name([])), "has no name")
        self.refused(request_of(new_key(), self.root.certificate.subject), "name of a CA above it")
        for key in (
            rsa.generate_private_key(65537, 1024),
            ec.generate_private_key(ec.SECP256K1()),
            ed25519.Ed25519PrivateKey.generate(),
        ):
            self.refused(request_of(key, common_name("one")), "its key is neither")

    def test_signature(self) -> None:
        """The sender has to have the key."""
        mine = x509.load_pem_x509_csr(request_pem(new_key_pem(), "one")).public_bytes(Encoding.DER)
        broken = mine[:-1] + bytes([mine[-1] ^ 1])
        pem = x509.load_der_x509_csr(broken).public_bytes(Encoding.PEM)
        self.refused(pem, "its signature is not valid")

    def test_roots(self) -> None:
        request = request_pem(new_key_pem(), "one")
        leaves_only = CertificateAuthority.create("leaves", NOW)
        self.refused(request, "permits 0 CAs below it, but there are 1", issuer_of(leaves_only))
        for ca, words in (
            (TestCA("Root", now=NOW, expired=True), "expired on"),
            (TestCA("Root", now=NOW, ca=False), "is not a CA certificate"),
        ):
            self.refused(request, words, IntermediateIssuer([ca.certificate], key_pem_of(ca.key)))
        self.assertRaises(CaError, IntermediateIssuer, [self.root.certificate], new_key_pem())

    def test_malformed_root(self) -> None:
        """Its extensions cannot be read."""
        key = new_key()
        oid = x509.NameConstraints.oid
        builder = (
            x509.CertificateBuilder()
            .subject_name(common_name("Root"))
            .issuer_name(common_name("Root"))
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(NOW - DAY)
            .not_valid_after(NOW + DAY)
            .add_extension(x509.UnrecognizedExtension(oid, b"garbage"), critical=True)
        )
        root = IntermediateIssuer([builder.sign(key, hashes.SHA256())], key_pem_of(key))
        self.refused(request_pem(new_key_pem(), "one"), "is malformed", root)

    def test_key(self) -> None:
        key = ed25519.Ed25519PrivateKey.generate()
        content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.assertRaises(CaError, request_pem, content, "one")
