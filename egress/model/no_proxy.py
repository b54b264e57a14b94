"""Which destinations are contacted directly, past the upstream proxy (C{NO_PROXY})."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

import attrs

from egress.model.authority import Authority, normalize_host
from egress.model.converters import checked, text
from egress.model.errors import InvalidTarget

# "192.168.*" and "169.254/16": fewer than four octets.  Octets have no leading zeros, which some read as octal.
_OCTET: Final = r"(?:0|[1-9][0-9]{0,2})"
_LEADING_OCTETS: Final = re.compile(rf"({_OCTET}(?:\.{_OCTET}){{0,2}})(?:\.\*){{1,3}}")
_SHORT_RANGE: Final = re.compile(rf"({_OCTET}(?:\.{_OCTET}){{0,2}})/([0-9]{{1,2}})")


@attrs.frozen
class HostPattern:
    """A host, or a whole domain, with an optional port.

    @ivar host: a normalized host, without a leading dot.
    @ivar subdomains: whether hosts below it match.
    @ivar exact: whether the host itself matches.
    @ivar port: C{None} matches every port.
    """

    host: str
    subdomains: bool
    exact: bool
    port: int | None = None

    @classmethod
    def parse(cls, text: str, *, suffix: bool) -> HostPattern:
        """Parse C{host}, C{.host} or C{*.host}, each with an optional C{:port}.

        @param suffix: whether a plain C{host} also matches what is below it, as in C{NO_PROXY}.
        @raise InvalidTarget: when it cannot be read.
        """
        below = text.startswith((".", "*."))
        if text.startswith("*") and not below:
            raise InvalidTarget("a whole domain is written *.example.com")
        bare = text.removeprefix("*").removeprefix(".")
        # A port that cannot occur stands for "none given".
        has_port = _has_port(bare)
        authority = Authority.parse(bare if has_port else f"{bare}:1")
        port = authority.port if has_port else None
        is_name = authority.ip is None
        return cls(authority.host, (below or suffix) and is_name, not below or suffix, port)

    def matches(self, authority: Authority) -> bool:
        """Whether an authority falls under this pattern."""
        if self.port is not None and self.port != authority.port:
            return False
        if self.exact and authority.host == self.host:
            return True
        return self.subdomains and authority.host.endswith(f".{self.host}")


def _has_port(text: str) -> bool:
    return ":" in text.rpartition("]")[2]


def _network(entry: str) -> IPv4Network | IPv6Network | None:
    """Read a range of addresses: CIDR, also with fewer than four octets, or leading octets and C{*}.

    @return: C{None} for what is none.
    @raise InvalidTarget: for what is nearly one.
    """
    octets = _LEADING_OCTETS.fullmatch(entry)
    short = _SHORT_RANGE.fullmatch(entry)
    if octets is not None:
        known = octets[1].split(".")
        if len(known) + entry.count("*") > 4:
            raise InvalidTarget("an address has four parts")
        entry = f"{'.'.join(known + ['0'] * (4 - len(known)))}/{8 * len(known)}"
    elif short is not None:
        entry = f"{short[1]}{'.0' * (3 - short[1].count('.'))}/{short[2]}"
    elif "/" not in entry:
        return None
    try:
        return ip_network(entry, strict=False)
    except ValueError as error:
        raise InvalidTarget("the range is not one of addresses, as in 10.0.0.0/8") from error


@attrs.frozen(field_transformer=checked(endings=text))
class Bypass:
    """A parsed C{NO_PROXY}.

    @ivar everything: a lone C{*}.
    @ivar endings: with what a host may end, wherever its labels begin (C{*example.com}).
    """

    everything: bool = False
    hosts: tuple[HostPattern, ...] = ()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    endings: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Bypass:
        """Parse a comma-separated list of hosts (each with what is below it), addresses, C{host:port} and CIDR ranges.

        These are the forms that curl, Go, Python and Node read: C{.example.com}, C{*.example.com} and C{*example.com};
        C{10.0.0.0/8}, C{169.254/16} and C{192.168.*}; IPv6 addresses with and without brackets.

        @raise InvalidTarget: when an entry cannot be read; the reason does not quote it.
        """
        hosts: list[HostPattern] = []
        networks: list[IPv4Network | IPv6Network] = []
        endings: list[str] = []
        everything = False
        for entry in filter(None, (part.strip() for part in text.split(","))):
            if entry == "*":
                everything = True
            elif (network := _network(entry)) is not None:
                networks.append(network)
            elif entry[0] == "*" and entry[1:2] not in (".", "*"):
                endings.append(normalize_host(entry[1:]))
            elif entry.count(":") > 1 and not entry.startswith("["):
                hosts.append(HostPattern(normalize_host(f"[{entry}]"), subdomains=False, exact=True))
            else:
                hosts.append(HostPattern.parse(entry, suffix=True))
        return cls(everything, tuple(hosts), tuple(networks), tuple(endings))

    def matches(self, authority: Authority) -> bool:
        """Whether an authority is contacted directly.  Names are not resolved for this."""
        if self.everything or any(pattern.matches(authority) for pattern in self.hosts):
            return True
        address = authority.ip
        if address is None:
            return authority.host.endswith(self.endings)
        return any(address in network for network in self.networks)
