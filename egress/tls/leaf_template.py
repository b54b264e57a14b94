"""The encoding of leaf certificates in DER (RFC 5280 section 4.1), with all fields that hosts share encoded once.

The builder of cryptography creates and encodes every field again for each certificate, and returns an object that is
encoded and decoded twice more before OpenSSL has the certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from egress.model.authority import Authority

CaKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

# Tags (X.690 section 8).
_BIT_STRING: Final = 0x03
_OCTET_STRING: Final = 0x04
_UTF8_STRING: Final = 0x0C
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_INTEGER: Final = 0x02
_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_EXTENSIONS: Final = 0xA3
# The choices of a GeneralName (RFC 5280 section 4.2.1.6).
_DNS_NAME: Final = 0x82
_IP_ADDRESS: Final = 0x87

_TRUE: Final = bytes.fromhex("0101ff")
_VERSION_3: Final = bytes.fromhex("a003020102")
# The object identifiers of the fields that differ between hosts.
_COMMON_NAME: Final = bytes.fromhex("0603550403")
_ALTERNATIVE_NAME: Final = bytes.fromhex("0603551d11")
# ecdsa-with-SHA256 (RFC 5758 section 3.2), and sha256WithRSAEncryption (RFC 4055 section 5).
_ECDSA_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")
_RSA_SHA256: Final = bytes.fromhex("300d06092a864886f70d01010b0500")

_ECDSA: Final = ec.ECDSA(hashes.SHA256())
# RFC 5280 section 4.1.2.5: later years do not fit into UTCTime.
_LAST_SHORT_YEAR: Final = 2049


def encode(tag: int, *contents: bytes) -> bytes:
    """Encode one value with its length in the definite form."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def encode_time(time: datetime) -> bytes:
    """Encode a time with a time zone, in whole seconds."""
    time = time.astimezone(timezone.utc)
    if time.year > _LAST_SHORT_YEAR:
        return encode(_GENERALIZED_TIME, f"{time:%Y%m%d%H%M%SZ}".encode("ascii"))
    return encode(_UTC_TIME, f"{time:%y%m%d%H%M%SZ}".encode("ascii"))


def _encode_serial(number: int) -> bytes:
    # One bit more than the number has: it is positive.
    return encode(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _encode_extension(identifier: bytes, critical: bool, value: bytes) -> bytes:
    return encode(_SEQUENCE, identifier, _TRUE if critical else b"", encode(_OCTET_STRING, value))


def _object_identifier(identifier: x509.ObjectIdentifier) -> bytes:
    """Encode one of the object identifiers of the X.509 extensions, which are of the form 2.5.29.N."""
    return bytes((0x06, 0x03, 0x55, 0x1D, int(identifier.dotted_string.rpartition(".")[2])))


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return the key usage of a CA, or of a leaf."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _shared_extensions(
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, issuer_key: x509.SubjectKeyIdentifier
) -> Sequence[tuple[x509.ExtensionType, bool]]:
    """Return the extensions that do not depend on the host, each with whether it is critical."""
    # RSA without forward secrecy is never offered, so no leaf key encrypts other keys.
    return (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (key_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key), False),
    )


class LeafTemplate:
    """Encodes and signs the certificates of one leaf key by one CA.

    @param issuer: the name of the CA.
    @param issuer_key: the key identifier of the CA.
    @param signing_key: the key of the CA.
    @param key: the leaf key.
    """

    def __init__(
        self, issuer: x509.Name, issuer_key: x509.SubjectKeyIdentifier, signing_key: CaKey, key: CaKey
    ) -> None:
        public_key = key.public_key()
        self._signing_key = signing_key
        self._algorithm = _RSA_SHA256 if isinstance(signing_key, rsa.RSAPrivateKey) else _ECDSA_SHA256
        self._issuer = issuer.public_bytes()
        self._public_key = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._extensions = b"".join(
            _encode_extension(_object_identifier(extension.oid), critical, extension.public_bytes())
            for extension, critical in _shared_extensions(public_key, issuer_key)
        )

    def sign(self, authority: Authority, named: bool, serial: int, begin: datetime, end: datetime) -> bytes:
        """Create a certificate.

        @param authority: the host; its port has no effect.
        @param named: whether the host is the common name of the subject; otherwise, the subject is empty.
        @param serial: the serial number, which is positive.
        @param begin: the begin of the validity period, with a time zone.
        @param end: the end of the validity period.
        @return: the certificate in DER.
        """
        text, address = authority.host.encode("ascii"), authority.ip
        subject = b""
        if named:
            subject = encode(_SET, encode(_SEQUENCE, _COMMON_NAME, encode(_UTF8_STRING, text)))
        name = encode(_DNS_NAME, text) if address is None else encode(_IP_ADDRESS, address.packed)
        # RFC 5280 section 4.2.1.6: critical if there is no subject.
        alternative = _encode_extension(_ALTERNATIVE_NAME, not named, encode(_SEQUENCE, name))
        content = encode(
            _SEQUENCE,
            _VERSION_3,
            _encode_serial(serial),
            self._algorithm,
            self._issuer,
            encode(_SEQUENCE, encode_time(begin), encode_time(end)),
            encode(_SEQUENCE, subject),
            self._public_key,
            encode(_EXTENSIONS, encode(_SEQUENCE, self._extensions, alternative)),
        )
        # The first octet is the number of unused bits at the end.
        return encode(_SEQUENCE, content, self._algorithm, encode(_BIT_STRING, b"\0", self._signature(content)))

    def _signature(self, content: bytes) -> bytes:
        key = self._signing_key
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(content, padding.PKCS1v15(), hashes.SHA256())
        return key.sign(content, _ECDSA)
