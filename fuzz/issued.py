"""A certificate and its issuer with fixed keys, so that the corpus can contain stapled OCSP responses."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW: Final = datetime(2026, 6, 1, tzinfo=timezone.utc)
# A public key pair for tests only.
ISSUER_KEY: Final = ec.derive_private_key(0x1234, ec.SECP256R1())
_KEY: Final = ec.derive_private_key(0x5678, ec.SECP256R1())


def _made(name: str, key: ec.EllipticCurvePrivateKey, serial: int) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")]))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=timezone.utc))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=timezone.utc))
        .sign(ISSUER_KEY, hashes.SHA256())
    )


ISSUER: Final = _made("issuer", ISSUER_KEY, 1)
CERTIFICATE: Final = _made("origin.test", _KEY, 2)
