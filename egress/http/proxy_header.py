"""The PROXY protocol, versions 1 and 2: the header in which a load balancer names its client.

The specification is part of HAProxy: C{doc/proxy-protocol.txt}.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

import attrs

from egress.model.authority import IPAddress, parse_ip

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
# The longest header of version 1, with its line feed.
_V1_LENGTH: Final = 107
_V2_FIXED: Final = 16
# Addresses, and the extensions (TLV) of load balancers.
_V2_LENGTH: Final = 4096
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
# The bytes of two addresses and two ports, by family and transport.
_STREAMS: Final = {0x11: 4, 0x21: 16}
# Neither an address that is not given, nor the path of a UNIX socket, identifies a client.
_WITHOUT_ADDRESS: Final = (0x00, 0x31)


class InvalidProxyHeader(Exception):
    """The bytes are not a header of the PROXY protocol."""


@attrs.frozen
class ProxyHeader:
    """A header.

    @ivar length: its length in bytes.
    @ivar address: the address of the client; C{None} if the load balancer does not name it, for example because it
        checks the health of the proxy.
    @ivar port: the port of the client.
    """

    length: int
    address: IPAddress | None = None
    port: int = 0


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """Parse the first bytes of a connection.

    @return: C{None} if the header is incomplete.
    @raise InvalidProxyHeader: if the connection does not begin with a header.
    """
    if data[: len(_V1)] == _V1[: len(data)]:
        return _parse_v1(data)
    if data[: len(_V2)] == _V2[: len(data)]:
        return _parse_v2(data)
    raise InvalidProxyHeader("the connection does not begin with a PROXY header")


def _parse_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _V1_LENGTH)
    if end < 0:
        if len(data) >= _V1_LENGTH:
            raise InvalidProxyHeader("the line is too long")
        return None
    family, *fields = data[len(_V1) : end].decode("latin-1").split(" ")
    if family == "UNKNOWN":
        return ProxyHeader(end + 2)
    version = {"TCP4": 4, "TCP6": 6}.get(family)
    if version is None or len(fields) != 4:
        raise InvalidProxyHeader("the line is malformed")
    source, destination, *ports = fields
    addresses = [parse_ip(source), parse_ip(destination)]
    if any(address is None or address.version != version for address in addresses):
        raise InvalidProxyHeader("an address is malformed")
    if not all(port.isascii() and port.isdigit() and int(port) < 65536 for port in ports):
        raise InvalidProxyHeader("a port is malformed")
    return ProxyHeader(end + 2, addresses[0], int(ports[0]))


def _parse_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_FIXED:
        return None
    command, family = data[12], data[13]
    size = int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXY) or size > _V2_LENGTH:
        raise InvalidProxyHeader("the version, the command or the length is not supported")
    length = _V2_FIXED + size
    if len(data) < length:
        return None
    if command == _LOCAL or family in _WITHOUT_ADDRESS:
        return ProxyHeader(length)
    width = _STREAMS.get(family)
    if width is None or size < 2 * width + 4:
        raise InvalidProxyHeader("the addresses are malformed")
    source = data[_V2_FIXED : _V2_FIXED + width]
    port = int.from_bytes(data[_V2_FIXED + 2 * width : _V2_FIXED + 2 * width + 2], "big")
    return ProxyHeader(length, ip_address(source), port)
