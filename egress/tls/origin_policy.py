"""Stricter TLS settings for single origins: a TOML file with one table for each.

An example::

  [[origin]]
  hosts = ["api.partner.example", "*.bank.example:8443"]
  client-certificate = "partner.pem"
  minimum-version = "TLSv1.3"
  ca = "partner-ca.pem"

Unknown settings are rejected, and no setting makes an origin easier to trust.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import attrs
from OpenSSL import SSL

from egress.model.authority import Authority
from egress.model.errors import InvalidTarget
from egress.model.no_proxy import HostPattern
from egress.model.toml import parse_toml
from egress.tls.pem import TrustError

_KEYS: Final = ("hosts", "client-certificate", "minimum-version", "ca")
_VERSIONS: Final = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}


@attrs.frozen(kw_only=True)
class OriginTlsPolicy:
    """The TLS settings of some origins.

    @ivar hosts: the patterns of the origins.
    @ivar client_certificate: a PEM file with the proxy's certificate for these origins, its chain and its key; C{None}:
        no client certificate.
    @ivar minimum_version: the oldest accepted version of TLS, as OpenSSL's number.
    @ivar ca: a PEM file with the only certificates to trust for these origins; C{None}: the default trust applies.
    """

    hosts: tuple[HostPattern, ...]
    client_certificate: Path | None = None
    minimum_version: int = SSL.TLS1_2_VERSION
    ca: Path | None = None

    def applies_to(self, authority: Authority) -> bool:
        """Tell whether the settings apply to an authority."""
        return any(pattern.matches(authority) for pattern in self.hosts)


def load_origin_policies(path: Path) -> tuple[OriginTlsPolicy, ...]:
    """Read a file.

    @raise TrustError: if it cannot be read or contains invalid settings.
    """
    try:
        document = parse_toml(path.read_text("utf-8"))
    except OSError as error:
        raise TrustError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TrustError(f"{path}: is not UTF-8; save it as UTF-8 text") from error
    except ValueError as error:
        raise TrustError(f"{path}: is not TOML: {error}") from None
    tables = document.pop("origin", None)
    if document or not isinstance(tables, list) or not tables:
        raise TrustError(f"{path}: write [[origin]] before each table, and nothing else")
    return tuple(_policy(f"{path}, origin {number}", table, path.parent) for number, table in enumerate(tables, 1))


def _policy(where: str, table: Any, directory: Path) -> OriginTlsPolicy:
    if not isinstance(table, dict):
        raise TrustError(f"{where}: must be a table; write [[origin]] before it")
    for key in table:
        if key not in _KEYS:
            raise TrustError(f"{where}: {key!r} is not known here; use {', '.join(_KEYS)}")
    if len(table) < 2:
        raise TrustError(f"{where}: has no settings; add one of {', '.join(_KEYS[1:])}")
    version = _text(where, table, "minimum-version") or "TLSv1.2"
    if version not in _VERSIONS:
        raise TrustError(f"{where}: 'minimum-version' must be one of {', '.join(_VERSIONS)}, not {version!r}")
    certificate, ca = _text(where, table, "client-certificate"), _text(where, table, "ca")
    return OriginTlsPolicy(
        hosts=_hosts(where, table.get("hosts")),
        client_certificate=None if certificate is None else directory / certificate,
        minimum_version=_VERSIONS[version],
        ca=None if ca is None else directory / ca,
    )


def _text(where: str, table: dict[str, Any], key: str) -> str | None:
    value = table.get(key)
    if value is not None and (not isinstance(value, str) or not value or "\0" in value):
        raise TrustError(f"{where}: {key!r} must be a string")
    return value


def _hosts(where: str, value: object) -> tuple[HostPattern, ...]:
    if not isinstance(value, list) or not value:
        raise TrustError(f'{where}: \'hosts\' must be a list of hosts, as in ["api.example.com", "*.example.org:8443"]')
    patterns = []
    for text in value:
        try:
            patterns.append(HostPattern.parse(text if isinstance(text, str) else "", suffix=False))
        except InvalidTarget as error:
            raise TrustError(f"{where}: hosts {text!r}: {error.reason}") from error
    return tuple(patterns)
