"""The address and port of a DNS server."""

from __future__ import annotations

import re
from typing import Final

import attrs

from egress.model.authority import IPAddress, parse_ip
from egress.model.converters import checked
from egress.model.converters import port as tcp_port

PORT: Final = 53

_BRACKETED: Final = re.compile(r"\[([^\]]*)\](?::([0-9]{1,5}))?")
_PLAIN: Final = re.compile(r"([^:\[\]]*)(?::([0-9]{1,5}))?")


class InvalidDnsServer(ValueError):
    """Text that does not name a DNS server.

    @ivar remedy: what to write instead, in one clause.
    """

    remedy = "write the address of a DNS server, as in 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53"


@attrs.frozen(field_transformer=checked(port=tcp_port))
class DnsServer:
    """The endpoint at which a DNS server accepts queries, over UDP and TCP.

    @ivar address: the IP address.
    @ivar port: the port, 1 to 65535.
    """

    address: IPAddress
    port: int = PORT

    @classmethod
    def parse(cls, text: str) -> DnsServer:
        """Parse C{ADDRESS}, C{ADDRESS:PORT}, C{[ADDRESS]} or C{[ADDRESS]:PORT}.

        A name is not accepted because no server could resolve it.

        @raise InvalidDnsServer: if C{text} is not an address with an optional port.
        """
        address = parse_ip(text)
        if address is not None:
            return cls(address)
        match = _BRACKETED.fullmatch(text) or _PLAIN.fullmatch(text)
        address = parse_ip(match[1]) if match is not None else None
        if match is None or address is None or (address.version == 6) is not text.startswith("["):
            raise InvalidDnsServer(text)
        port = int(match[2] or PORT)
        if not 0 < port < 65536:
            raise InvalidDnsServer(text)
        return cls(address, port)

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"
