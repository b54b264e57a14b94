"""The commands that change each kind of trust store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from egress.trust.anchors import Entry, anchor_name, pem_text
from egress.trust.steps import MakeDirectory, Remove, Run, Step, Write

KEYCHAIN: Final = "/Library/Keychains/System.keychain"
"""The keychain of macOS with the certificates for all users."""


@attrs.frozen(kw_only=True)
class SystemLayout:
    """The trust store of an operating system.

    @ivar program: the program that must exist.
    @ivar anchors: the directory of the certificates that the administrator adds; the user must be able to write to it.
    @ivar suffix: the suffix of their files.
    @ivar bundle: the file with all trusted certificates.
    @ivar update: the command that updates the bundle.
    @ivar after_removal: the same after a certificate was removed; empty: the same command.
    @ivar add: the command that adds a file, if files are not written to C{anchors}; C{FILE} is replaced by the file.
    @ivar delete: the command that removes a certificate that C{add} added.
    """

    program: str
    anchors: str
    suffix: str
    bundle: str
    update: tuple[str, ...] = ()
    after_removal: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()


_FILE: Final = "FILE"

FEDORA: Final = SystemLayout(
    program="update-ca-trust",
    anchors="/etc/pki/ca-trust/source/anchors",
    suffix=".pem",
    bundle="/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    update=("update-ca-trust", "extract"),
)
SUSE: Final = SystemLayout(
    program="update-ca-certificates",
    anchors="/etc/pki/trust/anchors",
    suffix=".pem",
    bundle="/var/lib/ca-certificates/ca-bundle.pem",
    update=("update-ca-certificates",),
)
ARCH: Final = SystemLayout(
    program="trust",
    anchors="/etc/ca-certificates/trust-source",
    suffix=".pem",
    bundle="/etc/ca-certificates/extracted/tls-ca-bundle.pem",
    add=("trust", "anchor", "--store", _FILE),
    delete=("trust", "anchor", "--remove", _FILE),
)
DEBIAN: Final = SystemLayout(
    program="update-ca-certificates",
    anchors="/usr/local/share/ca-certificates",
    suffix=".crt",
    bundle="/etc/ssl/certs/ca-certificates.crt",
    update=("update-ca-certificates",),
    # Otherwise, the link to the removed file remains.
    after_removal=("update-ca-certificates", "--fresh"),
)
"""Debian, Ubuntu and Alpine."""

LAYOUTS: Final = (FEDORA, SUSE, ARCH, DEBIAN)


def layout_of(is_directory: Callable[[str], bool], has_program: Callable[[str], bool]) -> SystemLayout | None:
    """Return the layout of this system.

    @param is_directory: whether a directory exists.
    @param has_program: whether a program exists.
    """
    return next((each for each in LAYOUTS if is_directory(each.anchors) and has_program(each.program)), None)


def system_install(layout: SystemLayout, certificates: Sequence[x509.Certificate]) -> Iterator[Step]:
    """Add certificates to the trust store of the system."""
    for certificate in certificates:
        name = anchor_name(certificate) + layout.suffix
        if layout.add:
            yield Write(Path(name), pem_text(certificate))
            yield Run(_with_file(layout.add, name))
            yield Remove(Path(name))
        else:
            yield Write(Path(layout.anchors, name), pem_text(certificate))
    if layout.update:
        yield Run(layout.update)


def system_remove(layout: SystemLayout, entries: Sequence[Entry]) -> Iterator[Step]:
    """Remove certificates from the trust store of the system.

    @param entries: the certificates; the name is the path of the file with the certificate.
    """
    for entry in entries:
        if layout.delete:
            name = anchor_name(entry.certificate) + layout.suffix
            yield Write(Path(name), pem_text(entry.certificate))
            yield Run(_with_file(layout.delete, name))
            yield Remove(Path(name))
        else:
            yield Remove(Path(entry.name))
    if layout.update:
        yield Run(layout.after_removal or layout.update)


def _with_file(command: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(name if word == _FILE else word for word in command)


def macos_list() -> tuple[str, ...]:
    """Return the command that prints the certificates of the system keychain, in PEM."""
    return ("security", "find-certificate", "-a", "-p", KEYCHAIN)


def macos_install(certificates: Sequence[x509.Certificate]) -> Iterator[Step]:
    """Add certificates to the system keychain, as trusted roots."""
    for certificate in certificates:
        name = f"{anchor_name(certificate)}.pem"
        yield Write(Path(name), pem_text(certificate))
        yield Run(("security", "add-trusted-cert", "-d", "-r", "trustRoot", "-k", KEYCHAIN, name))
        yield Remove(Path(name))


def macos_remove(entries: Sequence[Entry]) -> Iterator[Step]:
    """Remove certificates, and the settings that trust them, from the system keychain."""
    for entry in entries:
        name = f"{anchor_name(entry.certificate)}.pem"
        yield Write(Path(name), pem_text(entry.certificate))
        yield Run(("security", "remove-trusted-cert", "-d", name))
        yield Remove(Path(name))
        # The program accepts no other digest in all versions.
        digest = entry.certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 -- a name, not a protection
        yield Run(("security", "delete-certificate", "-Z", digest, KEYCHAIN))


def nss_list(directory: Path) -> tuple[str, ...]:
    """Return the command that lists the certificates of an NSS database."""
    return ("certutil", "-d", f"sql:{directory}", "-L")


def nss_export(directory: Path, nickname: str) -> tuple[str, ...]:
    """Return the command that prints the certificates with a nickname, in PEM."""
    return (*nss_list(directory), "-n", nickname, "-a")


def nss_create(directory: Path) -> Iterator[Step]:
    """Make an NSS database without a password."""
    yield MakeDirectory(directory)
    yield Run(("certutil", "-d", f"sql:{directory}", "-N", "--empty-password"))


def nss_install(directory: Path, certificates: Sequence[x509.Certificate]) -> Iterator[Step]:
    """Add certificates to an NSS database, trusted as CAs of servers only."""
    for certificate in certificates:
        command = ("certutil", "-d", f"sql:{directory}", "-A", "-t", "C,,", "-n", anchor_name(certificate))
        yield Run(command, pem_text(certificate))


def nss_remove(directory: Path, entries: Sequence[Entry]) -> Iterator[Step]:
    """Remove certificates from an NSS database.

    @param entries: the certificates, with their nicknames.
    """
    for entry in entries:
        yield Run(("certutil", "-d", f"sql:{directory}", "-D", "-n", entry.name))


@attrs.frozen
class JavaStore:
    """A trust store of Java.

    @ivar path: the file.
    @ivar keytool: the program for it.
    @ivar password: its password, which protects no secret.
    """

    path: Path
    keytool: str
    password: str

    def _command(self, *arguments: str) -> tuple[str, ...]:
        # The parser of its output, and users of other languages, need English.
        head = (self.keytool, "-J-Duser.language=en")
        return (*head, *arguments, "-keystore", str(self.path), "-storepass", self.password)

    def list(self) -> tuple[str, ...]:
        """Return the command that prints the certificates, in PEM."""
        return self._command("-list", "-rfc")

    def install(self, certificates: Sequence[x509.Certificate]) -> Iterator[Step]:
        """Add certificates."""
        for certificate in certificates:
            command = self._command("-importcert", "-noprompt", "-trustcacerts", "-alias", anchor_name(certificate))
            yield Run(command, pem_text(certificate))

    def remove(self, entries: Sequence[Entry]) -> Iterator[Step]:
        """Remove certificates.

        @param entries: the certificates, with their aliases.
        """
        for entry in entries:
            yield Run(self._command("-delete", "-alias", entry.name))
