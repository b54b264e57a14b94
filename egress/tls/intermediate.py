"""Intermediate CAs: requests for them, and their certificates.  This module uses no file and no clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from egress.tls.issuer import BACKDATED, CaError, check_chain, check_key, common_name, read_key, subject_key_identifier
from egress.tls.leaf_template import CaKey, key_usage
from egress.tls.name_constraints import constraints_of

INTERMEDIATE_LIFETIME: Final = timedelta(days=90)
"""The lifetime of an intermediate CA: a replica gets another one without a change of its clients."""

_RSA_BITS: Final = 2048
_CURVES: Final = frozenset({"secp256r1", "secp384r1", "secp521r1"})
# An intermediate CA signs only leaf certificates.
_CONSTRAINTS: Final = x509.BasicConstraints(ca=True, path_length=0)


def new_key_pem() -> bytes:
    """Generate the key of an intermediate CA, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def request_pem(key_pem: bytes, label: str) -> bytes:
    """Return the certificate signing request of an intermediate CA, as PEM.

    @param key_pem: its key.
    @param label: distinguishes it from the CAs of other replicas.
    @raise CaError: if the key cannot be used.
    """
    key = read_key(key_pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise CaError("its key is neither an ECDSA nor an RSA key", of_key=True)
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(common_name(f"egressproxy CA {label}"))
        .add_extension(_CONSTRAINTS, critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class IntermediateIssuer:
    """Signs intermediate CAs with a root, or with a CA below it.

    @ivar chain: the certificate of the CA that signs, followed by the certificates above it.
    @param chain: these certificates.
    @param key: the key of the CA that signs, as PEM.
    @raise CaError: if the key cannot be used.
    """

    def __init__(self, chain: Sequence[x509.Certificate], key: bytes) -> None:
        self.chain = tuple(chain)
        self._key: CaKey = check_key(read_key(key), chain[0])

    def sign(
        self,
        request: bytes,
        now: datetime,
        lifetime: timedelta = INTERMEDIATE_LIFETIME,
        limits: x509.NameConstraints | None = None,
    ) -> x509.Certificate:
        """Sign the certificate of an intermediate CA, which may sign only certificates of TLS servers.

        The request determines the name and the key; its extensions have no effect.

        @param request: the certificate signing request, as PEM.
        @param now: the current time, with a time zone.
        @param lifetime: the lifetime; the certificate expires no later than any certificate of the chain.
        @param limits: the name constraints; C{None}: the ones of the CA that signs.
        @raise CaError: if the request is not valid, or no client would accept the certificate.
        """
        try:
            check_chain(self.chain, now)
            certificate = self._certificate(request, now, lifetime, limits)
            check_chain((certificate, *self.chain), now)
        except (ValueError, x509.DuplicateExtension) as error:
            raise CaError(f"the certificate of the CA that signs is malformed ({error})") from error
        return certificate

    def _certificate(
        self, request: bytes, now: datetime, lifetime: timedelta, limits: x509.NameConstraints | None
    ) -> x509.Certificate:
        issuer = self.chain[0]
        name, key = self._checked(request)
        end = min(now + lifetime, *(each.not_valid_after_utc for each in self.chain))
        identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key_identifier(issuer))
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - BACKDATED, issuer.not_valid_before_utc))
            .not_valid_after(end)
            .add_extension(_CONSTRAINTS, critical=True)
            .add_extension(key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(identifier, critical=False)
        )
        if limits is None:
            # Some clients enforce the constraints of an intermediate CA, but not the constraints of a root.
            limits = next(filter(None, map(constraints_of, self.chain)), None)
        if limits is not None:
            builder = builder.add_extension(limits, critical=True)
        return builder.sign(self._key, hashes.SHA256())

    def _checked(self, request: bytes) -> tuple[x509.Name, ec.EllipticCurvePublicKey | rsa.RSAPublicKey]:
        """Return the name and the key of a request."""
        try:
            found = x509.load_pem_x509_csr(request)
            signed, name, key = found.is_signature_valid, found.subject, found.public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise CaError("contains no certificate signing request in PEM") from error
        if not signed:
            raise CaError("its signature is not valid, so the sender may not have its key")
        if not name.rdns:
            raise CaError("it has no name")
        if name in {each.subject for each in self.chain}:
            raise CaError("it has the name of a CA above it")
        if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
            return name, key
        if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _RSA_BITS:
            return name, key
        raise CaError(f"its key is neither an ECDSA key of a usual curve nor an RSA key of at least {_RSA_BITS} bits")
