"""A CA that the operator provides, usually an intermediate CA: a certificate with its chain, and its key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from egress.runtime.private_file import MAX_BYTES
from egress.runtime.safe_files import read_plain
from egress.tls.ca_certificates import Certificates
from egress.tls.issuer import CaError, CertificateAuthority, is_self_signed, read_certificates
from egress.tls.key_file import read_key_file


@attrs.frozen
class ProvidedCa:
    """Files that the proxy reads but never writes, such as the files of a mounted Secret.

    @ivar certificate_path: the certificate of the CA, followed by its chain; the root may be omitted.
    @ivar key_path: the key of the CA.
    @ivar root_path: the certificates that clients trust, if C{certificate_path} does not contain them.
    """

    certificate_path: Path
    key_path: Path
    root_path: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of the CA."""
        roots = () if self.root_path is None else (self.root_path,)
        return self.certificate_path, self.key_path, *roots

    @property
    def trust_path(self) -> Path:
        """The file with the certificates that clients trust."""
        return self.root_path or self.certificate_path

    def load(self, now: datetime) -> CertificateAuthority:
        """Read the CA.

        @param now: the current time, with a time zone.
        @raise CaError: names the file and the remedy.
        """
        found = self.certificates()
        try:
            secret = read_key_file(self.key_path)
        except OSError as error:
            raise CaError(f"{self.key_path}: {error.strerror}; specify a readable key", of_key=True) from error
        if secret is None:
            raise CaError(f"{self.key_path}: is missing; specify the key of {self.certificate_path}", of_key=True)
        try:
            return CertificateAuthority.from_key(secret, found.current, now, found.chain)
        except CaError as error:
            raise CaError(
                f"{self.certificate_path} with {self.key_path}: {error.reason}", of_key=error.of_key
            ) from error

    load_or_create = load

    def certificates(self) -> Certificates:
        """Read the certificates, without using the key.

        @raise CaError: names the file and the remedy.
        """
        certificate, *chain = _read(self.certificate_path)
        if self.root_path is None:
            return Certificates(certificate, chain=tuple(chain))
        roots = _read(self.root_path)
        top = (certificate, *chain)[-1]
        anchor = _anchor_of(top, roots)
        if anchor is None:
            raise CaError(
                f"{self.root_path}: does not contain the root of {self.certificate_path}, so clients would reject its "
                "certificates; specify the certificates that clients trust"
            )
        above = () if is_self_signed(top) else (anchor,)
        return Certificates(certificate, chain=(*chain, *above), roots=(anchor, *roots))


def _anchor_of(top: x509.Certificate, roots: Sequence[x509.Certificate]) -> x509.Certificate | None:
    """Return the root that is the top of a chain, or that has issued it.

    A root that was renewed with its key has issued the renewed one, too: clients that trust one of them trust both.
    """
    return top if top in roots else next((root for root in roots if _issued(top, root)), None)


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _read(path: Path) -> list[x509.Certificate]:
    try:
        return read_certificates(read_plain(path, MAX_BYTES))
    except OSError as error:
        raise CaError(f"{path}: {error.strerror}; specify a readable file") from error
    except CaError as error:
        raise CaError(f"{path}: {error.reason}; specify certificates in PEM") from error
