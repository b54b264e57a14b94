"""Patterns for hosts."""

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
class Anything:
    """Every host."""

    def __call__(self, _: Authority) -> bool:
        return True


@attrs.frozen
class PrivateLiteral:
    """Literal addresses of internal networks."""

    def __call__(self, authority: Authority) -> bool:
        address = authority.ip
        return address is not None and is_private(address)


@attrs.frozen
class SingleLabel:
    """Names without a dot."""

    def __call__(self, authority: Authority) -> bool:
        return "." not in authority.host and authority.ip is None


@attrs.frozen
class Within:
    """Literal addresses in a range, or such that lead into it (L{embedded})."""

    network: IPv4Network | IPv6Network
    port: int | None = None

    def __call__(self, authority: Authority) -> bool:
        address = authority.ip
        if address is None or self.port not in (None, authority.port):
            return False
        return address in self.network or embedded(address) in self.network


@attrs.frozen
class Named:
    """A host, or what is below it."""

    host: str
    below: bool
    port: int | None

    def __call__(self, authority: Authority) -> bool:
        if self.port not in (None, authority.port):
            return False
        return authority.host.endswith(f".{self.host}") if self.below else authority.host == self.host


@attrs.frozen
class Matching:
    """Hosts, in their normal form, that a regular expression matches."""

    pattern: Pattern

    def __call__(self, authority: Authority) -> bool:
        return self.pattern(authority.host)


HostTest = Anything | PrivateLiteral | SingleLabel | Within | Named | Matching


def matches_addresses(test: HostTest) -> bool:
    """Whether a pattern is about addresses and not about names."""
    return isinstance(test, (Within, PrivateLiteral))


def compile_host(pattern: str) -> HostTest:
    """Compile a host pattern.

    C{example.com}; C{*.example.com} or C{.example.com} for what is below it; an address; each with an optional port.
    C{*}; a CIDR range or C{private} for literal addresses; C{single-label} for names without a dot; C{re:} before a
    regular expression for the whole host.

    @raise egress.model.errors.InvalidTarget: when it is none of these.
    @raise ValueError: likewise, and for what could never match.
    """
    if pattern == "*":
        return Anything()
    if pattern == "private":
        return PrivateLiteral()
    if pattern == "single-label":
        return SingleLabel()
    if pattern.startswith(REGEX):
        # Hosts have no upper case, whatever the expression has.
        return Matching(compile_regex(pattern.removeprefix(REGEX), broad=True))
    if "/" in pattern:
        return Within(_network(pattern))
    if pattern.startswith("*") and not pattern.startswith("*."):
        raise ValueError("* stands for everything, or before a dot for what is below a host, as in *.example.com")
    if pattern.count(":") > 1 and not pattern.startswith("["):
        pattern = f"[{pattern}]"
    parsed = HostPattern.parse(pattern, suffix=False)
    address = parse_ip(parsed.host)
    if address is None:
        return Named(parsed.host, not parsed.exact, parsed.port)
    if not parsed.exact:
        raise ValueError("there is nothing below an address; write a range, as in 10.0.0.0/8")
    return Within(ip_network(address), parsed.port)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        # Of a URL, a message about networks would lead astray.
        what = error if text[:1].isdecimal() or text.startswith("[") else "there is no scheme and no path in it"
        raise ValueError(f"{what}; write a host alone, as in example.com, or a range, as in 10.0.0.0/8") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        raise ValueError("addresses of this kind are read as IPv4; write an IPv4 range")
    return network
