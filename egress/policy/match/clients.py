"""Patterns for clients: by name, or by address."""

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
    """The name that a client has.

    @ivar exact: for permissions.
    @ivar broad: for denials, to which case makes no difference.
    """

    exact: Pattern
    broad: Pattern


ClientTest = ClientName | Network


def compile_client(pattern: str) -> ClientTest:
    """Compile a pattern for clients: an address, a range of them, or else a name, in which C{*} is any text.

    @raise ValueError: when it looks like a range and is none, or is empty.
    """
    if not pattern:
        raise ValueError("write a name, an address or a range")
    if _RANGE.fullmatch(pattern):
        try:
            return ip_network(pattern)
        except ValueError as error:
            raise ValueError(f"{error}; write an address, or a range as in 10.0.0.0/8") from None
    return ClientName(compile_pattern(pattern, broad=False), compile_pattern(pattern, broad=True))
