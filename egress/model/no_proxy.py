"""C{NO_PROXY}: the destinations that are contacted directly instead of through the upstream proxy."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

import attrs

from egress.model.authority import Authority, normalize_host
from egress.model.converters import checked, text
from egress.model.errors import InvalidTarget

# "192.168.*" and "169.254/16": fewer than four octets.  Leading zeros are rejected because they can mean octal.
_OCTET: Final = r"(?:0|[1-9][0-9]{0,2})"
_LEADING_OCTETS: Final = re.compile(rf"({_OCTET}(?:\.{_OCTET}){{0,2}})(?:\.\*){{1,3}}")
_SHORT_RANGE: Final = re.compile(rf"({_OCTET}(?:\.{_OCTET}){{0,2}})/([0-9]{{1,2}})")


@attrs.frozen
class HostPattern:
    """A host or a whole domain, with an optional port.

    @ivar host: a normalized host, without a leading dot.
    @ivar subdomains: whether subdomains match.
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

        @param text: the text to parse.
        @param suffix: whether a plain C{host} also matches its subdomains, as in C{NO_PROXY}.
        @raise InvalidTarget: if C{text} is not a valid pattern.
        """
        is_domain = text.startswith((".", "*."))
        if text.startswith("*") and not is_domain:
            raise InvalidTarget("write a whole domain as *.example.com")
        bare = text.removeprefix("*").removeprefix(".")
        # Port 1 is a placeholder: Authority.parse requires a port here.
        has_port = _has_port(bare)
        authority = Authority.parse(bare if has_port else f"{bare}:1")
        port = authority.port if has_port else None
        is_name = authority.ip is None
        return cls(authority.host, (is_domain or suffix) and is_name, not is_domain or suffix, port)

    def matches(self, authority: Authority) -> bool:
        """Whether an authority matches this pattern."""
        if self.port is not None and self.port != authority.port:
            return False
        if self.exact and authority.host == self.host:
            return True
        return self.subdomains and authority.host.endswith(f".{self.host}")


def _has_port(text: str) -> bool:
    return ":" in text.rpartition("]")[2]


def _network(entry: str) -> IPv4Network | IPv6Network | None:
    """Parse an address range: CIDR, also with fewer than four octets, or leading octets and C{*}.

    @return: the range; C{None} if the entry does not have the form of a range.
    @raise InvalidTarget: if the entry has the form of a range but is not valid.
    """
    octets = _LEADING_OCTETS.fullmatch(entry)
    short = _SHORT_RANGE.fullmatch(entry)
    if octets is not None:
        known = octets[1].split(".")
        if len(known) + entry.count("*") > 4:
            raise InvalidTarget("an IPv4 address must have four parts")
        entry = f"{'.'.join(known + ['0'] * (4 - len(known)))}/{8 * len(known)}"
    elif short is not None:
        entry = f"{short[1]}{'.0' * (3 - short[1].count('.'))}/{short[2]}"
    elif "/" not in entry:
        return None
    try:
        return ip_network(entry, strict=False)
    except ValueError as error:
        raise InvalidTarget("the range is not an address range, as in 10.0.0.0/8") from error


@attrs.frozen(field_transformer=checked(endings=text))
class Bypass:
    """A parsed C{NO_PROXY}.

    @ivar everything: whether the list contains a single C{*}, which matches every destination.
    @ivar hosts: the hosts, each with an optional port.
    @ivar networks: the address ranges.
    @ivar endings: suffixes that match at any position in a label (C{*example.com}).
    """

    everything: bool = False
    hosts: tuple[HostPattern, ...] = ()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    endings: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Bypass:
        """Parse a comma-separated list of hosts (each with its subdomains), addresses, C{host:port} and CIDR ranges.

        curl, Go, Python and Node accept these forms: C{.example.com}, C{*.example.com} and C{*example.com};
        C{10.0.0.0/8}, C{169.254/16} and C{192.168.*}; IPv6 addresses with and without brackets.

        @raise InvalidTarget: if an entry cannot be parsed; the reason does not quote it.
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
        """Whether an authority is contacted directly.  Names are not resolved for this check."""
        if self.everything or any(pattern.matches(authority) for pattern in self.hosts):
            return True
        address = authority.ip
        if address is None:
            return authority.host.endswith(self.endings)
        return any(address in network for network in self.networks)
