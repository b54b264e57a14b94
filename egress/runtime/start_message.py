"""What is printed once a program listens."""

from __future__ import annotations

import os
from collections.abc import Iterable

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from egress import __version__
from egress.model.authority import Authority


def facts_of(program: str, facts: Iterable[tuple[str, str]]) -> list[str]:
    """Write what is to be known, a line for each, below the program and its version."""
    return [f"{program} {__version__}", *(f"  {name:<12}{value}" for name, value in facts), ""]


def endpoint_of(address: IAddress) -> str:
    """Write where something listens."""
    if isinstance(address, (IPv4Address, IPv6Address)):
        return str(Authority(address.host, address.port))
    if isinstance(address, UNIXAddress) and address.name:
        return f"unix:{os.fsdecode(address.name)}"
    return str(address)
