"""Where a proxy has its CA from: from a directory of its own, or from files that the operator gives."""

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
    """Reads a CA, as often as it is asked to."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that it is read from."""

    @property
    def certificate_path(self) -> Path:
        """The one with the certificates."""

    def load(self, now: datetime) -> CertificateAuthority:
        """Read it.

        @raise egress.tls.issuer.CaError: naming the file and the remedy.
        """

    def load_or_create(self, now: datetime) -> CertificateAuthority:
        """Read it; where there is none yet, and one may be made, make it.

        @raise egress.tls.issuer.CaError: naming the file and the remedy.
        """

    def certificates(self) -> Certificates:
        """Look at the certificates, without using a key.

        @raise egress.tls.issuer.CaError: naming the file and the remedy.
        """


def ca_source(config: ProxyConfig) -> CaSource:
    """Find out where the CA is."""
    if config.ca_cert is not None and config.ca_key is not None:
        return ProvidedCa(config.ca_cert, config.ca_key)
    return CaDirectory(config.ca_dir, config.ca_name_constraints)


def dry_run_ca(config: ProxyConfig, source: CaSource) -> tuple[CertificateAuthority, str | None]:
    """Make a CA that is never written down, under the name constraints of the one that is there.

    The key of that one is not read.

    @return: it, and what is to be said of the one that is there.
    """
    note = None
    try:
        found = source.certificates()
        limits = next(filter(None, map(constraints_of, (found.current, *found.chain))), None)
    except CaError:
        limits = name_constraints(config.ca_name_constraints) if config.ca_name_constraints else None
        note = "there is no CA that can be read; the proxy makes one when it starts"
    return CertificateAuthority.create("in memory", datetime.now(timezone.utc), limits=limits), note
