"""The table of secrets that decisions can put into requests: their sources and permitted hosts, from TOML.

An example::

  [github]
  file = "github-token"
  hosts = ["api.github.com", "*.example.org:8443"]

  [cloud]
  command = ["cloud", "print-token"]
  refresh = "10m"
  hosts = ["api.cloud.example"]

A decision names a secret as C{${secret:github}} in the value of a field.  A secret is sent only to its hosts, whatever
decision names it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import attrs

from egress.config.settings_table import SettingsTable
from egress.model.authority import Origin
from egress.model.no_proxy import HostPattern
from egress.model.toml import NotToml, parse_toml

COMMAND_REFRESH: Final = 300.0

_KEYS: Final = ("file", "env", "command", "hosts", "refresh", "plain_http")
_SOURCES: Final = _KEYS[:3]
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_NAMED: Final = re.compile(rb"\$\{secret:([A-Za-z0-9][A-Za-z0-9_.-]{0,63})\}")
_DURATION: Final = re.compile(r"([0-9]{1,9})(s|m|h)")
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}


class SecretTableError(Exception):
    """The file cannot be used.

    @ivar reason: one line with the location and the fix.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@attrs.frozen(kw_only=True)
class Secret:
    """One secret, without its value.

    @ivar name: the name that decisions use.
    @ivar hosts: the hosts to which the secret may be sent.
    @ivar file: a file that contains only the secret.
    @ivar env: the environment variable that contains the secret.
    @ivar command: a program that prints the secret, and its arguments.
    @ivar refresh: seconds after which the secret is read again.
    @ivar plain_http: whether the secret may be sent without TLS.
    """

    name: str
    hosts: tuple[HostPattern, ...]
    file: Path | None = None
    env: str | None = None
    command: tuple[str, ...] = ()
    refresh: float = math.inf
    plain_http: bool = False

    def refusal(self, origin: Origin) -> str | None:
        """Return why the secret may not be sent to an origin.

        @return: C{None} if it may.
        """
        if not any(pattern.matches(origin.authority) for pattern in self.hosts):
            return f"the secret {self.name} may not be sent to {origin.authority}"
        if origin.scheme != "https" and not self.plain_http:
            return f"the secret {self.name} may not be sent without TLS"
        return None


@attrs.frozen
class SecretTable:
    """All secrets of a file.

    @ivar secrets: the secrets by name.
    """

    secrets: Mapping[str, Secret]

    def files(self) -> tuple[Path, ...]:
        """Return the files that contain secrets."""
        return tuple(secret.file for secret in self.secrets.values() if secret.file is not None)

    def missing(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the names without a secret, in order."""
        return tuple(sorted(name for name in set(names) if name not in self.secrets))


def secret_names(value: bytes) -> frozenset[str]:
    """Return the names of the secrets in the value of a field."""
    return frozenset(name.decode("ascii") for name in _NAMED.findall(value))


def filled(value: bytes, secrets: Mapping[str, bytes]) -> bytes:
    """Replace the names of secrets in a value, once: names in the values of secrets are not replaced.

    @param value: the value of a header field.
    @param secrets: contains every name that L{secret_names} finds.
    """
    return _NAMED.sub(lambda match: secrets[match[1].decode("ascii")], value)


def parse_secret_table(text: str, where: str, directory: Path) -> SecretTable:
    """Parse the text of a file.

    @param text: TOML.
    @param where: the name of the file in errors.
    @param directory: the base of relative paths.
    @raise SecretTableError: for any invalid content.
    """
    try:
        document = parse_toml(text)
    except NotToml:
        # The message of the parser may quote the text, which may contain a secret by mistake.
        raise SecretTableError(f"{where}: is not valid TOML") from None
    return SecretTable({name: _secret(where, name, table, directory) for name, table in document.items()})


def _secret(where: str, name: str, table: object, directory: Path) -> Secret:
    if not isinstance(table, dict) or not _NAME.fullmatch(name):
        # Do not show the name either: in NAME = "value" the value is in the wrong place, and a name may be a secret by
        # mistake.
        raise SecretTableError(
            f"{where}: write a table for each secret, as in [github], with a name of up to 64 letters, digits, "
            "'.', '_' and '-'"
        )
    settings = SettingsTable(f"{where}, secret {name}", table, _KEYS, SecretTableError)
    if sum(key in table for key in _SOURCES) != 1:
        raise settings.error(f"set exactly one of {', '.join(_SOURCES)}")
    plain_http = settings.get("plain_http", False)
    if not isinstance(plain_http, bool):
        raise settings.error("'plain_http' must be true or false")
    file = settings.path("file", directory)
    command = _command(settings, directory)
    return Secret(
        name=name,
        hosts=settings.hosts("list its permitted destinations"),
        file=file,
        env=_variable(settings),
        command=command,
        refresh=_refresh(settings, COMMAND_REFRESH if command else math.inf),
        plain_http=plain_http,
    )


def _variable(settings: SettingsTable) -> str | None:
    name = settings.text("env")
    if name is not None and "=" in name:
        raise settings.error("'env' must be a string")
    return name


def _command(settings: SettingsTable, directory: Path) -> tuple[str, ...]:
    value = settings.get("command")
    if value is None:
        return ()
    words = value if isinstance(value, list) else []
    if not words or not words[0] or not all(isinstance(part, str) and "\0" not in part for part in words):
        raise settings.error('\'command\' must be a list, as in ["program", "argument"]; there is no shell')
    program, *arguments = words
    # A name without a slash is looked up in PATH, as usual.
    return (str(directory / program) if "/" in program else program, *arguments)


def _refresh(settings: SettingsTable, default: float) -> float:
    value = settings.get("refresh")
    if value is None:
        return default
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not seconds:
        raise settings.error('\'refresh\' must be a duration, as in "30s", "5m" or "1h"')
    return seconds
