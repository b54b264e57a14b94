"""Tests for L{egress.tls.issuer}."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import crypto
from service_identity import VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.tls.issuer import (
    BACKDATED,
    CA_LIFETIME,
    LEAF_LIFETIME,
    CaError,
    CertificateAuthority,
    pin_of,
    read_certificate,
    read_certificates,
    time_left,
)
from egress.tls.name_constraints import name_constraints
from tests.certificates import TestCA, common_name, key_pem_of, new_key, pem_of

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
HOST = Authority("api.example.com", 443)

Kind = TypeVar("Kind", bound=x509.ExtensionType)

BASIC = x509.BasicConstraints(ca=True, path_length=None)


def build(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    *extensions: x509.ExtensionType,
    begin: datetime = NOW - timedelta(days=1),
    end: datetime = NOW + timedelta(days=30),
    signed: TestCA | None = None,
) -> x509.Certificate:
    """Create a certificate, which is self-signed by default."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(common_name("Corp CA"))
        .issuer_name(signed.certificate.subject if signed else common_name("Corp CA"))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signed.key if signed else key, hashes.SHA256())


class CountedKey:
    """A leaf key that counts how often it is encoded."""

    def __init__(self) -> None:
        self.key = new_key()
        self.used = 0

    def public_key(self) -> ec.EllipticCurvePublicKey:
        self.used += 1
        return self.key.public_key()


class NewAuthorityTests(SynchronousTestCase):
    """A newly created CA."""

    def setUp(self) -> None:
        self.authority = CertificateAuthority.create("0a1b2c3d build-7", NOW)
        self.certificate = self.authority.certificate

    def extension(self, kind: type[Kind]) -> x509.Extension[Kind]:
        return self.certificate.extensions.get_extension_for_class(kind)

    def test_signs_leaves_only(self) -> None:
        """It may sign certificates, but no further CAs."""
        basic = self.extension(x509.BasicConstraints)
        self.assertEqual((basic.value, basic.critical), (x509.BasicConstraints(ca=True, path_length=0), True))
        usage = self.extension(x509.KeyUsage)
        self.assertTrue(usage.critical)
        self.assertTrue(usage.value.key_cert_sign)
        self.assertTrue(usage.value.crl_sign)
        self.assertFalse(usage.value.digital_signature)

    def test_key(self) -> None:
        """Its key is ECDSA P-256, with a subject key identifier."""
        key = self.certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        self.assertIsInstance(key.curve, ec.SECP256R1)
        self.assertEqual(
            self.extension(x509.SubjectKeyIdentifier).value, x509.SubjectKeyIdentifier.from_public_key(key)
        )

    def test_validity(self) -> None:
        """Its validity starts in the past, for slow clocks, and is long."""
        self.assertEqual(self.certificate.not_valid_before_utc, NOW - BACKDATED)
        self.assertEqual(self.authority.not_after, NOW + CA_LIFETIME)

    def test_name(self) -> None:
        """The label distinguishes it from other CAs; a long label is truncated to the limit of a common name."""
        self.assertEqual(self.certificate.subject, common_name("egressproxy CA 0a1b2c3d build-7"))
        self.assertEqual(self.certificate.issuer, self.certificate.subject)
        long = CertificateAuthority.create("x" * 100, NOW).certificate.subject
        (name,) = long.get_attributes_for_oid(NameOID.COMMON_NAME)
        self.assertEqual(name.value, ("egressproxy CA " + "x" * 100)[:64])

    def test_serials_differ(self) -> None:
        """Serial numbers are random."""
        other = CertificateAuthority.create("0a1b2c3d build-7", NOW).certificate
        self.assertNotEqual(self.certificate.serial_number, other.serial_number)

    def test_fingerprint(self) -> None:
        """The fingerprint is the SHA-256 of the DER form, in pairs of upper-case digits."""
        digest = self.certificate.fingerprint(hashes.SHA256())
        self.assertEqual(self.authority.fingerprint, ":".join(f"{byte:02X}" for byte in digest))
        self.assertEqual(len(self.authority.fingerprint), 95)

    def test_leaf_key_hash(self) -> None:
        """It is that of the key in the leaf certificates."""
        key = self.authority.issue(HOST, NOW).certificate.public_key()
        text = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.assertEqual(base64.b64decode(self.authority.leaf_key_hash), hashlib.sha256(text).digest())

    def test_round_trip(self) -> None:
        """L{CertificateAuthority.secret_pem} contains the same CA, which then uses another leaf key."""
        again = CertificateAuthority.from_pem(self.authority.secret_pem(), None, NOW)
        self.assertEqual(again.certificate, self.certificate)
        first, second = self.authority.issue(HOST, NOW), again.issue(HOST, NOW)
        self.assertEqual(second.certificate.issuer, self.certificate.subject)
        second.certificate.verify_directly_issued_by(self.certificate)
        self.assertNotEqual(first.key.public_key(), second.key.public_key())

    def test_published(self) -> None:
        """The certificate for clients contains no key."""
        self.assertEqual(read_certificate(self.authority.certificate_pem), self.certificate)
        self.assertNotIn(b"PRIVATE", self.authority.certificate_pem)


class OperatorCaTests(SynchronousTestCase):
    """A CA that an operator provides."""

    def test_separate_texts(self) -> None:
        """Key and certificate may be separate texts."""
        key = new_key()
        certificate = build(key, BASIC)
        authority = CertificateAuthority.from_pem(key_pem_of(key), pem_of(certificate), NOW)
        self.assertEqual(authority.certificate, certificate)
        authority.issue(HOST, NOW).certificate.verify_directly_issued_by(certificate)

    def test_certificate_after_the_key_takes_precedence(self) -> None:
        """The certificate after the key is used instead of the separate one."""
        key = new_key()
        certificate = build(key, BASIC)
        secret = key_pem_of(key) + pem_of(certificate)
        self.assertEqual(CertificateAuthority.from_pem(secret, b"garbage", NOW).certificate, certificate)

    def test_rsa(self) -> None:
        """An RSA CA signs as well."""
        key = rsa.generate_private_key(65537, 2048)
        certificate = build(key, BASIC)
        leaf = CertificateAuthority.from_pem(key_pem_of(key), pem_of(certificate), NOW).issue(HOST, NOW)
        leaf.certificate.verify_directly_issued_by(certificate)
        self.assertIsInstance(leaf.key, ec.EllipticCurvePrivateKey)

    def test_own_identifier(self) -> None:
        """Leaves use the CA's own key identifier, regardless of how it was computed."""
        key = new_key()
        certificate = build(key, BASIC, x509.SubjectKeyIdentifier(b"named by somebody"))
        leaf = CertificateAuthority(certificate, key, NOW).issue(HOST, NOW).certificate
        identifier = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        self.assertEqual(identifier.key_identifier, b"named by somebody")

    def test_no_identifier(self) -> None:
        """A CA without an identifier gets the usual one."""
        key = new_key()
        leaf = CertificateAuthority(build(key, BASIC), key, NOW).issue(HOST, NOW).certificate
        identifier = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        self.assertEqual(identifier.key_identifier, x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest)

    def test_chain(self) -> None:
        """The certificate of an intermediate CA is sent with its leaves, that of a root is not."""
        root = TestCA("Root", now=NOW)
        middle = TestCA("Middle", root)
        leaf = CertificateAuthority(middle.certificate, middle.key, NOW).issue(HOST, NOW)
        self.assertEqual(leaf.chain, (middle.certificate,))
        self.assertEqual(CertificateAuthority(root.certificate, root.key, NOW).issue(HOST, NOW).chain, ())

    def test_whole_chain(self) -> None:
        """The chain is sent without the root; the earliest expiry of the chain limits the CA."""
        root = TestCA("Root", now=NOW)
        upper = TestCA("Upper", root, path_length=1)
        key = new_key()
        lower = TestCA("Lower", upper, path_length=0)
        above = (upper.certificate, root.certificate)
        authority = CertificateAuthority.from_key(key_pem_of(lower.key), lower.certificate, NOW, above)
        self.assertEqual(authority.issue(HOST, NOW).chain, (lower.certificate, upper.certificate))
        self.assertTrue(authority.rooted)
        self.assertFalse(CertificateAuthority(lower.certificate, lower.key, NOW, above[:1]).rooted)
        end = NOW + timedelta(days=2)
        short = build(key, BASIC, end=end, signed=TestCA("Corp CA", now=NOW))
        longer = TestCA("Corp CA", now=NOW)
        again = build(key, BASIC, end=NOW + timedelta(days=90), signed=longer)
        self.assertGreater(again.not_valid_after_utc, longer.certificate.not_valid_after_utc)
        self.assertEqual(
            CertificateAuthority(again, key, NOW, [longer.certificate]).not_after,
            longer.certificate.not_valid_after_utc,
        )
        self.assertEqual(CertificateAuthority(short, key, NOW).not_after, end)

    def test_ends_soon(self) -> None:
        """In the last 90 days of a long lifetime, and in the last tenth of a shorter one."""
        for days, soon in ((3650, 90), (900, 90), (50, 5), (1, 0.1)):
            key = new_key()
            end = NOW + timedelta(days=days)
            authority = CertificateAuthority(build(key, BASIC, begin=NOW, end=end), key, NOW)
            self.assertFalse(authority.ends_soon(end - timedelta(days=soon)), days)
            self.assertTrue(authority.ends_soon(end - timedelta(days=soon) + timedelta(seconds=1)), days)
            self.assertTrue(authority.ends_soon(end + timedelta(days=1)), days)


class RefusedAuthorityTests(SynchronousTestCase):
    """CAs that cannot be used: each is rejected with the reason."""

    def refused(self, reason: str, secret: bytes, certificate: bytes | None = None) -> None:
        error = self.assertRaises(CaError, CertificateAuthority.from_pem, secret, certificate, NOW)
        self.assertIn(reason, error.reason)
        self.assertEqual(str(error), error.reason)

    def pair_refused(self, reason: str, *extensions: x509.ExtensionType, **dates: Any) -> None:
        key = new_key()
        self.refused(reason, key_pem_of(key), pem_of(build(key, *extensions, **dates)))

    def test_wrong_key(self) -> None:
        """The key of another certificate."""
        self.refused("does not belong", key_pem_of(new_key()), pem_of(build(new_key(), BASIC)))

    def test_weak_rsa(self) -> None:
        """An RSA key that clients reject."""
        key = rsa.generate_private_key(65537, 1024)
        self.refused("1024 bits", key_pem_of(key), pem_of(build(key, BASIC)))

    def test_other_key(self) -> None:
        """A kind of key for which browsers accept no certificate."""
        secret = ed25519.Ed25519PrivateKey.generate()
        self.refused("neither an ECDSA nor an RSA", key_pem_of(secret), pem_of(build(new_key(), BASIC)))  # type: ignore[arg-type]

    def test_encrypted_key(self) -> None:
        """A key with a passphrase."""
        secret = new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
        self.refused("encrypted", secret)

    def test_no_key(self) -> None:
        """Text that is not PEM, PEM without a key, and empty text."""
        for secret in (b"garbage", pem_of(build(new_key(), BASIC)), b""):
            self.refused("key cannot be read", secret)

    def test_no_certificate(self) -> None:
        """A key without a certificate, and with an invalid one."""
        for certificate in (None, b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
            self.refused("certificate cannot be read", key_pem_of(new_key()), certificate)

    def test_not_a_ca(self) -> None:
        """The certificate of a server, in each form that identifies it as such."""
        self.pair_refused("not a CA certificate")
        self.pair_refused("not a CA certificate", x509.BasicConstraints(ca=False, path_length=None))
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        self.pair_refused("not a CA certificate", BASIC, usage)

    def test_other_extended_usage(self) -> None:
        """A CA for another purpose, which clients reject for servers; a CA for all purposes is accepted."""
        client, server = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
        self.pair_refused("not permitted for TLS servers", BASIC, x509.ExtendedKeyUsage([client]))
        for usages in ([client, server], [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]):
            key = new_key()
            CertificateAuthority(build(key, BASIC, x509.ExtendedKeyUsage(usages)), key, NOW)

    def test_expired(self) -> None:
        """A certificate that has expired, with a precision of one second."""
        self.pair_refused("expired on 2026-03-01", BASIC, end=NOW)

    def test_not_yet_valid(self) -> None:
        """A certificate that is valid later; its first second is accepted."""
        begin = NOW + timedelta(seconds=1)
        self.pair_refused("valid only from 2026-03-01 12:00 UTC", BASIC, begin=begin)
        key = new_key()
        CertificateAuthority(build(key, BASIC, begin=NOW), key, NOW)

    def chain_refused(self, reason: str, *chain: TestCA) -> None:
        authority, *above = chain
        secret, certificates = key_pem_of(authority.key), [each.certificate for each in above]
        error = self.assertRaises(
            CaError, CertificateAuthority.from_key, secret, authority.certificate, NOW, certificates
        )
        self.assertIn(reason, error.reason)

    def test_chain(self) -> None:
        """Each certificate of the chain must be able to sign, and have signed the one before it."""
        root = TestCA("Root", now=NOW)
        middle = TestCA("Middle", root)
        self.chain_refused("'CN=Root' in its chain is not the issuer", TestCA("Lower", middle), root)
        self.chain_refused("'CN=Middle' in its chain is not the issuer", root, middle)
        # With the same name, and another key.
        self.chain_refused("is not the issuer of the one before it", middle, TestCA("Root", now=NOW))
        old = TestCA("Old", root, expired=True)
        self.chain_refused("'CN=Old' in its chain expired on", TestCA("Lower", old), old, root)
        server = TestCA("Server", root, ca=False)
        self.chain_refused("'CN=Server' in its chain is not a CA certificate", TestCA("Lower", server), server, root)
        flat = TestCA("Flat", root, path_length=0)
        self.chain_refused("'CN=Flat' in its chain permits 0 CAs below it, but there are 1", TestCA("L", flat), flat)

    def test_malformed(self) -> None:
        """Extensions that cannot be parsed."""
        broken = x509.UnrecognizedExtension(x509.BasicConstraints.oid, b"no DER")
        self.pair_refused("malformed", broken)


class ConstraintsTests(SynchronousTestCase):
    """A CA with name constraints."""

    def setUp(self) -> None:
        self.now = datetime.now(timezone.utc)
        limits = name_constraints(["example.com", ip_network("10.0.0.0/8")])
        self.authority = CertificateAuthority.create("test", self.now, limits=limits)

    def verify(self, host: str) -> None:
        """Verify a leaf with OpenSSL."""
        store = crypto.X509Store()
        store.add_cert(crypto.X509.from_cryptography(self.authority.certificate))
        leaf = self.authority.issue(Authority.parse(host, 443), self.now).certificate
        crypto.X509StoreContext(store, crypto.X509.from_cryptography(leaf)).verify_certificate()

    def test_limits(self) -> None:
        """They are a critical extension of its certificate, and available as text."""
        limits = self.authority.certificate.extensions.get_extension_for_class(x509.NameConstraints)
        self.assertTrue(limits.critical)
        self.assertEqual(self.authority.limits, "example.com, 10.0.0.0/8")
        self.assertIsNone(CertificateAuthority.create("test", NOW).limits)

    def test_permitted_hosts(self) -> None:
        """OpenSSL accepts its leaves: only the alternative name contains the host."""
        for host in ("example.com", "a.b.example.com", "10.1.2.3", "x" * 60 + ".example.com"):
            self.assertTrue(self.authority.may_sign_for(Authority(host, 443)))
            self.verify(host)
        leaf = self.authority.issue(Authority("example.com", 443), self.now).certificate
        self.assertEqual(leaf.subject, x509.Name([]))
        self.assertTrue(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical)

    def test_other_hosts(self) -> None:
        """It signs for no other host, and OpenSSL would reject such a leaf."""
        others = ("example.org", "notexample.com", "192.0.2.1", "[2001:db8::1]")
        for host in others:
            authority = Authority.parse(host, 443)
            self.assertFalse(self.authority.may_sign_for(authority))
            error = self.assertRaises(CaError, self.authority.issue, authority, self.now)
            self.assertEqual(error.reason, "the CA may sign only for example.com, 10.0.0.0/8")
        self.patch(CertificateAuthority, "may_sign_for", lambda *_: True)
        for host in others:
            self.assertRaises(crypto.X509StoreContextError, self.verify, host)

    def test_constraints_of_the_chain(self) -> None:
        """The constraints of the chain apply to the CA."""
        key, root_key = new_key(), new_key()
        root = build(root_key, BASIC, name_constraints(["example.com"]), end=NOW + timedelta(days=90))
        signer = TestCA("Corp CA", now=NOW)
        signer.key, signer.certificate = root_key, root
        lower = build(key, BASIC, name_constraints(["a.example.com", "example.org"]), signed=signer)
        authority = CertificateAuthority(lower, key, NOW, [root])
        self.assertEqual(authority.limits, "a.example.com, example.org; example.com")
        for host, may in (("x.a.example.com", True), ("b.example.com", False), ("example.org", False)):
            self.assertEqual(authority.may_sign_for(Authority(host, 443)), may, host)


class WordsTests(SynchronousTestCase):
    """Descriptions of certificates."""

    def test_pin(self) -> None:
        """The pin is that of the key, regardless of the certificate."""
        key = new_key()
        first, second = build(key, BASIC), build(key)
        self.assertEqual(pin_of(first), pin_of(second))
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.assertEqual(base64.b64decode(pin_of(first)), hashlib.sha256(spki).digest())

    def test_time_left(self) -> None:
        """The time is given in days, or as expired."""
        end = NOW + timedelta(days=2, hours=1)
        self.assertEqual(time_left(end, NOW), "2026-03-03, in 2 days")
        self.assertEqual(time_left(end, NOW + timedelta(days=1)), "2026-03-03, in 1 day")
        self.assertEqual(time_left(end, NOW + timedelta(days=2)), "2026-03-03, in 0 days")
        self.assertEqual(time_left(end, end), "2026-03-03, expired")

    def test_several_certificates(self) -> None:
        """All certificates of a text are read, in order."""
        pair = [build(new_key(), BASIC), build(new_key())]
        self.assertEqual(read_certificates(pem_of(pair[0]) + b"\n" + pem_of(pair[1])), pair)
        self.assertEqual(read_certificate(pem_of(pair[1]) + pem_of(pair[0])), pair[1])


class LeafTests(SynchronousTestCase):
    """Leaf certificates."""

    def setUp(self) -> None:
        self.authority = CertificateAuthority.create("test", NOW)

    def issue(self, host: str, now: datetime = NOW) -> x509.Certificate:
        return self.authority.issue(Authority.parse(host, 443), now).certificate

    def names(self, certificate: x509.Certificate) -> x509.Extension[x509.SubjectAlternativeName]:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)

    def test_name(self) -> None:
        """The host name is an alternative name and the common name."""
        certificate = self.issue("API.example.com.")
        names = self.names(certificate)
        self.assertEqual(list(names.value), [x509.DNSName("api.example.com")])
        self.assertFalse(names.critical)
        self.assertEqual(certificate.subject, common_name("api.example.com"))
        verify_certificate_hostname(certificate, "api.example.com")
        self.assertRaises(VerificationError, verify_certificate_hostname, certificate, "example.com")

    def test_internationalized(self) -> None:
        """An internationalized name is valid in both spellings."""
        certificate = self.issue("bücher.example")
        self.assertEqual(list(self.names(certificate).value), [x509.DNSName("xn--bcher-kva.example")])
        verify_certificate_hostname(certificate, "xn--bcher-kva.example")
        verify_certificate_hostname(certificate, "bücher.example")

    def test_unusual_names(self) -> None:
        """Names that are not valid host names, but are used in practice."""
        for host in ("localhost", "my_service.internal", "1password.com", "a-b.c"):
            verify_certificate_hostname(self.issue(host), host)

    def test_addresses(self) -> None:
        """Addresses of both families, in any notation."""
        for text, address in (
            ("192.0.2.7", "192.0.2.7"),
            ("0x7f.1", "127.0.0.1"),
            ("[2001:DB8::0:1]", "2001:db8::1"),
            ("[::ffff:192.0.2.7]", "192.0.2.7"),
        ):
            certificate = self.issue(text)
            self.assertEqual(list(self.names(certificate).value), [x509.IPAddress(ip_address(address))])
            verify_certificate_ip_address(certificate, address)
            self.assertRaises(VerificationError, verify_certificate_ip_address, certificate, "192.0.2.8")

    def test_long_name(self) -> None:
        """A name of 64 characters is also the common name; for a longer name the alternative name is critical."""
        fits = "a" * 52 + ".example.com"
        self.assertEqual(self.issue(fits).subject, common_name(fits))
        longer = "a" + fits
        certificate = self.issue(longer)
        self.assertEqual(certificate.subject, x509.Name([]))
        self.assertTrue(self.names(certificate).critical)
        verify_certificate_hostname(certificate, longer)

    def test_usage(self) -> None:
        """The certificate is only for TLS servers."""
        extensions = self.issue("a.example").extensions
        basic = extensions.get_extension_for_class(x509.BasicConstraints)
        self.assertEqual((basic.value.ca, basic.critical), (False, True))
        usage = extensions.get_extension_for_class(x509.KeyUsage)
        self.assertTrue(usage.critical)
        self.assertEqual(usage.value, x509.KeyUsage(True, False, False, False, False, False, False, False, False))
        extended = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(list(extended), [ExtendedKeyUsageOID.SERVER_AUTH])

    def test_identifiers(self) -> None:
        """Its key identifiers refer to its own key and to the CA's."""
        leaf = self.authority.issue(HOST, NOW)
        extensions = leaf.certificate.extensions
        self.assertEqual(
            extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier,
            x509.SubjectKeyIdentifier.from_public_key(self.authority.certificate.public_key()).digest,
        )
        self.assertEqual(
            extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value,
            x509.SubjectKeyIdentifier.from_public_key(leaf.key.public_key()),
        )

    def test_key(self) -> None:
        """All leaves share one key, which is not the CA's, and which C{repr} does not display."""
        first, second = self.authority.issue(HOST, NOW), self.authority.issue(Authority("b.example", 443), NOW)
        self.assertIs(first.key, second.key)
        assert isinstance(first.key, ec.EllipticCurvePrivateKey)
        self.assertIsInstance(first.key.curve, ec.SECP256R1)
        self.assertEqual(first.certificate.public_key(), first.key.public_key())
        self.assertNotEqual(first.certificate.public_key(), self.authority.certificate.public_key())
        self.assertNotIn("key=", repr(first))

    def test_another_key(self) -> None:
        """The fields that the certificates of another key share are encoded once, for a limited number of keys."""
        keys: list[Any] = [CountedKey() for _ in range(10)]
        first, second = self.authority.issue(HOST, NOW, keys[0]), self.authority.issue(HOST, NOW, keys[0])
        for leaf in (first, second):
            self.assertIs(leaf.key, keys[0])
            self.assertEqual(leaf.certificate.public_key(), keys[0].key.public_key())
        self.assertEqual(keys[0].used, 1)
        for key in keys:
            self.authority.issue(HOST, NOW, key)
        leaf = self.authority.issue(HOST, NOW, keys[0])
        self.assertEqual(leaf.certificate.public_key(), keys[0].key.public_key())
        self.assertEqual([key.used for key in keys], [2] + [1] * 9)

    def test_serials_differ(self) -> None:
        """Two certificates for one host have different serial numbers: clients reject duplicate numbers."""
        self.assertNotEqual(self.issue("a.example").serial_number, self.issue("a.example").serial_number)

    def test_validity(self) -> None:
        """It has a short lifetime, and its validity starts in the past, for slow clocks."""
        now = NOW + timedelta(days=30)
        certificate = self.issue("a.example", now)
        self.assertEqual(certificate.not_valid_before_utc, now - BACKDATED)
        self.assertEqual(certificate.not_valid_after_utc, now + LEAF_LIFETIME)
        self.assertLessEqual(LEAF_LIFETIME, timedelta(days=7))

    def test_within_the_ca(self) -> None:
        """It is never valid before or after the CA; an expired CA issues no certificate."""
        key = new_key()
        end = NOW + timedelta(days=2)
        self.authority = CertificateAuthority(build(key, BASIC, begin=NOW, end=end), key, NOW)
        certificate = self.issue("a.example")
        self.assertEqual(certificate.not_valid_before_utc, NOW)
        self.assertEqual(certificate.not_valid_after_utc, end)
        error = self.assertRaises(CaError, self.issue, "a.example", end)
        self.assertIn("expired on 2026-03-03", error.reason)

    def test_strict_verification(self) -> None:
        """OpenSSL accepts it under the strict rules of RFC 5280 that Python 3.13 enables."""
        authority = CertificateAuthority.create("test", datetime.now(timezone.utc))
        store = crypto.X509Store()
        store.add_cert(crypto.X509.from_cryptography(authority.certificate))
        store.set_flags(crypto.X509StoreFlags.X509_STRICT)
        for host in ("a.example", "a" * 60 + ".example", "192.0.2.7"):
            leaf = authority.issue(Authority(host, 443), datetime.now(timezone.utc)).certificate
            crypto.X509StoreContext(store, crypto.X509.from_cryptography(leaf)).verify_certificate()
