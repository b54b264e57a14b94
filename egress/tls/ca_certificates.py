"""The certificates of a proxy's CAs, without their keys, to display and to distribute to clients."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import attrs
from cryptography import x509

from egress.runtime.private_file import MAX_BYTES
from egress.runtime.safe_files import read_plain
from egress.tls.issuer import CaError, read_certificate, read_certificates
from egress.tls.key_file import read_key_file


@attrs.frozen
class Certificates:
    """The certificates of a proxy's CAs, without their keys.

    @ivar current: the certificate of the CA that signs.
    @ivar following: the certificate of the next CA.
    @ivar past: the certificates of earlier CAs, the latest first.
    @ivar chain: the certificates from the current one to its root, if it is not a root itself.
    @ivar roots: the certificates that clients trust instead, if the operator has listed them; first the one at the top
        of the chain.
    """

    current: x509.Certificate
    following: x509.Certificate | None = None
    past: tuple[x509.Certificate, ...] = ()
    chain: tuple[x509.Certificate, ...] = ()
    roots: tuple[x509.Certificate, ...] = ()

    def trusted(self, now: datetime) -> tuple[x509.Certificate, ...]:
        """Return the certificates to trust; for an intermediate CA, the topmost known certificate of its chain."""
        following = () if self.following is None else (self.following,)
        others = (each for each in (*self.roots, *self.past) if now < each.not_valid_after_utc)
        # Each certificate once; the CA that signs comes first.
        return tuple(dict.fromkeys([(self.current, *self.chain)[-1], *following, *others]))


def certificate_in(path: Path, other: Path | None = None) -> x509.Certificate | None:
    """Read the certificate that follows a key in a file, without using the key.

    @param path: the file with the key.
    @param other: the file to read if the first file contains no certificate.
    @return: C{None} if there is no key.
    @raise CaError: names the file and the remedy.
    """
    try:
        text = read_key_file(path)
        if text is None:
            return None
        if b"-----BEGIN CERTIFICATE-----" not in text and other is not None:
            path, text = other, read_plain(other, MAX_BYTES)
    except OSError as error:
        raise CaError(f"{error.filename}: {error.strerror}; make it accessible, or use another directory") from error
    try:
        return read_certificate(text)
    except CaError as error:
        raise CaError(f"{path}: {error.reason}; restore the correct files") from error


def certificates_in(path: Path) -> Sequence[x509.Certificate]:
    """Read a file that contains only certificates.

    @raise CaError: names the file and the remedy.
    """
    try:
        return read_certificates(read_plain(path, MAX_BYTES))
    except FileNotFoundError:
        return ()
    except CaError as error:
        raise CaError(f"{path}: {error.reason}; remove it to continue without the earlier CAs") from error
    except OSError as error:
        raise CaError(f"{path}: {error.strerror}; make it accessible") from error
