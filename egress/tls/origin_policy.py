"""TLS settings for single origins: a TOML file with one table for each.

An example::

  [[origin]]
  hosts = ["api.partner.example", "*.bank.example:8443"]
  client-certificate = "partner.pem"
  minimum-version = "TLSv1.3"
  ca = "partner-ca.pem"
  http2 = false

Unknown settings are rejected, and no setting makes an origin easier to trust.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import attrs
from OpenSSL import SSL

from egress.config.settings_table import SettingsTable
from egress.model.authority import Authority
from egress.model.no_proxy import HostPattern
from egress.model.toml import parse_toml
from egress.tls.pem import TrustError

_KEYS: Final = ("hosts", "client-certificate", "minimum-version", "ca", "http2")
_VERSIONS: Final = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}


@attrs.frozen(kw_only=True)
class OriginTlsPolicy:
    """The TLS settings of some origins.

    @ivar hosts: the patterns of the origins.
    @ivar client_certificate: a PEM file with the proxy's certificate for these origins, its chain and its key; C{None}:
        no client certificate.
    @ivar minimum_version: the oldest accepted version of TLS, as OpenSSL's number.
    @ivar ca: a PEM file with the only certificates to trust for these origins; C{None}: the default trust applies.
    @ivar http2: whether HTTP/2 is offered to these origins; C{None}: the default applies.
    """

    hosts: tuple[HostPattern, ...]
    client_certificate: Path | None = None
    minimum_version: int = SSL.TLS1_2_VERSION
    ca: Path | None = None
    http2: bool | None = None

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
    settings = SettingsTable(where, table, _KEYS, TrustError)
    if len(table) < 2:
        raise settings.error(f"has no settings; add one of {', '.join(_KEYS[1:])}")
    version = settings.text("minimum-version") or "TLSv1.2"
    if version not in _VERSIONS:
        raise settings.error(f"'minimum-version' must be one of {', '.join(_VERSIONS)}, not {version!r}")
    return OriginTlsPolicy(
        hosts=settings.hosts("be a list of hosts"),
        client_certificate=settings.path("client-certificate", directory),
        minimum_version=_VERSIONS[version],
        ca=settings.path("ca", directory),
        http2=settings.flag("http2"),
    )
