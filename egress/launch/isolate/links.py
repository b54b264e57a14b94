"""Messages that give every address a route through the loopback interface (C{linux/rtnetlink.h})."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Final

from egress.launch.isolate.netlink import ACKNOWLEDGE, CREATE, EXCLUSIVE, REQUEST, attribute, message

# The source of packets to addresses outside.  A host has neither: RFC 7600, section 4.8, and RFC 6666.
ADDRESS: Final = "192.0.0.8"
ADDRESS6: Final = "100::8"

# The first interface of a network namespace.
_LOOPBACK: Final = 1

_NEW_LINK: Final = 16
_NEW_ADDRESS: Final = 20
_NEW_ROUTE: Final = 24
_UP: Final = 0x1
_ADD: Final = REQUEST | ACKNOWLEDGE | CREATE | EXCLUSIVE

# linux/if_addr.h
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_WITHOUT_DUPLICATE_DETECTION: Final = 0x2

_RTA_INTERFACE: Final = 4
_RTA_PREFERRED_SOURCE: Final = 7
_MAIN_TABLE: Final = 254
_STATIC: Final = 4
_UNIVERSE: Final = 0
_LINK: Final = 253
_UNICAST: Final = 1
_LOCAL: Final = 2


def up(sequence: int) -> bytes:
    """Return the message that brings the loopback interface up."""
    content = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, _LOOPBACK, _UP, _UP)
    return message(_NEW_LINK, REQUEST | ACKNOWLEDGE, sequence, content)


def routes(sequence: int) -> Sequence[bytes]:
    """Return the messages that add the IPv4 address, and the route of all other addresses."""
    return _routed(sequence, socket.AF_INET, ADDRESS, _UNICAST, _LINK)


def routes6(sequence: int) -> Sequence[bytes]:
    """Return the messages for IPv6.  There, the kernel turns other routes through loopback into rejections."""
    return _routed(sequence, socket.AF_INET6, ADDRESS6, _LOCAL, _UNIVERSE)


def _routed(sequence: int, family: int, address: str, kind: int, scope: int) -> Sequence[bytes]:
    packed = socket.inet_pton(family, address)
    bits = 8 * len(packed)
    header = struct.pack("=BBBBI", family, bits, _WITHOUT_DUPLICATE_DETECTION, _UNIVERSE, _LOOPBACK)
    with_address = header + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    to_all = struct.pack("=BBBBBBBBI", family, 0, 0, 0, _MAIN_TABLE, _STATIC, scope, kind, 0)
    interface = attribute(_RTA_INTERFACE, struct.pack("=I", _LOOPBACK))
    route = to_all + interface + attribute(_RTA_PREFERRED_SOURCE, packed)
    return message(_NEW_ADDRESS, _ADD, sequence, with_address), message(_NEW_ROUTE, _ADD, sequence + 1, route)
