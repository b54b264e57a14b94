"""The key by which per-client limits identify a client."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

# The number of cached results; the address of a client is looked up for each of its requests.
_CACHE_SIZE: Final = 4096


@lru_cache(_CACHE_SIZE)
def limit_key(address: str) -> str:
    """Return the key under which every per-client limit counts a client address.

    An IPv4 address counts by itself.  An IPv6 address counts by its /64, which is the smallest block that one network
    gets (RFC 6177 section 2, RFC 4291 section 2.5.4).  One host can use every address in it (RFC 8981).  An IPv4-mapped
    address (RFC 4291 section 2.5.5.2) counts as the IPv4 address.  Any other text, such as the name of a client of a
    UNIX socket, counts by itself.

    @param address: the address of a client, with or without a zone.
    """
    text, _, zone = address.partition("%")
    try:
        ip = ip_address(text)
    except ValueError:
        return address
    if isinstance(ip, IPv4Address):
        return text
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    block = f"{IPv6Address(int(ip) >> 64 << 64)}/64"
    return f"{block}%{zone}" if zone else block
