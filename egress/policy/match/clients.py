"""Client patterns: names and addresses."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

import attrs

from egress.policy.match.patterns import Pattern, compile_pattern

Network = IPv4Network | IPv6Network

_RANGE: Final = re.compile(r"[0-9.]+/.*|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:/.*)?|[0-9]+(?:\.[0-9]+){3}")


@attrs.frozen
class ClientName:
    """A pattern for the name of a client.

    @ivar exact: the pattern for permissions.
    @ivar broad: the pattern for denials; it ignores case.
    """

    exact: Pattern
    broad: Pattern


ClientTest = ClientName | Network


def compile_client(pattern: str) -> ClientTest:
    """Compile a client pattern: an address, an address range, or a name in which C{*} matches any text.

    @raise ValueError: if the pattern looks like a range but is not valid, or is empty.
    """
    if not pattern:
        raise ValueError("write a name, an address or a range")
    if _RANGE.fullmatch(pattern):
        try:
            return ip_network(pattern)
        except ValueError as error:
            raise ValueError(f"{error}; write an address, or a range as in 10.0.0.0/8") from None
    return ClientName(compile_pattern(pattern, broad=False), compile_pattern(pattern, broad=True))
