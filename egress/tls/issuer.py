"""The proxy's CA and the leaf certificates that it signs.  This module uses no file and no clock."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from egress.model.authority import Authority
from egress.tls.leaf_template import CaKey, LeafTemplate, key_usage
from egress.tls.name_constraints import constraints_of, describe, permits

# The expiry of a CA interrupts all traffic of its clients: unless the operator chooses a shorter lifetime, the CA
# should outlive the machine.
CA_LIFETIME: Final = timedelta(days=3650)
# Long enough to issue certificates rarely, short enough that a leaf key, which is never stored, is useless elsewhere.
LEAF_LIFETIME: Final = timedelta(days=3)
# A client with a slow clock must not treat a new certificate as "not yet valid".
BACKDATED: Final = timedelta(hours=1)
# A CA is replaced manually, and the operator has to update every client first.
_ENDS_SOON: Final = timedelta(days=90)
_ENDS_SOON_PART: Final = 10

# The upper bound ub-common-name (RFC 5280 appendix A.1); host names may be longer.
_COMMON_NAME_LENGTH = 64
_RSA_BITS = 2048
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
# The leaf keys whose templates a CA stores, more than the kinds of keys that clients need.
_MAX_TEMPLATES: Final = 4


class CaError(Exception):
    """A CA that cannot be used.

    @ivar reason: the problem and, if files are involved, the name of the file and the remedy.
    @ivar of_key: whether the problem is the key, and not the certificate.
    """

    def __init__(self, reason: str, *, of_key: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.of_key = of_key


@attrs.frozen
class LeafCertificate:
    """The certificate with which the proxy authenticates as one host.

    @ivar der: the certificate in DER.
    @ivar key: its key.
    @ivar chain: the certificates that the client needs in addition to its trusted root; empty if the CA is a root.
    @ivar begin: the begin of its validity period.
    @ivar end: the end of its validity period.
    """

    der: bytes
    key: CaKey = attrs.field(repr=False)
    chain: tuple[x509.Certificate, ...]
    begin: datetime
    end: datetime

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate."""
        return x509.load_der_x509_certificate(self.der)


def common_name(text: str) -> x509.Name:
    """Return a name that consists of a common name, which is cut to the permitted length."""
    text = text[:_COMMON_NAME_LENGTH]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def subject_key_identifier(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    """Return the key identifier of a CA, which the certificates that it issues name."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())


def _may_sign(certificate: x509.Certificate) -> bool:
    extensions = certificate.extensions
    try:
        if not extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
    except x509.ExtensionNotFound:
        return False
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def _for_servers(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate may issue certificates for TLS servers, as most libraries interpret it."""
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.SERVER_AUTH in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages


def check_key(key: object, certificate: x509.Certificate) -> CaKey:
    """Check that a CA can sign with a key.

    @raise CaError: if it is of another kind, too weak, or not the key of the certificate.
    """
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise CaError("its key is neither an ECDSA nor an RSA key", of_key=True)
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < _RSA_BITS:
        raise CaError(f"its RSA key has {key.key_size} bits, but clients require at least {_RSA_BITS}", of_key=True)
    if key.public_key() != certificate.public_key():
        raise CaError("its key does not belong to its certificate", of_key=True)
    return key


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate names itself as its issuer, as a root does."""
    return certificate.issuer == certificate.subject


def _check_certificate(certificate: x509.Certificate, now: datetime, whose: str) -> None:
    if not _may_sign(certificate):
        raise CaError(f"{whose} is not a CA certificate")
    if not _for_servers(certificate):
        raise CaError(f"{whose} is not permitted for TLS servers")
    if now >= certificate.not_valid_after_utc:
        raise CaError(f"{whose} expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if now < certificate.not_valid_before_utc:
        begin = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        raise CaError(f"{whose} is valid only from {begin}, so the clock is wrong")


def check_chain(chain: Sequence[x509.Certificate], now: datetime) -> None:
    """Check that each certificate of a chain may sign, and is signed by the next one.

    @raise CaError: naming the first certificate that is not.
    """
    for depth, certificate in enumerate(chain):
        whose = f"the certificate {_name(certificate)} in its chain" if depth else "its certificate"
        _check_certificate(certificate, now, whose)
        length = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        if length is not None and length < depth:
            raise CaError(f"{whose} permits {length} CAs below it, but there are {depth}")
        if depth:
            try:
                chain[depth - 1].verify_directly_issued_by(certificate)
            except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
                raise CaError(
                    f"{whose} is not the issuer of the one before it; put each certificate after the one that it signed"
                ) from error


def _name(certificate: x509.Certificate) -> str:
    return f"'{certificate.subject.rfc4514_string()}'"


class CertificateAuthority:
    """Signs leaf certificates, which share one key that lives as long as this object.

    @ivar certificate: the CA's own certificate.
    @ivar certificate_pem: the same certificate as PEM, for the trust stores of clients.
    @ivar fingerprint: its SHA-256, as C{openssl x509 -fingerprint -sha256} prints it.
    @ivar chain: the certificates that are sent after each leaf; empty if the CA is a root.
    @ivar root: the root, which clients have to trust, if it is known.
    @ivar rooted: whether it is known.
    @ivar not_after: the earliest expiry of the CA and its chain.
    """

    def __init__(
        self, certificate: x509.Certificate, key: object, now: datetime, chain: Sequence[x509.Certificate] = ()
    ) -> None:
        """Check a certificate with its key and prepare them for signing.

        @param now: the current time, with a time zone.
        @param chain: the chain to the root, for an intermediate CA: each certificate has signed the one before it.
        @raise CaError: if they cannot sign certificates that a client would accept.
        """
        certificates = (certificate, *chain)
        try:
            self._key = check_key(key, certificate)
            check_chain(certificates, now)
            identifier = subject_key_identifier(certificate)
            self._limits = [limits for each in certificates if (limits := constraints_of(each)) is not None]
        except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
            raise CaError(f"its certificate is malformed ({error})") from error
        self.certificate = certificate
        self.certificate_pem = pem_of(certificate)
        self.fingerprint = fingerprint_of(certificate)
        self.not_after = min(each.not_valid_after_utc for each in certificates)
        self.chain = tuple(each for each in certificates if not is_self_signed(each))
        self.root = certificates[-1] if is_self_signed(certificates[-1]) else None
        self.rooted = self.root is not None
        self._not_before = certificate.not_valid_before_utc
        self._identifier = identifier
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._template_of = lru_cache(_MAX_TEMPLATES)(self._make_template)
        # Almost all clients need the first one.
        self._template_of(self._leaf_key)

    @property
    def leaf_key_hash(self) -> str:
        """The SHA-256 of the public key of the leaf certificates, in Base64, as Chromium names keys.

        RSA and P-384 leaf certificates, for clients that support nothing else, have other keys.
        """
        key = self._leaf_key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(hashlib.sha256(key).digest()).decode("ascii")

    def _make_template(self, key: CaKey) -> LeafTemplate:
        return LeafTemplate(self.certificate.subject, self._identifier, self._key, key)

    @classmethod
    def create(
        cls,
        label: str,
        now: datetime,
        lifetime: timedelta = CA_LIFETIME,
        limits: x509.NameConstraints | None = None,
        *,
        path_length: int = 0,
    ) -> CertificateAuthority:
        """Create a CA with an ECDSA P-256 key.

        @param label: distinguishes it from other CAs of this proxy in a trust store.
        @param now: the current time, with a time zone.
        @param lifetime: the lifetime of the CA.
        @param limits: the name constraints; C{None}: the CA may sign for all hosts.
        @param path_length: the number of CAs that may follow in a chain: by default, the CA may sign only leaves.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        public_key = key.public_key()
        name = common_name(f"egressproxy CA {label}")
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )
        if limits is not None:
            builder = builder.add_extension(limits, critical=True)
        return cls(builder.sign(key, hashes.SHA256()), key, now)

    def secret_pem(self) -> bytes:
        """Return the key and the certificate as one PEM text, as L{from_pem} reads it."""
        key = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return key + self.certificate_pem

    @classmethod
    def from_pem(cls, secret: bytes, certificate: bytes | None, now: datetime) -> CertificateAuthority:
        """Read a CA.

        @param secret: the key, optionally with its certificate.
        @param certificate: the certificate, for a C{secret} without one; a certificate in C{secret} takes precedence.
        @param now: the current time, with a time zone.
        @raise CaError: if the CA cannot be read or used.
        """
        text = secret if _BEGIN in secret or certificate is None else certificate
        key = read_key(secret)
        return cls(read_certificate(text), key, now)

    @classmethod
    def from_key(
        cls, secret: bytes, certificate: x509.Certificate, now: datetime, chain: Sequence[x509.Certificate] = ()
    ) -> CertificateAuthority:
        """Read the key of a CA, given its certificates.

        @raise CaError: if the CA cannot be read or used.
        """
        return cls(certificate, read_key(secret), now, chain)

    @property
    def limits(self) -> str | None:
        """The hosts for which the CA may sign, in readable form; C{None}: all hosts."""
        return "; ".join(map(describe, self._limits)) or None

    def may_sign_for(self, authority: Authority) -> bool:
        """Tell whether the name constraints of the CA and its chain permit a host."""
        return all(permits(limits, authority) for limits in self._limits)

    def ends_soon(self, now: datetime) -> bool:
        """Tell whether the CA is in its last 90 days, or in the last tenth of its lifetime if that is shorter."""
        return ends_soon(self._not_before, self.not_after, now)

    def issue(self, authority: Authority, now: datetime, key: CaKey | None = None) -> LeafCertificate:
        """Sign a certificate for one host.

        @param authority: the host; its port has no effect.
        @param now: the current time, with a time zone.
        @param key: the key of the certificate; C{None}: the P-256 key that the leaves share.
        @raise CaError: if the CA is no longer valid, or may not sign for this host.
        """
        if now >= self.not_after:
            raise CaError(f"the CA certificate expired on {self.not_after:%Y-%m-%d}")
        if not self.may_sign_for(authority):
            raise CaError(f"the CA may sign only for {self.limits}")
        # Libraries also apply name constraints to the subject, in different ways.
        named = len(authority.host) <= _COMMON_NAME_LENGTH and not self._limits
        leaf_key = key or self._leaf_key
        template = self._template_of(leaf_key)
        # A certificate has whole seconds.
        begin = max(now - BACKDATED, self._not_before).replace(microsecond=0)
        end = min(now + LEAF_LIFETIME, self.not_after).replace(microsecond=0)
        der = template.sign(authority, named, x509.random_serial_number(), begin, end)
        return LeafCertificate(der, leaf_key, self.chain, begin, end)


def read_key(text: bytes) -> object:
    """Read a private key in a PEM text.

    @raise CaError: if there is none without a passphrase.
    """
    try:
        return serialization.load_pem_private_key(text, None)
    except TypeError as error:
        raise CaError("its key is encrypted; store it without a passphrase", of_key=True) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CaError("its key cannot be read as PEM", of_key=True) from error


def read_certificate(text: bytes) -> x509.Certificate:
    """Read the first certificate in a PEM text.

    @raise CaError: if there is none.
    """
    return read_certificates(text)[0]


def read_certificates(text: bytes) -> list[x509.Certificate]:
    """Read all certificates in a PEM text.

    @raise CaError: if there is none, or if one of them is damaged.
    """
    try:
        certificates = x509.load_pem_x509_certificates(text)
    except ValueError as error:
        raise CaError("its certificate cannot be read as PEM") from error
    if len(certificates) < text.count(_BEGIN):
        # The parser ignores a part without an end, as a file has while it is written.
        raise CaError("one of its certificates is truncated")
    return certificates


def pem_of(*certificates: x509.Certificate) -> bytes:
    """Serialize certificates as PEM."""
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def fingerprint_of(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate, as C{openssl x509 -fingerprint -sha256} prints it."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def pin_of(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate's key, in Base64: a pin (RFC 7469 section 2.4)."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(
        certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return base64.b64encode(digest.finalize()).decode("ascii")


def ends_soon(begin: datetime, end: datetime, now: datetime) -> bool:
    """Tell whether a CA is in its last 90 days, or in the last tenth of its lifetime if that is shorter."""
    return end - now < min(_ENDS_SOON, (end - begin) / _ENDS_SOON_PART)


def time_left(end: datetime, now: datetime) -> str:
    """Format an expiry time in readable form."""
    if now >= end:
        return f"{end:%Y-%m-%d}, expired"
    days = (end - now).days
    return f"{end:%Y-%m-%d}, in {days} day{'' if days == 1 else 's'}"
