"""DNS messages: queries for the addresses of one name and their responses (RFC 1034, RFC 1035)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, cast

import attrs
from twisted.names import dns

from egress.model.authority import IPAddress

# RFC 1035 section 2.3.4.
_LABEL: Final = 63
_NAME: Final = 253

# The maximum number of aliases to follow within one message; more aliases are treated as a loop.
MAX_ALIASES: Final = 16

_RCODES: Final = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


class Unusable(Exception):
    """A response without a usable result: another server may have one."""


@attrs.frozen
class Answer:
    """The result of one query.

    @ivar addresses: the addresses; empty if the name has none of the queried kind.
    @ivar alias: the name to query next, if the server did not follow an alias itself.
    """

    addresses: tuple[IPAddress, ...] = ()
    alias: bytes | None = None


def build_query(name: bytes, kind: int, message_id: int) -> bytes | None:
    """Serialize the query for the addresses of a name.

    @param name: the name.
    @param kind: C{dns.A} or C{dns.AAAA}.
    @param message_id: the id of the message.
    @return: C{None} if the name is not a valid DNS name.
    """
    labels = name.split(b".")
    if len(name) > _NAME or not all(0 < len(label) <= _LABEL for label in labels):
        return None
    message = dns.Message(id=message_id, recDes=1)
    message.addQuery(name, kind)
    return message.toStr()


def parse(data: bytes, name: bytes, kind: int, message_id: int) -> dns.Message | None:
    """Parse a message, if it is the response to a query.

    @return: C{None} for any other message: anyone can send datagrams to the proxy.
    """
    message = dns.Message()
    try:
        message.fromStr(data)
    except Exception:  # noqa: BLE001 - malformed bytes can raise any exception
        return None
    if not message.answer or message.id != message_id or message.opCode != dns.OP_QUERY or len(message.queries) != 1:
        return None
    (asked,) = message.queries
    same = asked.name.name.lower() == name.lower() and asked.type == kind and asked.cls == dns.IN
    return message if same else None


def read(message: dns.Message, name: bytes, kind: int) -> Answer:
    """Extract the addresses of a name from a response and follow its aliases (RFC 1034 section 3.6.2).

    @raise Unusable: if the server could not or would not resolve the name.
    """
    if message.rCode not in (dns.OK, dns.ENAME):
        raise Unusable(_RCODES.get(message.rCode, f"code {message.rCode}"))
    addresses: dict[bytes, list[IPAddress]] = {}
    aliases: dict[bytes, bytes] = {}
    for record in message.answers:
        if record.cls != dns.IN:
            continue
        owner, payload = record.name.name.lower(), cast("Any", record.payload)
        if record.type == kind:
            addresses.setdefault(owner, []).append(_address(payload, kind))
        elif record.type == dns.CNAME:
            aliases.setdefault(owner, payload.name.name.lower())
    current = name.lower()
    for _ in range(MAX_ALIASES):
        if current in addresses:
            return Answer(tuple(dict.fromkeys(addresses[current])))
        if current not in aliases:
            break
        current = aliases[current]
    else:
        raise Unusable("the aliases form a loop")
    # A recursive server has followed the alias to its end.
    followed = current == name.lower() or message.recAv or message.rCode == dns.ENAME
    return Answer() if followed else Answer((), current)


def _address(payload: Any, kind: int) -> IPAddress:
    return IPv4Address(payload.address) if kind == dns.A else IPv6Address(payload.address)
