"""Which destinations are contacted directly, past the upstream proxy (C{NO_PROXY})."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

import attrs

from egress.model.authority import Authority, normalize_host
from egress.model.errors import InvalidTarget


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
            raise InvalidTarget(f"{text!r} is not a host; a whole domain is written *.example.com")
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


@attrs.frozen
class Bypass:
    """A parsed C{NO_PROXY}.

    @ivar everything: a lone C{*}.
    """

    everything: bool = False
    hosts: tuple[HostPattern, ...] = ()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Bypass:
        """Parse a comma-separated list of hosts (each with what is below it), addresses, C{host:port} and CIDR ranges.

        @raise InvalidTarget: naming the entry that cannot be read.
        """
        hosts: list[HostPattern] = []
        networks: list[IPv4Network | IPv6Network] = []
        everything = False
        for entry in filter(None, (part.strip() for part in text.split(","))):
            if entry == "*":
                everything = True
            elif "/" in entry:
                try:
                    networks.append(ip_network(entry, strict=False))
                except ValueError as error:
                    raise InvalidTarget(f"{entry!r} is not a CIDR range") from error
            elif entry.count(":") > 1 and not entry.startswith("["):
                hosts.append(HostPattern(normalize_host(f"[{entry}]"), subdomains=False, exact=True))
            else:
                hosts.append(HostPattern.parse(entry, suffix=True))
        return cls(everything, tuple(hosts), tuple(networks))

    def matches(self, authority: Authority) -> bool:
        """Whether an authority is contacted directly.  Names are not resolved for this."""
        if self.everything or any(pattern.matches(authority) for pattern in self.hosts):
            return True
        address = authority.ip
        return address is not None and any(address in network for network in self.networks)
