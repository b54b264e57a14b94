"""The address that a client meant, on a connection that the system redirected to this process."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from egress.model.authority import Authority, IPAddress
from egress.transport.tcp import below_tls

# linux/netfilter_ipv4.h and linux/netfilter_ipv6/ip6_tables.h; the level is that of the address family.
_SO_ORIGINAL_DST: Final = 80
# struct sockaddr_in and sockaddr_in6: family, port, (flow information,) address.
_IPV4: Final = struct.Struct("!2xH4s8x")
_IPV6: Final = struct.Struct("!2xH4x16s4x")


def original_destination(transport: object) -> Authority | None:
    """Return the original destination of an accepted connection, which Linux keeps for a redirected connection.

    @param transport: the transport of the connection.
    @return: C{None} if the connection was not redirected on this machine.
    """
    sock = getattr(below_tls(transport), "socket", None)
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    own = _pair(*sock.getsockname()[:2])
    found = _before_translation(sock, own[0].version)
    # A direct connection has an entry, too, if the system tracks connections.
    return None if found is None or found == own else Authority(str(found[0]), found[1])


def _pair(host: str, port: int) -> tuple[IPAddress, int]:
    if ":" not in host:
        return IPv4Address(host), port
    address = IPv6Address(host.partition("%")[0])
    return address.ipv4_mapped or address, port


def _before_translation(sock: socket.socket, version: int) -> tuple[IPAddress, int] | None:
    """Return the destination before the address translation; C{None} if the system has no entry."""
    level, layout = (socket.SOL_IP, _IPV4) if version == 4 else (socket.IPPROTO_IPV6, _IPV6)
    try:
        port, packed = layout.unpack(sock.getsockopt(level, _SO_ORIGINAL_DST, layout.size))
    except (OSError, struct.error):
        return None
    return (IPv4Address(packed) if version == 4 else IPv6Address(packed)), port
