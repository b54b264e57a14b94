"""The PROXY protocol, versions 1 and 2: the header in which a load balancer names its client.

The specification is part of HAProxy: C{doc/proxy-protocol.txt}.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Final

import attrs

from egress.http.crc32c import crc32c
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
_UNSPECIFIED: Final = 0x00
# The bytes of one address, and the bytes of both addresses with their ports, by family and transport.
_STREAMS: Final = {0x11: (4, 12), 0x21: (16, 36)}
# The paths of UNIX sockets do not identify a client.
_UNIX: Final = 0x31
_UNIX_LENGTH: Final = 216
# The type and the length of an extension (TLV), and the type of the checksum.
_TLV_FIXED: Final = 3
_CRC32C: Final = 0x03
_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}")


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
    # No zone is part of a header, and the zones of the load balancer have no meaning here.
    if "%" in source + destination or any(address is None or address.version != version for address in addresses):
        raise InvalidProxyHeader("an address is malformed")
    if not all(_PORT.fullmatch(port) and int(port) < 65536 for port in ports):
        raise InvalidProxyHeader("a port is malformed")
    return ProxyHeader(end + 2, _client(addresses[0]), int(ports[0]))


def _client(address: IPAddress | None) -> IPAddress | None:
    """Return the address of a client: limits and rules apply to an IPv4-mapped address as to the IPv4 address."""
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


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
    if command == _LOCAL or family == _UNSPECIFIED:
        # The rest has no meaning.
        return ProxyHeader(length)
    width, needed = (0, _UNIX_LENGTH) if family == _UNIX else _STREAMS.get(family, (0, 0))
    if not needed or size < needed:
        raise InvalidProxyHeader("the addresses are malformed")
    _check_extensions(data[:length], _V2_FIXED + needed)
    if family == _UNIX:
        return ProxyHeader(length)
    source = data[_V2_FIXED : _V2_FIXED + width]
    port = int.from_bytes(data[_V2_FIXED + 2 * width : _V2_FIXED + 2 * width + 2], "big")
    return ProxyHeader(length, _client(ip_address(source)), port)


def _check_extensions(header: bytes, at: int) -> None:
    """Check the extensions of a header. Only the checksum has an effect.

    @param at: where they begin.
    """
    checksum_at = 0
    while at < len(header):
        end = at + _TLV_FIXED + int.from_bytes(header[at + 1 : at + _TLV_FIXED], "big")
        if at + _TLV_FIXED > len(header) or end > len(header):
            raise InvalidProxyHeader("an extension is malformed")
        if header[at] == _CRC32C:
            if checksum_at or end - at != _TLV_FIXED + 4:
                raise InvalidProxyHeader("the checksum is malformed")
            checksum_at = at + _TLV_FIXED
        at = end
    if checksum_at:
        # The checksum is computed with zeros in its place.
        zeroed = header[:checksum_at] + bytes(4) + header[checksum_at + 4 :]
        if crc32c(zeroed) != int.from_bytes(header[checksum_at : checksum_at + 4], "big"):
            raise InvalidProxyHeader("the checksum is wrong")
