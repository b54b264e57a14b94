"""The names of a sandbox: a placeholder address for each name, and a DNS server that queries no other server.

A program in a sandbox learns no real address.  It connects to the placeholder address, and the transparent listener
finds the name for it.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.names import dns
from twisted.protocols.basic import Int16StringReceiver
from zope.interface import implementer

from egress.interfaces import IPlaceholderNames
from egress.model.authority import normalize_host, parse_ip
from egress.model.errors import InvalidTarget

# The networks for benchmarks, which no host on the Internet uses (RFC 2544 appendix C.2.2, RFC 5180 section 8).
_IPV4: Final = int(IPv4Address("198.18.0.0"))
_IPV6: Final = int(IPv6Address("2001:2::"))
MAX_NAMES: Final = 2**17 - 2
"""The number of addresses in 198.18.0.0/15, without the first and the last one."""

# A resolver can cache a response as long as the name keeps its address.
_TTL: Final = 60
_LOCAL: Final = "localhost"
_REVERSE: Final = (".in-addr.arpa", ".ip6.arpa")


@implementer(IPlaceholderNames)
class PlaceholderNames:
    """Gives out placeholder addresses for names.

    @param limit: the number of names; then a new name gets the addresses of the name that was requested least recently.
    """

    def __init__(self, limit: int = MAX_NAMES) -> None:
        self._limit = limit
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._names: dict[int, str] = {}

    def addresses_of(self, name: str) -> tuple[IPv4Address, IPv6Address]:
        """Return the addresses of a name.

        @param name: a normalized name.
        """
        number = self._numbers.get(name)
        if number is not None:
            self._numbers.move_to_end(name)
        else:
            if len(self._numbers) < self._limit:
                number = len(self._numbers) + 1
            else:
                _, number = self._numbers.popitem(last=False)
            self._numbers[name] = number
            self._names[number] = name
        return IPv4Address(_IPV4 + number), IPv6Address(_IPV6 + number)

    def name_of(self, address: str) -> str | None:
        """See L{IPlaceholderNames.name_of}."""
        ip = ip_address(address)
        return self._names.get(int(ip) - (_IPV4 if ip.version == 4 else _IPV6))


def respond(query: bytes, names: PlaceholderNames) -> bytes | None:
    """Respond to a DNS message (RFC 1035 section 4).

    @param query: the message.
    @param names: gives out the addresses.
    @return: the response; C{None} for a message that gets none.
    """
    message = dns.Message()
    try:
        message.fromStr(query)
    except Exception:  # noqa: BLE001 -- the decoder raises any exception for malformed data
        return None
    if message.answer:
        return None
    response = dns.Message(message.id, answer=1, opCode=message.opCode, recDes=message.recDes, recAv=1, auth=True)
    response.queries = message.queries
    if message.opCode != dns.OP_QUERY:
        response.rCode = dns.ENOTIMP
    elif len(message.queries) != 1:
        response.rCode = dns.EFORMAT
    else:
        _answer(response, message.queries[0], names)
    encoded: bytes = response.toStr()
    return encoded


def _answer(response: Any, query: Any, names: PlaceholderNames) -> None:
    """Add the records for a query."""
    try:
        name = normalize_host(query.name.name.decode("ascii"))
    except (InvalidTarget, UnicodeDecodeError):
        response.rCode = dns.ENAME
        return
    found: Any = None
    if query.cls not in (dns.IN, dns.ANY) or parse_ip(name) is not None:
        response.rCode = dns.ENAME
    elif name.endswith(_REVERSE):
        known = names.name_of(_reversed(name)) if _reversed(name) else None
        if known is None:
            response.rCode = dns.ENAME
        elif query.type == dns.PTR:
            found = dns.Record_PTR(known, ttl=_TTL)  # type: ignore[no-untyped-call]
    elif query.type in (dns.A, dns.AAAA):
        ipv4, ipv6 = _addresses(name, names)
        make: Any = dns.Record_A if query.type == dns.A else dns.Record_AAAA
        found = make(str(ipv4 if query.type == dns.A else ipv6), ttl=_TTL)
    if found is not None:
        response.answers = [dns.RRHeader(query.name.name, found.TYPE, dns.IN, _TTL, found, auth=True)]


def _addresses(name: str, names: PlaceholderNames) -> tuple[IPv4Address, IPv6Address]:
    if name == _LOCAL or name.endswith(f".{_LOCAL}"):  # RFC 6761 section 6.3
        return IPv4Address("127.0.0.1"), IPv6Address("::1")
    return names.addresses_of(name)


def _reversed(name: str) -> str:
    """Return the address of a name for reverse queries (RFC 1035 section 3.5, RFC 3596 section 2.5), or nothing."""
    host, _, family = name.rpartition(".")[0].rpartition(".")
    parts = host.split(".")[::-1]
    text = ".".join(parts) if family == "in-addr" else ":".join("".join(parts[at : at + 4]) for at in range(0, 32, 4))
    return text if parse_ip(text) is not None else ""


class UdpNames(DatagramProtocol):
    """The DNS server over UDP."""

    def __init__(self, names: PlaceholderNames) -> None:
        self._placeholders = names

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Respond to a message."""
        response = respond(datagram, self._placeholders)
        if response is not None:
            self.transport.write(response, addr)  # type: ignore[union-attr]


class _TcpNames(Int16StringReceiver):
    """The DNS server over TCP, on one connection (RFC 7766)."""

    factory: TcpNames

    def stringReceived(self, string: bytes) -> None:
        """Respond to a message."""
        response = respond(string, self.factory.names)
        if response is None:
            self.transport.loseConnection()  # type: ignore[union-attr]
        else:
            self.sendString(response)  # type: ignore[no-untyped-call]


class TcpNames(Factory):
    """The DNS server over TCP.

    @ivar names: gives out the addresses.
    """

    protocol = _TcpNames  # type: ignore[assignment]
    noisy = False

    def __init__(self, names: PlaceholderNames) -> None:
        self.names = names
