"""A CA that the operator provides, usually an intermediate CA: a certificate with its chain, and its key."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import attrs
from cryptography import x509

from egress.runtime.private_file import MAX_BYTES
from egress.runtime.safe_files import read_plain
from egress.tls.ca_certificates import Certificates
from egress.tls.issuer import CaError, CertificateAuthority, read_certificates
from egress.tls.key_file import read_key_file


@attrs.frozen
class ProvidedCa:
    """Two files that the proxy reads but never writes.

    @ivar certificate_path: the certificate of the CA, followed by its chain; the root may be omitted.
    @ivar key_path: the key of the CA.
    """

    certificate_path: Path
    key_path: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of the CA."""
        return self.certificate_path, self.key_path

    def load(self, now: datetime) -> CertificateAuthority:
        """Read the CA.

        @param now: the current time, with a time zone.
        @raise CaError: names the file and the remedy.
        """
        certificate, *chain = self._read()
        try:
            secret = read_key_file(self.key_path)
        except OSError as error:
            raise CaError(f"{self.key_path}: {error.strerror}; specify a readable key", of_key=True) from error
        if secret is None:
            raise CaError(f"{self.key_path}: is missing; specify the key of {self.certificate_path}", of_key=True)
        try:
            return CertificateAuthority.from_key(secret, certificate, now, chain)
        except CaError as error:
            raise CaError(
                f"{self.certificate_path} with {self.key_path}: {error.reason}", of_key=error.of_key
            ) from error

    load_or_create = load

    def certificates(self) -> Certificates:
        """Read the certificates, without using the key.

        @raise CaError: names the file and the remedy.
        """
        certificate, *chain = self._read()
        return Certificates(certificate, chain=tuple(chain))

    def _read(self) -> list[x509.Certificate]:
        try:
            return read_certificates(read_plain(self.certificate_path, MAX_BYTES))
        except OSError as error:
            raise CaError(f"{self.certificate_path}: {error.strerror}; specify a readable file") from error
        except CaError as error:
            raise CaError(f"{self.certificate_path}: {error.reason}; specify a chain of certificates in PEM") from error
