"""The certificates that a trust store has, and the certificates that it should have."""

from __future__ import annotations

import enum
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final

import attrs
from cryptography import x509
from cryptography.x509.oid import NameOID

from egress.tls.issuer import CaError, fingerprint_of, pem_of, read_certificates

if TYPE_CHECKING:
    from egress.tls.ca_certificates import Certificates

# The common name of every CA that the proxy generates starts with this text.
_GENERATED: Final = "egressproxy CA"
_PREFIX: Final = "egressproxy-"
_DIGITS: Final = 16
_BLOCK: Final = re.compile(b"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class State(enum.Enum):
    """The state of a trust store.

    @cvar TRUSTED: the store has all certificates.
    @cvar NOT_TRUSTED: a certificate is missing.
    @cvar OLD_CA: a certificate is missing, and the store has an earlier CA.
    @cvar EXPIRED: the certificate of the CA has expired, so clients reject it in any store.
    """

    TRUSTED = "trusted"
    NOT_TRUSTED = "not trusted"
    OLD_CA = "old CA"
    EXPIRED = "expired"


@attrs.frozen
class Entry:
    """A certificate in a store.

    @ivar name: its name in the store: an alias, a nickname, or the path of a file; empty if it has none.
    @ivar certificate: the certificate.
    """

    name: str
    certificate: x509.Certificate

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate."""
        return fingerprint_of(self.certificate)


def anchor_name(certificate: x509.Certificate) -> str:
    """Return the name of a certificate in a store, which differs between CAs."""
    return _PREFIX + fingerprint_of(certificate).replace(":", "").lower()[:_DIGITS]


def pem_text(certificate: x509.Certificate) -> bytes:
    """Serialize a certificate as PEM."""
    return pem_of(certificate)


def certificates_in_text(text: bytes) -> Iterator[x509.Certificate]:
    """Yield the certificates in a text in PEM, and skip what cannot be parsed."""
    with warnings.catch_warnings():
        # Some CAs have certificates with small errors, which later versions of cryptography reject.
        warnings.simplefilter("ignore")
        for block in _BLOCK.findall(text):
            with suppress(CaError):
                yield from read_certificates(block)


@attrs.frozen
class Wanted:
    """The certificates that a store should have.

    @ivar trusted: the certificates to trust; the first one is the current one.
    @ivar past: the fingerprints of earlier CAs, which are no longer trusted.
    """

    trusted: tuple[x509.Certificate, ...]
    past: frozenset[str] = frozenset()

    @classmethod
    def of(cls, certificates: Certificates, now: datetime) -> Wanted:
        """Return the certificates to trust of the CAs of a proxy."""
        trusted = certificates.trusted(now)
        past = {fingerprint_of(each) for each in certificates.past} - {fingerprint_of(each) for each in trusted}
        return cls(trusted, frozenset(past))

    def missing(self, entries: Iterable[Entry]) -> list[x509.Certificate]:
        """Return the certificates that a store does not have."""
        present = {entry.fingerprint for entry in entries}
        return [each for each in self.trusted if fingerprint_of(each) not in present]

    def old(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return the certificates of earlier CAs, and of other CAs that a proxy generated."""
        trusted = {fingerprint_of(each) for each in self.trusted}
        return [
            entry
            for entry in entries
            if entry.fingerprint not in trusted and (entry.fingerprint in self.past or _is_generated(entry.certificate))
        ]

    def own(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return the certificates of this CA, by their fingerprints."""
        known = {fingerprint_of(each) for each in self.trusted} | self.past
        return [entry for entry in entries if entry.fingerprint in known]

    def state(self, entries: Sequence[Entry], now: datetime) -> State:
        """Return the state of a store."""
        if self.trusted[0].not_valid_after_utc <= now:
            return State.EXPIRED
        if not self.missing(entries):
            return State.TRUSTED
        return State.OLD_CA if self.old(entries) else State.NOT_TRUSTED


def _is_generated(certificate: x509.Certificate) -> bool:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return any(str(name.value).startswith(_GENERATED) for name in names)
