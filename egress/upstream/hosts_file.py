"""The hosts file of a machine: names that resolve without a query (hosts(5))."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from egress.model.authority import IPAddress, parse_ip

HOSTS: Final = Path("/etc/hosts")

# The maximum number of bytes that are read.
_MAX_BYTES: Final = 4 * 1024 * 1024

_LOOPBACK: Final = tuple(address for address in map(parse_ip, ("127.0.0.1", "::1")) if address is not None)

_log = Logger()


class HostsFile:
    """The names of a file like C{/etc/hosts}, read once.

    C{localhost} and its subdomains always resolve to this machine, regardless of the file (RFC 6761 section 6.3).
    """

    def __init__(self, names: Mapping[str, tuple[IPAddress, ...]]) -> None:
        self._names = names

    @classmethod
    def parse(cls, text: str) -> HostsFile:
        """Parse the lines of a file; invalid lines are skipped, as the system does."""
        names: dict[str, dict[IPAddress, None]] = {}
        for line in text.splitlines():
            address_text, *found = line.partition("#")[0].split() or ("",)
            address = parse_ip(address_text.partition("%")[0])
            if address is not None:
                for name in found:
                    names.setdefault(name.lower().removesuffix("."), {})[address] = None
        return cls({name: tuple(addresses) for name, addresses in names.items()})

    @classmethod
    def load(cls, path: Path = HOSTS) -> HostsFile:
        """Read a file; a missing file contains no names."""
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_BYTES)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                _log.warn("{path} cannot be read: {error}", path=str(path), error=error.strerror)
            data = b""
        return cls.parse(data.decode("utf-8", "replace"))

    def addresses(self, host: str) -> tuple[IPAddress, ...] | None:
        """Return the addresses of a name, or C{None} if the file does not contain it."""
        if host == "localhost" or host.endswith(".localhost"):
            return _LOOPBACK
        return self._names.get(host)
