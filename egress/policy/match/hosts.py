"""Host patterns."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

import attrs

from egress.model.address_classes import embedded, is_private
from egress.model.authority import Authority, parse_ip
from egress.model.no_proxy import HostPattern
from egress.policy.match.patterns import REGEX, Pattern, compile_regex

_MAPPED: Final = IPv6Network("::ffff:0:0/96")


@attrs.frozen
class AnyHost:
    """A pattern that matches every host."""

    def __call__(self, _: Authority) -> bool:
        return True


@attrs.frozen
class PrivateLiteral:
    """A pattern that matches address literals of internal networks."""

    def __call__(self, authority: Authority) -> bool:
        address = authority.ip
        return address is not None and is_private(address)


@attrs.frozen
class SingleLabel:
    """A pattern that matches names without a dot."""

    def __call__(self, authority: Authority) -> bool:
        return "." not in authority.host and authority.ip is None


@attrs.frozen
class AddressRange:
    """A pattern that matches address literals in a range, or that embed an address in the range (L{embedded}).

    @ivar network: the range.
    @ivar port: C{None} matches every port.
    """

    network: IPv4Network | IPv6Network
    port: int | None = None

    def __call__(self, authority: Authority) -> bool:
        address = authority.ip
        if address is None or self.port not in (None, authority.port):
            return False
        return address in self.network or embedded(address) in self.network


@attrs.frozen
class HostName:
    """A pattern that matches a host, or its subdomains.

    @ivar host: a normalized host.
    @ivar subdomains: whether the pattern matches the subdomains instead of the host.
    @ivar port: C{None} matches every port.
    """

    host: str
    subdomains: bool
    port: int | None

    def __call__(self, authority: Authority) -> bool:
        if self.port not in (None, authority.port):
            return False
        return authority.host.endswith(f".{self.host}") if self.subdomains else authority.host == self.host


@attrs.frozen
class HostRegex:
    """A pattern that matches normalized hosts by a regular expression.

    @ivar pattern: the compiled expression.
    """

    pattern: Pattern

    def __call__(self, authority: Authority) -> bool:
        return self.pattern(authority.host)


HostTest = AnyHost | PrivateLiteral | SingleLabel | AddressRange | HostName | HostRegex


def matches_addresses(test: HostTest) -> bool:
    """Whether a pattern matches addresses rather than names."""
    return isinstance(test, (AddressRange, PrivateLiteral))


def compile_host(pattern: str) -> HostTest:
    """Compile a host pattern.

    C{example.com}; C{*.example.com} or C{.example.com} for subdomains; an address; each with an optional port.
    C{*}; a CIDR range or C{private} for address literals; C{single-label} for names without a dot; C{re:} followed by
    a regular expression for the whole host.

    @raise egress.model.errors.InvalidTarget: if the host is not valid.
    @raise ValueError: if the pattern is not valid in another way, or can never match.
    """
    if pattern == "*":
        return AnyHost()
    if pattern == "private":
        return PrivateLiteral()
    if pattern == "single-label":
        return SingleLabel()
    if pattern.startswith(REGEX):
        # Normalized hosts are in lower case, whatever case the expression uses.
        return HostRegex(compile_regex(pattern.removeprefix(REGEX), broad=True))
    if "/" in pattern:
        return AddressRange(_network(pattern))
    if pattern.startswith("*") and not pattern.startswith("*."):
        raise ValueError("write * for everything, or before a dot for the subdomains of a host, as in *.example.com")
    if pattern.count(":") > 1 and not pattern.startswith("["):
        pattern = f"[{pattern}]"
    parsed = HostPattern.parse(pattern, suffix=False)
    address = parse_ip(parsed.host)
    if address is None:
        return HostName(parsed.host, not parsed.exact, parsed.port)
    if not parsed.exact:
        raise ValueError("an address has no subdomains; write a range, as in 10.0.0.0/8")
    return AddressRange(ip_network(address), parsed.port)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        # For a URL, a message about networks would be misleading.
        what = error if text[:1].isdecimal() or text.startswith("[") else "a host has no scheme and no path"
        raise ValueError(f"{what}; write a host, as in example.com, or a range, as in 10.0.0.0/8") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        raise ValueError("such addresses are interpreted as IPv4; write an IPv4 range")
    return network
