"""The source of a proxy's CA: its own directory, or files that the operator provides."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from egress.config.model import ProxyConfig
from egress.tls.ca_certificates import Certificates
from egress.tls.ca_store import CaDirectory
from egress.tls.issuer import CaError, CertificateAuthority
from egress.tls.name_constraints import constraints_of, name_constraints
from egress.tls.provided_ca import ProvidedCa


class CaSource(Protocol):
    """Reads a CA; may be called any number of times."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of the CA."""

    @property
    def certificate_path(self) -> Path:
        """The file with the certificates."""

    @property
    def trust_path(self) -> Path:
        """The file with the certificates that clients trust."""

    def load(self, now: datetime) -> CertificateAuthority:
        """Read the CA.

        @raise egress.tls.issuer.CaError: names the file and the remedy.
        """

    def load_or_create(self, now: datetime) -> CertificateAuthority:
        """Read the CA; create it if there is none and the source supports that.

        @raise egress.tls.issuer.CaError: names the file and the remedy.
        """

    def certificates(self) -> Certificates:
        """Read the certificates, without using a key.

        @raise egress.tls.issuer.CaError: names the file and the remedy.
        """


def ca_source(config: ProxyConfig) -> CaSource:
    """Return the CA source of a configuration."""
    if config.ca_cert is not None and config.ca_key is not None:
        return ProvidedCa(config.ca_cert, config.ca_key, config.ca_root)
    return CaDirectory(config.ca_dir, config.ca_name_constraints)


def dry_run_ca(config: ProxyConfig, source: CaSource) -> tuple[CertificateAuthority, str | None]:
    """Create a CA in memory only, with the name constraints of the existing CA.

    The key of the existing CA is not read.

    @return: the CA, and a note if the existing CA cannot be read.
    """
    note = None
    try:
        found = source.certificates()
        limits = next(filter(None, map(constraints_of, (found.current, *found.chain))), None)
    except CaError:
        limits = name_constraints(config.ca_name_constraints) if config.ca_name_constraints else None
        note = "there is no CA; the proxy generates one when it starts"
    return CertificateAuthority.create("in memory", datetime.now(timezone.utc), limits=limits), note
