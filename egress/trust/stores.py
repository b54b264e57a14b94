"""The trust stores of this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import attrs
from cryptography import x509

from egress.trust import commands
from egress.trust.anchors import Entry, certificates_in_text
from egress.trust.execution import Programs, StoreFault
from egress.trust.outputs import entries_of_keytool, trusted_nicknames
from egress.trust.steps import Step

KINDS: Final = ("system", "nss", "java")
"""The kinds of stores, in the order in which they are changed: on Debian, the system updates the store of Java."""

_CHROMIUM: Final = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "brave-browser",
    "microsoft-edge",
)
_NSS_MARK: Final = "cert9.db"
_LEGACY_NSS: Final = Path(".pki", "nssdb")
# Databases, and directories of databases (profiles), below the home directory.
_NSS: Final = (
    _LEGACY_NSS,
    Path("snap", "chromium", "current", ".pki", "nssdb"),
)
_PROFILES: Final = (
    Path(".mozilla", "firefox"),
    Path(".config", "mozilla", "firefox"),
    Path("snap", "firefox", "common", ".mozilla", "firefox"),
    Path(".var", "app", "org.mozilla.firefox", ".mozilla", "firefox"),
    Path("Library", "Application Support", "Firefox", "Profiles"),
)
_CERTUTIL: Final = "install libnss3-tools (Debian, Ubuntu), nss-tools (Fedora, Alpine) or nss (Arch, Homebrew)"

_JVMS: Final = (Path("/usr/lib/jvm"), Path("/Library/Java/JavaVirtualMachines"))
_DEBIAN_JAVA: Final = Path("/etc/ssl/certs/java/cacerts")
_CACERTS: Final = (Path("lib", "security", "cacerts"), Path("jre", "lib", "security", "cacerts"))


class Store(Protocol):
    """A trust store."""

    @property
    def kind(self) -> str:
        """One of L{KINDS}."""

    @property
    def where(self) -> str:
        """The path of the store."""

    def entries(self) -> list[Entry]:
        """Return the certificates that the store trusts.

        @raise StoreFault: if it cannot be read.
        """

    def install(self, certificates: Sequence[x509.Certificate]) -> list[Step]:
        """Return the steps that add certificates."""

    def remove(self, entries: Sequence[Entry]) -> list[Step]:
        """Return the steps that remove certificates.

        @raise StoreFault: if the user added a certificate in another way, so that it cannot be removed.
        """

    def unwritable(self) -> str | None:
        """Return the path that the user must be able to write to, if that is not the case."""


def _unless_writable(*paths: Path) -> str | None:
    return next((str(path) for path in paths if not os.access(path, os.W_OK)), None)


@attrs.frozen
class SystemStore:
    """The trust store of the operating system.

    @ivar layout: its files and commands.
    """

    layout: commands.SystemLayout
    kind = "system"

    @property
    def where(self) -> str:
        """See L{Store}."""
        return self.layout.anchors

    def _files(self) -> Iterator[Entry]:
        for path in sorted(Path(self.layout.anchors).rglob("*")):
            if path.is_file():
                for certificate in certificates_in_text(_content(path)):
                    yield Entry(str(path), certificate)

    def entries(self) -> list[Entry]:
        """See L{Store}."""
        names = {entry.fingerprint: entry.name for entry in self._files()}
        bundle = Path(self.layout.bundle)
        found = [Entry("", each) for each in certificates_in_text(_content(bundle))] if bundle.exists() else []
        return [attrs.evolve(entry, name=names.get(entry.fingerprint, "")) for entry in found]

    def install(self, certificates: Sequence[x509.Certificate]) -> list[Step]:
        """See L{Store}."""
        return list(commands.system_install(self.layout, certificates))

    def remove(self, entries: Sequence[Entry]) -> list[Step]:
        """See L{Store}."""
        if not self.layout.delete:
            files = [entry.name for entry in self._files()]
            for entry in entries:
                if not entry.name:
                    raise StoreFault(
                        f"{entry.fingerprint} is in {self.layout.bundle}, but not in {self.where}; remove it"
                    )
                if files.count(entry.name) > 1:
                    raise StoreFault(f"{entry.name} has several certificates; remove {entry.fingerprint} from it")
        return list(commands.system_remove(self.layout, entries))

    def unwritable(self) -> str | None:
        """See L{Store}."""
        return _unless_writable(Path(self.layout.anchors), Path(self.layout.bundle).parent)


@attrs.frozen
class MacStore:
    """The system keychain of macOS."""

    programs: Programs
    kind = "system"
    where = commands.KEYCHAIN

    def entries(self) -> list[Entry]:
        """See L{Store}."""
        return [Entry("", each) for each in certificates_in_text(self.programs.output(commands.macos_list()))]

    def install(self, certificates: Sequence[x509.Certificate]) -> list[Step]:
        """See L{Store}."""
        return list(commands.macos_install(certificates))

    def remove(self, entries: Sequence[Entry]) -> list[Step]:
        """See L{Store}."""
        return list(commands.macos_remove(entries))

    def unwritable(self) -> str | None:
        """See L{Store}."""
        return _unless_writable(Path(self.where))


@attrs.frozen
class NssStore:
    """An NSS database.

    @ivar directory: its directory.
    @ivar programs: run C{certutil}.
    """

    directory: Path
    programs: Programs
    kind = "nss"

    @property
    def where(self) -> str:
        """See L{Store}."""
        return str(self.directory)

    def _check(self) -> None:
        if self.programs.find("certutil") is None:
            raise StoreFault(f"certutil is missing; {_CERTUTIL}")

    def _exists(self) -> bool:
        return (self.directory / _NSS_MARK).exists()

    def entries(self) -> list[Entry]:
        """See L{Store}."""
        self._check()
        if not self._exists():
            return []
        listing = self.programs.output(commands.nss_list(self.directory)).decode("utf-8", "replace")
        found: dict[x509.Certificate, str] = {}
        for name in trusted_nicknames(listing):
            text = self.programs.output(commands.nss_export(self.directory, name))
            certificates = list(certificates_in_text(text))
            # Certificates with one subject share their nicknames, so no nickname identifies one of them.
            found.update(dict.fromkeys(certificates, name if len(certificates) == 1 else ""))
        return [Entry(name, certificate) for certificate, name in found.items()]

    def install(self, certificates: Sequence[x509.Certificate]) -> list[Step]:
        """See L{Store}."""
        create = () if self._exists() else commands.nss_create(self.directory)
        return [*create, *commands.nss_install(self.directory, certificates)]

    def remove(self, entries: Sequence[Entry]) -> list[Step]:
        """See L{Store}."""
        for entry in entries:
            if not entry.name:
                raise StoreFault(
                    f"{entry.fingerprint} shares its subject with another certificate; remove it in the browser"
                )
        return list(commands.nss_remove(self.directory, entries))

    def unwritable(self) -> str | None:
        """See L{Store}."""
        existing = next(path for path in (self.directory, *self.directory.parents) if path.exists())
        return _unless_writable(existing)


@attrs.frozen
class JavaTrustStore:
    """A trust store of Java.

    @ivar store: its file and commands.
    @ivar programs: run C{keytool}.
    """

    store: commands.JavaStore
    programs: Programs
    kind = "java"

    @property
    def where(self) -> str:
        """See L{Store}."""
        return str(self.store.path)

    def entries(self) -> list[Entry]:
        """See L{Store}."""
        return list(entries_of_keytool(self.programs.output(self.store.list())))

    def install(self, certificates: Sequence[x509.Certificate]) -> list[Step]:
        """See L{Store}."""
        return list(self.store.install(certificates))

    def remove(self, entries: Sequence[Entry]) -> list[Step]:
        """See L{Store}."""
        return list(self.store.remove(entries))

    def unwritable(self) -> str | None:
        """See L{Store}."""
        return _unless_writable(self.store.path, self.store.path.parent)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreFault(f"{path}: {error.strerror}; make it readable") from error


def system_stores(programs: Programs, platform: str = sys.platform) -> list[Store]:
    """Find the trust store of the operating system.

    @param platform: C{sys.platform}.
    """
    if platform == "darwin":
        return [MacStore(programs)]
    layout = commands.layout_of(os.path.isdir, lambda name: programs.find(name) is not None)
    return [] if layout is None else [SystemStore(layout)]


def nss_stores(programs: Programs) -> list[Store]:
    """Find the NSS databases of Chromium and Firefox of this user.

    If Chromium is installed and has no database, the result is the one that all of its versions would read.
    """
    home = Path(programs.environ.get("HOME") or Path.home())
    # Chromium reads the first of these that exists (nss/lib/sysinit; Chromium since version 146).
    data = Path(programs.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    shared = [*(home / path for path in _NSS), data / "pki" / "nssdb"]
    profiles = (found for path in _PROFILES for found in sorted((home / path).glob(f"*/{_NSS_MARK}")))
    found = [path for path in shared if (path / _NSS_MARK).exists()]
    if not found and any(programs.find(name) for name in _CHROMIUM):
        found = [home / _LEGACY_NSS]
    return [NssStore(path, programs) for path in (*found, *(path.parent for path in profiles))]


def java_stores(programs: Programs, password: str, homes: Iterable[Path] | None = None) -> list[Store]:
    """Find the trust stores of the Java installations.

    @param password: the password of the stores.
    @param homes: their directories; C{None}: every installation on this machine.
    """
    found: dict[Path, str] = {}
    for home in _java_homes(programs) if homes is None else homes:
        for path in (home / each for each in _CACERTS):
            keytool = _keytool(home, programs.find)
            if path.is_file() and keytool is not None:
                found.setdefault(path.resolve(), keytool)
    keytool = programs.find("keytool")
    if homes is None and keytool is not None and _DEBIAN_JAVA.is_file():
        found.setdefault(_DEBIAN_JAVA.resolve(), keytool)
    stores = (commands.JavaStore(path, keytool, password) for path, keytool in found.items())
    return [JavaTrustStore(store, programs) for store in stores]


def _java_homes(programs: Programs) -> Iterator[Path]:
    if programs.environ.get("JAVA_HOME"):
        yield Path(programs.environ["JAVA_HOME"])
    for name in ("java", "keytool"):
        program = programs.find(name)
        if program is not None:
            yield Path(program).resolve().parents[1]
    for directory in _JVMS:
        if directory.is_dir():
            for path in sorted(directory.iterdir()):
                yield path
                yield path / "Contents" / "Home"


def _keytool(home: Path, find: Callable[[str], str | None]) -> str | None:
    candidates = (home / "bin" / "keytool", home / "jre" / "bin" / "keytool")
    return next((str(path) for path in candidates if os.access(path, os.X_OK)), None) or find("keytool")


def find_stores(kinds: Iterable[str], programs: Programs, password: str) -> list[Store]:
    """Find the trust stores of some kinds.

    @param kinds: some of L{KINDS}.
    @param password: the password of the stores of Java.
    """
    finders: dict[str, Callable[[], list[Store]]] = {
        "system": lambda: system_stores(programs),
        "nss": lambda: nss_stores(programs),
        "java": lambda: java_stores(programs, password),
    }
    return [store for kind in KINDS if kind in kinds for store in finders[kind]()]
