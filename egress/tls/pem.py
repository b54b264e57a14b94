"""Certificates and keys in the operator's PEM files; each error names the remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, crypto

from egress.model.quote import printable

_SHOWN_LENGTH: Final = 120
_BEGIN_CERTIFICATE: Final = re.compile(rb"^-----BEGIN (?:X509 )?CERTIFICATE-----", re.MULTILINE)


class TrustError(Exception):
    """A file with certificates or a key that cannot be used.

    @ivar reason: one line that names the file and the remedy.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def plain(text: str) -> str:
    """Sanitize untrusted text for a log line."""
    text = printable(text)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}..."


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrustError(f"{path}: {error.strerror}; specify a readable PEM file") from error


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Read all certificates of a file.

    @raise TrustError: if there is none, or if one of them cannot be read.
    """
    text = _read(path)
    count = len(_BEGIN_CERTIFICATE.findall(text))
    if not count:
        raise TrustError(
            f"{path}: contains no PEM certificate; convert a DER file with: openssl x509 -inform der -in {path}"
        )
    try:
        certificates = x509.load_pem_x509_certificates(text)
    except ValueError as error:
        raise TrustError(f"{path}: a certificate in it is damaged ({plain(str(error))}); replace the file") from error
    if len(certificates) != count:
        raise TrustError(f"{path}: a certificate in it is truncated; replace the file")
    return certificates


def trust_certificates(context: SSL.Context, path: Path | None) -> list[x509.Certificate]:
    """Make a context trust every certificate of a file, in addition to its trusted certificates.

    Each certificate is a trust anchor, regardless of whether it is a root, an intermediate CA or the peer's own
    certificate.

    @return: the certificates.
    @raise TrustError: if the file cannot be used.
    """
    store = context.get_cert_store()
    assert store is not None
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    certificates = [] if path is None else read_certificates(path)
    for certificate in certificates:
        store.add_cert(crypto.X509.from_cryptography(certificate))
    return certificates


def use_certificate(context: SSL.Context, path: Path, key_path: Path | None = None, more: Path | None = None) -> None:
    """Make a context present a certificate.

    @param context: the context.
    @param path: the file with the certificate and its chain.
    @param key_path: the file with its key; C{None}: the same file.
    @param more: a file with further certificates of its chain.
    @raise TrustError: if one of the files cannot be used.
    """
    certificate, *chain = read_certificates(path)
    if more is not None:
        chain += read_certificates(more)
    key_path = key_path or path
    try:
        key = serialization.load_pem_private_key(_read(key_path), None)
    except TypeError as error:
        raise TrustError(f"{key_path}: its key is encrypted; decrypt it with: openssl pkey -in {key_path}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        remedy = "put the certificate and the key into it" if key_path == path else "specify the file with the key"
        raise TrustError(f"{key_path}: contains no readable PEM key; {remedy}") from error
    try:
        context.use_certificate(certificate)
        for issuer in chain:
            context.add_extra_chain_cert(issuer)
        # The type omits kinds of keys that no certificate uses.
        context.use_privatekey(key)  # type: ignore[arg-type]
        context.check_privatekey()
    except (SSL.Error, TypeError) as error:
        its = "its first certificate" if key_path == path else f"the first certificate of {path}"
        raise TrustError(f"{key_path}: its key does not belong to {its}, or is too weak; replace the file") from error
