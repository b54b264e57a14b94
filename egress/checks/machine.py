"""The facts about this machine: its CA, its files, its limits and its versions."""

from __future__ import annotations

import json
import os
import platform
import stat
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path

from cryptography import x509
from OpenSSL import SSL

from egress import __version__
from egress.checks.judgements import CaFacts
from egress.config.model import Limits, ProxyConfig
from egress.runtime.rlimits import clamp_to, hard_limit
from egress.tls.ca_certificates import Certificates
from egress.tls.ca_source import CaSource, ca_source
from egress.tls.issuer import CaError, ends_soon, pem_of, read_certificates

_DISTRIBUTION = "egressproxy"
_READ_BY_OTHERS = 0o077
CLIENT_FILES = "clients"
"""The directory below that of the CA with the files of clients."""


def certificates(source: CaSource) -> Certificates:
    """Read the certificates of the CA; another user may have only the published ones.

    @raise CaError: naming the file and the fix.
    """
    try:
        return source.certificates()
    except CaError:
        # The key, in the same file, may be readable only for the user of the proxy.
        try:
            current, *others = read_certificates(source.certificate_path.read_bytes())
        except (OSError, CaError):
            pass
        else:
            return Certificates(current, past=tuple(others))
        raise


def ca_facts(config: ProxyConfig, now: datetime, leaf: x509.Certificate | None) -> CaFacts:
    """Collect the facts about the CA.

    @param config: names the CA.
    @param now: the current time, with a time zone.
    @param leaf: the certificate that the proxy presents.
    """
    source = ca_source(config)
    if not any(path.exists() for path in source.paths):
        return CaFacts(missing=True)
    try:
        found = certificates(source)
    except CaError as error:
        return CaFacts(problem=str(error))
    certificate = found.current
    return CaFacts(
        begin=certificate.not_valid_before_utc,
        end=certificate.not_valid_after_utc,
        ends_soon=ends_soon(certificate.not_valid_before_utc, certificate.not_valid_after_utc, now),
        exposed=next((path for path in source.paths if path != source.certificate_path and _exposed(path)), None),
        signed=None if leaf is None else _signed_by(leaf, found),
    )


def _exposed(path: Path) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    # A sandbox hides the key behind an empty file.
    return stat.S_ISREG(found.st_mode) and found.st_size > 0 and bool(found.st_mode & _READ_BY_OTHERS)


def _signed_by(leaf: x509.Certificate, found: Certificates) -> bool:
    """Tell whether the current CA, or an earlier one, signed a certificate."""
    return any(_signed(leaf, each) for each in (found.current, *found.past))


def _signed(leaf: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(by)
    except Exception:  # noqa: BLE001 - one of several types, by the kind of the key
        return False
    return True


def ca_files(config: ProxyConfig, leaf: x509.Certificate | None) -> tuple[Path | None, Path | None]:
    """Return the files with the CA of the proxy, and with all CAs, that clients on this machine can trust.

    A CA that did not sign the certificate of the proxy does not count, and neither does a bundle of an earlier CA.

    @param config: names the CA.
    @param leaf: the certificate that the proxy presents, if it is known.
    """
    source = ca_source(config)
    path = source.trust_path.absolute()
    if not path.exists():
        return None, None
    bundle = config.ca_dir.absolute() / CLIENT_FILES / "bundle.pem"
    try:
        found = certificates(source)
    except CaError:
        return None, None
    if leaf is not None and not _signed_by(leaf, found):
        return None, None
    try:
        return path, bundle if pem_of(found.current) in bundle.read_bytes() else None
    except OSError:
        return path, None


def ca_options(config: ProxyConfig) -> tuple[str, ...]:
    """Return the options of C{egress env} that select the CA; empty for the default."""
    if config.ca_cert is not None and config.ca_key is not None:
        root = () if config.ca_root is None else ("--ca-root", str(config.ca_root))
        return ("--ca-cert", str(config.ca_cert), "--ca-key", str(config.ca_key), *root)
    return () if config.ca_dir == ProxyConfig().ca_dir else ("--ca-dir", str(config.ca_dir.absolute()))


def possible_connections(limits: Limits) -> int:
    """Return the number of connections that the limit of open files permits."""
    return clamp_to(limits, hard_limit()).connections


def versions() -> tuple[dict[str, str], list[str], str]:
    """Return the installed versions, the requirements of this package, and the version of OpenSSL."""
    found = {"egressproxy": __version__, "python": platform.python_version()}
    for each in metadata.distributions():
        found.setdefault((each.metadata["Name"] or "").lower(), each.version)
    try:
        required = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        # Run from its source tree.
        required = []
    return found, [each for each in required if "extra ==" not in each], SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode()


def docker_config(environ: Mapping[str, str]) -> Mapping[str, object]:
    """Return the configuration of the Docker client; empty if it cannot be read."""
    folder = environ.get("DOCKER_CONFIG") or os.path.join(environ.get("HOME", ""), ".docker")
    try:
        found = json.loads((Path(folder) / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def readable(name: str) -> bool:
    """Tell whether a file can be read."""
    return os.path.isfile(name) and os.access(name, os.R_OK)
