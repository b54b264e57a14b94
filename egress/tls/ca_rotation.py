"""CA rotation: replaces a CA so that clients trust the signing CA at all times.

The next CA is created first, and published together with the current one.  After every client trusts both, the next CA
is activated; the old certificate remains published until it is retired.  Each step completes when one file is renamed,
and the next call finishes a step that a crash interrupted.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import attrs
from cryptography import x509

from egress.runtime.safe_files import UnsafeFile
from egress.tls.ca_certificates import Certificates
from egress.tls.ca_store import CaDirectory, new_label
from egress.tls.issuer import CA_LIFETIME, CaError, CertificateAuthority, is_self_signed, pem_of, read_certificates
from egress.tls.key_file import read_key_file
from egress.tls.name_constraints import IPNetwork, constraints_of, name_constraints


@attrs.frozen
class Rotation:
    """Rotates the CA in a directory.  Proxies may use the CA meanwhile.

    @ivar directory: the directory.
    """

    directory: CaDirectory

    def prepare(
        self,
        now: datetime,
        lifetime: timedelta = CA_LIFETIME,
        permitted: Sequence[str | IPNetwork] | None = None,
    ) -> Certificates:
        """Create the next CA, unless there is one, and publish its certificate.

        @param now: the current time, with a time zone.
        @param lifetime: the lifetime of the next CA.
        @param permitted: the hosts to which the CA is limited; empty: no limit; C{None}: the limits of the current CA.
        @raise CaError: names the file and the remedy.
        """
        with self._locked():
            found = self.directory.certificates()
            if not is_self_signed(found.current):
                raise CaError(
                    f"{self.directory.key_path}: this CA was issued by another CA; get its next certificate there"
                )
            if found.following is None:
                limits = constraints_of(found.current) if permitted is None else None
                if permitted:
                    limits = name_constraints(permitted)
                authority = CertificateAuthority.create(new_label(), now, lifetime, limits)
                self.directory.put(self.directory.next_path, authority.secret_pem(), 0o600)
                found = attrs.evolve(found, following=authority.certificate)
            self._publish(found, now)
            return found

    def activate(self, now: datetime) -> Certificates:
        """Make the next CA sign.  This deletes the key of the previous CA.

        @raise CaError: names the file and the remedy.
        """
        with self._locked():
            directory = self.directory
            found = directory.certificates()
            if found.following is None:
                raise CaError(f"{directory.path}: there is no next CA; generate one with: egress ca rotate")
            if found.following not in self._published():
                raise CaError(
                    f"{directory.certificate_path}: does not contain the next CA, so clients cannot trust it; "
                    f"run: egress ca rotate"
                )
            try:
                CertificateAuthority.from_pem(read_key_file(directory.next_path) or b"", None, now)
            except CaError as error:
                raise CaError(
                    f"{directory.next_path}: {error.reason}; remove it, and start again with: egress ca rotate"
                ) from error
            old = tuple(dict.fromkeys([found.current, *found.past]))
            directory.put(directory.old_path, pem_of(*old), 0o644)
            # The rotation takes effect with this rename.
            directory.rename(directory.next_path, directory.key_path)
            directory.sync()
            found = Certificates(found.following, None, old)
            self._publish(found, now)
            return found

    def cancel(self, now: datetime) -> Certificates:
        """Delete the next CA before it has signed anything.

        @raise CaError: names the file and the remedy.
        """
        with self._locked():
            found = self.directory.certificates()
            if found.following is None:
                raise CaError(f"{self.directory.path}: there is no next CA to discard")
            remaining = attrs.evolve(found, following=None)
            self._publish(remaining, now, without=[found.following])
            self.directory.remove(self.directory.next_path)
            self.directory.sync()
            return remaining

    def retire(self, now: datetime) -> Certificates:
        """Stop publishing the certificates of earlier CAs.

        @raise CaError: names the file and the remedy.
        """
        with self._locked():
            found = self.directory.certificates()
            if not found.past:
                raise CaError(f"{self.directory.path}: there is no earlier CA to retire")
            remaining = attrs.evolve(found, past=())
            self._publish(remaining, now, without=found.past)
            self.directory.remove(self.directory.old_path)
            self.directory.sync()
            return remaining

    def _published(self) -> list[x509.Certificate]:
        text = self.directory.published_text()
        try:
            return [] if text is None else read_certificates(text)
        except CaError as error:
            raise CaError(
                f"{self.directory.certificate_path}: {error.reason}; remove it to have it written again"
            ) from error

    def _publish(self, found: Certificates, now: datetime, without: Sequence[x509.Certificate] = ()) -> None:
        trusted = found.trusted(now)
        known = {*trusted, *found.past, *without}
        # Other certificates that the operator has added to the file are preserved.
        wanted = [*trusted, *(each for each in self._published() if each not in known)]
        if wanted != self._published():
            self.directory.publish(wanted)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the directory against other rotations; the lock ends with the process."""
        path = self.directory.path / "ca.lock"
        try:
            if not self.directory.key_path.exists():
                raise CaError(f"{self.directory.path}: there is no CA; the proxy generates one when it starts")
            self.directory.check()
            descriptor = self.directory.open_lock(path.name)
        except UnsafeFile as error:
            raise CaError(f"{path}: {error.strerror}") from error
        except OSError as error:
            raise CaError(f"{path}: {error.strerror}; make the directory writable") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise CaError(
                f"{self.directory.path}: another rotation is in progress; wait until it is complete"
            ) from error
        except OSError as error:
            where = error.filename or self.directory.path
            raise CaError(f"{where}: {error.strerror}; make the directory writable") from error
        finally:
            os.close(descriptor)
