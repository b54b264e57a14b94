"""Certificates in the formats that clients need: PEM, DER, and Java trust stores."""

from __future__ import annotations

import enum
import hashlib
import struct
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs12

from egress.tls.issuer import CaError, fingerprint_of, pem_of


class Form(enum.Enum):
    """The output format of certificates.

    @cvar PEM: PEM.
    @cvar DER: DER, for one certificate.
    @cvar PKCS12: a PKCS #12 trust store.
    @cvar JKS: a Java trust store of the older format.
    """

    PEM = "pem"
    DER = "der"
    PKCS12 = "pkcs12"
    JKS = "jks"


# The constants of the format, from sun.security.provider.JavaKeyStore.
_JKS_HEAD: Final = struct.Struct(">IIi")
_JKS_MAGIC: Final = 0xFEEDFEED
_JKS_VERSION: Final = 2
_JKS_TRUSTED: Final = 2
_JKS_SALT: Final = b"Mighty Aphrodite"


def write_certificates(certificates: Sequence[x509.Certificate], form: Form, password: str, now: datetime) -> bytes:
    """Serialize at least one certificate.

    @param certificates: the certificates.
    @param form: the output format.
    @param password: the password of a trust store; it protects no secret, and only verifies that the file is complete.
    @param now: the time of the import in a trust store.
    @raise CaError: if the certificates cannot be written in this format.
    """
    if form is Form.PEM:
        return pem_of(*certificates)
    if form is Form.DER:
        if len(certificates) > 1:
            raise CaError(
                f"DER contains only one certificate, but there are {len(certificates)} to trust: use another format"
            )
        return certificates[0].public_bytes(Encoding.DER)
    if len(password) < 6:
        # Java's own programs reject a shorter password.
        raise CaError("the password of a trust store must have at least six characters")
    return _jks(certificates, password, now) if form is Form.JKS else _pkcs12(certificates, password)


def alias_of(certificate: x509.Certificate) -> str:
    """Return the name of a certificate in a trust store; it depends only on the certificate."""
    return f"egressproxy-{fingerprint_of(certificate).replace(':', '').lower()[:16]}"


def _pkcs12(certificates: Sequence[x509.Certificate], password: str) -> bytes:
    # Not available before cryptography 45.
    serialize: Callable[..., bytes] | None = getattr(pkcs12, "serialize_java_truststore", None)
    if serialize is None:
        raise CaError("a PKCS#12 trust store for Java requires cryptography 45 or newer: install it, or use jks")
    entries: list[Any] = [pkcs12.PKCS12Certificate(each, alias_of(each).encode("ascii")) for each in certificates]
    return serialize(entries, BestAvailableEncryption(password.encode("utf-8")))


def _jks(certificates: Sequence[x509.Certificate], password: str, now: datetime) -> bytes:
    written = _JKS_HEAD.pack(_JKS_MAGIC, _JKS_VERSION, len(certificates))
    for certificate in certificates:
        content = certificate.public_bytes(Encoding.DER)
        written += struct.pack(">i", _JKS_TRUSTED) + _text(alias_of(certificate))
        written += struct.pack(">q", int(now.timestamp() * 1000))
        written += _text("X.509") + struct.pack(">i", len(content)) + content
    # The format supports no other hash.  The hash protects against damage, not against attackers.
    digest = hashlib.sha1(password.encode("utf-16-be") + _JKS_SALT + written, usedforsecurity=False)
    return written + digest.digest()


def _text(text: str) -> bytes:
    content = text.encode("ascii")
    return struct.pack(">H", len(content)) + content
