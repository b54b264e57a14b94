"""The CA on disk.

C{ca-key.pem} contains both the key and the certificate, so that they are created together or not at all.  C{ca.pem} is
a copy of the certificate for clients, which is written again if it is missing.  During a rotation
(L{egress.tls.ca_rotation}) there are C{ca-next-key.pem} and C{ca-old.pem} as well, and C{ca.pem} contains the
certificates of all CAs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from socket import gethostname

import attrs
from cryptography import x509

from egress.runtime.private_file import MAX_BYTES
from egress.runtime.safe_files import Folder, UnsafeFile, check_private, heir_of, make_private, read_plain
from egress.tls.ca_certificates import Certificates, certificate_in, certificates_in
from egress.tls.issuer import CaError, CertificateAuthority, pem_of, read_certificates
from egress.tls.key_file import read_key_file
from egress.tls.name_constraints import IPNetwork, name_constraints


@attrs.frozen
class CaDirectory:
    """The directory of a proxy's CA.  Any number of processes may start with the same directory concurrently.

    A directory with a key in C{ca-key.pem} and its certificate in C{ca.pem}, as written by an operator who provides a
    CA, is supported as well.

    @ivar path: the directory.
    @ivar permitted: the hosts, with their subdomains, and the ranges of addresses to which a CA that is created here is
        limited; empty: no limit.
    """

    path: Path
    permitted: Sequence[str | IPNetwork] = ()

    @property
    def key_path(self) -> Path:
        """The secret file: the key, followed by the certificate."""
        return self.path / "ca-key.pem"

    @property
    def certificate_path(self) -> Path:
        """The file with the certificates that clients trust."""
        return self.path / "ca.pem"

    @property
    def trust_path(self) -> Path:
        """The same file; see L{egress.tls.ca_source.CaSource}."""
        return self.certificate_path

    @property
    def next_path(self) -> Path:
        """The secret file of the next CA."""
        return self.path / "ca-next-key.pem"

    @property
    def old_path(self) -> Path:
        """The file with the certificates of earlier CAs that clients still trust."""
        return self.path / "ca-old.pem"

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of the current CA."""
        return self.key_path, self.certificate_path

    def load(self, now: datetime) -> CertificateAuthority:
        """Read the CA.

        @param now: the current time, with a time zone.
        @raise CaError: names the file and the remedy.
        """
        try:
            self.check()
            published = self.published_text()
            secret = self._secret()
        except OSError as error:
            raise self._inaccessible(error) from error
        if secret is None:
            raise CaError(f"{self.key_path}: is missing; the proxy generates a CA when it starts")
        return self._load(secret, published, now)

    def certificates(self) -> Certificates:
        """Read the certificates, without using a key.

        @raise CaError: names the file and the remedy.
        """
        current = certificate_in(self.key_path, self.certificate_path)
        if current is None:
            raise CaError(f"{self.path}: there is no CA; the proxy generates one when it starts")
        past = certificates_in(self.old_path)
        # After a crash during a rotation, the current certificate is among the earlier ones.
        return Certificates(current, certificate_in(self.next_path), tuple(each for each in past if each != current))

    def _inaccessible(self, error: OSError) -> CaError:
        where = error.filename or self.path
        return CaError(f"{where}: {error.strerror}; make it accessible, or use another directory")

    def load_or_create(self, now: datetime) -> CertificateAuthority:
        """Read the CA, or create one if there is none yet.

        @param now: the current time, with a time zone.
        @raise CaError: names the file and the remedy.
        """
        try:
            self._open()
            # The order matters: the key is written first, so a published certificate always has a key.
            published = self.published_text()
            secret = self._secret()
            if secret is None:
                self._create(published, now)
                secret = self._secret()
        except OSError as error:
            raise self._inaccessible(error) from error
        if secret is None:
            raise CaError(f"{self.key_path}: was removed while the proxy started; start it again")
        return self._load(secret, published, now)

    def _open(self) -> None:
        make_private(self.path)
        self.check()

    def check(self) -> None:
        """Check that only the owner can add files to the directory or replace it.

        @raise CaError: if other users can.
        @raise OSError: if there is no such directory.
        """
        try:
            check_private(self.path)
        except UnsafeFile as error:
            raise CaError(f"{self.path}: {error.strerror}") from error

    def _secret(self) -> bytes | None:
        return read_key_file(self.key_path)

    def published_text(self) -> bytes | None:
        """Return the content of C{ca.pem}, or C{None} if it is missing.

        @raise OSError: if it cannot be read.
        """
        try:
            return read_plain(self.certificate_path, MAX_BYTES)
        except FileNotFoundError:
            return None

    def _create(self, published: bytes | None, now: datetime) -> None:
        if published is not None:
            raise CaError(
                f"{self.key_path}: the key of {self.certificate_path} is missing; restore it, or remove "
                f"{self.certificate_path} to generate a new CA, which clients must then trust"
            )
        limits = name_constraints(self.permitted) if self.permitted else None
        authority = CertificateAuthority.create(new_label(), now, limits=limits)
        with Folder(self.path) as folder:
            temporary = folder.create(self.key_path.name, authority.secret_pem(), 0o600, heir_of(folder.state))
            try:
                # Unlike a rename, a link never replaces a file: one of several processes succeeds, and all of them read
                # its CA.
                folder.link(temporary, self.key_path.name)
            except FileExistsError:
                pass
            except OSError as error:
                why = f"its file system has no hard links ({error.strerror})"
                raise CaError(f"{self.path}: {why}; use a directory on another file system") from error
            finally:
                folder.remove(temporary)
        self.sync()

    def _load(self, secret: bytes, published: bytes | None, now: datetime) -> CertificateAuthority:
        try:
            authority = CertificateAuthority.from_pem(secret, published, now)
        except CaError as error:
            raise CaError(
                f"{self.key_path}: {error.reason}; restore the correct files, or remove it and "
                f"{self.certificate_path} to generate a new CA, which clients must then trust"
            ) from error
        if self.permitted and authority.limits is None:
            raise CaError(
                f"{self.key_path}: this CA has no name constraints; generate one with name constraints (egress ca "
                f"rotate --ca-name-constraints), or remove the option"
            )
        if published is None:
            self.publish(self.certificates().trusted(now))
        else:
            self._check_published(published, authority)
        return authority

    def publish(self, certificates: Sequence[x509.Certificate]) -> None:
        """Write the certificates that clients trust.

        @raise CaError: if they cannot be written.
        """
        try:
            self.put(self.certificate_path, pem_of(*certificates), 0o644)
        except OSError as error:
            raise CaError(f"{self.certificate_path}: {error.strerror}; make the directory writable") from error

    def _check_published(self, published: bytes, authority: CertificateAuthority) -> None:
        try:
            same = authority.certificate in read_certificates(published)
        except CaError as error:
            raise CaError(f"{self.certificate_path}: {error.reason}; remove it to have it written again") from error
        if not same:
            raise CaError(
                f"{self.certificate_path}: differs from the certificate in {self.key_path}; remove the wrong file"
            )

    def put(self, target: Path, content: bytes, mode: int) -> None:
        """Write or replace a file atomically: a reader sees the complete old or new content, even after a crash.

        @raise OSError: if it cannot be written.
        """
        with Folder(self.path) as folder:
            folder.put(target.name, content, mode, heir_of(folder.state))

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file of the directory atomically."""
        with Folder(self.path) as folder:
            folder.rename(source.name, target.name)

    def remove(self, target: Path) -> None:
        """Remove a file of the directory."""
        with Folder(self.path) as folder:
            folder.remove(target.name)

    def open_lock(self, name: str) -> int:
        """Open a lock file in the directory, or create it.

        @raise OSError: if it cannot be opened, or is not suitable as a lock file.
        """
        with Folder(self.path) as folder:
            return folder.open_lock(name, heir_of(folder.state))

    def sync(self) -> None:
        """Flush changes of the directory to the disk, so that they survive a crash."""
        with Folder(self.path) as folder:
            folder.sync()


def new_label() -> str:
    """Return a label that distinguishes CAs for users who inspect a trust store."""
    return f"{token_hex(4)} {gethostname()}"
