"""The CA on disk.

C{ca-key.pem} holds the key and the certificate in one, so that they come into being together or not at all; C{ca.pem}
is a copy of the certificate for everybody else, and made again when it is missing.
"""

from __future__ import annotations

import os
import stat
import tempfile
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from socket import gethostname

import attrs

from egress.ca.issuer import CaError, CertificateAuthority, read_certificate

# No PEM file of a CA comes near; whatever is larger is something else.
_MAX_BYTES = 256 * 1024


@attrs.frozen
class CaDirectory:
    """Where a proxy keeps its CA.  Any number of processes may start on one at the same time.

    A directory with a key in C{ca-key.pem} and its certificate in C{ca.pem}, as an operator who brings a CA along would
    write them, is read as well.
    """

    path: Path

    @property
    def key_path(self) -> Path:
        """The secret: the key, followed by the certificate."""
        return self.path / "ca-key.pem"

    @property
    def certificate_path(self) -> Path:
        """The certificate, for clients to trust."""
        return self.path / "ca.pem"

    def load_or_create(self, now: datetime) -> CertificateAuthority:
        """Read the CA, or make one when there is none yet.

        @param now: the time, with a time zone.
        @raise CaError: naming the file and the remedy.
        """
        try:
            self._open()
            # In this order: who makes a CA writes the key first, so a certificate that is there has its key already.
            published = self._certificate()
            secret = self._secret()
            if secret is None:
                self._create(published, now)
                secret = self._secret()
        except OSError as error:
            where = error.filename or self.path
            raise CaError(f"{where}: {error.strerror}; make it accessible, or name another directory") from error
        if secret is None:
            raise CaError(f"{self.key_path}: was removed while the proxy started; start it again")
        return self._load(secret, published, now)

    def _open(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise CaError(
                f"{self.path}: others may write to it and put a CA of theirs in place; "
                f"run chmod 700 {self.path}, or name a new directory in it"
            )

    def _secret(self) -> bytes | None:
        try:
            file = self.key_path.open("rb")
        except FileNotFoundError:
            return None
        with file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise CaError(f"{self.key_path}: others than its owner may use the key; run chmod 600 {self.key_path}")
            return file.read(_MAX_BYTES)

    def _certificate(self) -> bytes | None:
        try:
            with self.certificate_path.open("rb") as file:
                return file.read(_MAX_BYTES)
        except FileNotFoundError:
            return None

    def _create(self, published: bytes | None, now: datetime) -> None:
        if published is not None:
            raise CaError(
                f"{self.key_path}: the key of {self.certificate_path} is missing; put it back, "
                f"or remove {self.certificate_path} to have a new CA made, which clients have to trust anew"
            )
        authority = CertificateAuthority.create(f"{token_hex(4)} {gethostname()}", now)
        temporary = self._write(self.key_path, authority.secret_pem())
        try:
            # Unlike a rename, a link never replaces: of several processes exactly one succeeds, and all read its CA.
            os.link(temporary, self.key_path)
        except FileExistsError:
            pass
        except OSError as error:
            raise CaError(
                f"{self.path}: its file system has no hard links ({error.strerror}); name a directory on another one"
            ) from error
        finally:
            temporary.unlink()
        self._sync()

    def _load(self, secret: bytes, published: bytes | None, now: datetime) -> CertificateAuthority:
        try:
            authority = CertificateAuthority.from_pem(secret, published, now)
        except CaError as error:
            raise CaError(
                f"{self.key_path}: {error.reason}; put the right files back, or remove it and {self.certificate_path} "
                f"to have a new CA made, which clients have to trust anew"
            ) from error
        if published is None:
            self._publish(authority)
        else:
            self._check_published(published, authority)
        return authority

    def _publish(self, authority: CertificateAuthority) -> None:
        try:
            temporary = self._write(self.certificate_path, authority.certificate_pem)
            temporary.chmod(0o644)
            temporary.replace(self.certificate_path)
            self._sync()
        except OSError as error:
            raise CaError(f"{self.certificate_path}: {error.strerror}; make the directory writable") from error

    def _check_published(self, published: bytes, authority: CertificateAuthority) -> None:
        try:
            same = read_certificate(published) == authority.certificate
        except CaError as error:
            raise CaError(f"{self.certificate_path}: {error.reason}; remove it to have it written again") from error
        if not same:
            raise CaError(
                f"{self.certificate_path}: is another certificate than the one in {self.key_path}; "
                f"remove the one of the two that is wrong"
            )

    def _write(self, target: Path, content: bytes) -> Path:
        """Write a file of a name of its own, readable by the owner alone and safe on disk."""
        descriptor, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".tmp", dir=self.path)
        temporary = Path(name)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temporary.unlink()
            raise
        return temporary

    def _sync(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
