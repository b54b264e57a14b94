"""DNS responses for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.names import dns

from egress.model.authority import parse_ip


def ips(*texts: str) -> tuple[Any, ...]:
    """Parse addresses."""
    return tuple(map(parse_ip, texts))


def record(name: str, value: str) -> Any:
    """Return a record: an address, or C{"-> name"} for an alias."""
    payload: Any
    if value.startswith("-> "):
        payload = dns.Record_CNAME(value[3:].encode())
    elif ":" in value:
        payload = dns.Record_AAAA(value)
    else:
        payload = dns.Record_A(value)
    return dns.RRHeader(name.encode(), payload.TYPE, payload=payload, ttl=60)


def response(query: bytes, records: Sequence[Any] = (), **changes: Any) -> bytes:
    """Serialize the response to a query.

    @param changes: attributes of the message to set.
    """
    message = dns.Message()
    message.fromStr(query)
    message.answer, message.recAv = 1, 1
    message.answers = list(records)
    for name, value in changes.items():
        setattr(message, name, value)
    return message.toStr()


def asked(query: bytes) -> tuple[str, int]:
    """Return the name and the type of a query."""
    message = dns.Message()
    message.fromStr(query)
    (found,) = message.queries
    return found.name.name.decode("ascii"), found.type
