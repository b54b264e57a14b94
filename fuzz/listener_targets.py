"""The properties of what a listener reads before a session begins, for all inputs."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from types import SimpleNamespace
from typing import Any, Final

from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock

from egress.config.model import Limits
from egress.http.proxy_header import InvalidProxyHeader, ProxyHeader, parse_proxy_header
from egress.proxy.connection_registry import ConnectionRegistry
from egress.proxy.proxy_protocol import ProxyProtocolFactory
from fuzz.reading import pieces
from fuzz.wire import Wire

# The fixed part of version 2, and the beginning of the addresses.
_PREFIXES: Final = 24
_BALANCER: Final = IPv4Address("TCP", "198.51.100.7", 40000)
_LIMITS: Final = Limits()
_CLOCK: Final = Clock()
_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"


class _Session(Protocol):
    """Records what it receives."""

    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        """Record data."""
        self.received += data


class _Sessions:
    """A factory that records its sessions."""

    def __init__(self) -> None:
        self.made: list[_Session] = []
        self.peers: list[Any] = []

    def buildProtocol(self, address: Any) -> _Session:
        """Begin a session."""
        self.peers.append(address)
        self.made.append(_Session())
        return self.made[-1]


def _named(data: bytes) -> tuple[str, int] | None:
    """The client that a complete, valid header names; C{None} if it names none."""
    if data.startswith(b"PROXY "):
        _, family, *fields = data[: data.index(b"\r\n")].decode("latin-1").split(" ")
        if family == "UNKNOWN":
            return None
        address, port = ip_address(fields[0]), int(fields[2])
        assert address.version == int(family[3]) == ip_address(fields[1]).version and family[:3] == "TCP"
        assert str(port) == fields[2] and int(fields[3]) < 65536 and len(fields) == 4
    else:
        assert data.startswith(_SIGNATURE) and data[12] in (0x20, 0x21)
        width = {0x11: 4, 0x21: 16}.get(data[13], 0) if data[12] == 0x21 else 0
        if not width:
            return None
        address = ip_address(data[16 : 16 + width])
        port = int.from_bytes(data[16 + 2 * width : 18 + 2 * width], "big")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address), port


def _connect(parts: list[bytes]) -> tuple[_Sessions, Wire]:
    """A connection from a load balancer."""
    clock, sessions = _CLOCK, _Sessions()
    context: Any = SimpleNamespace(sessions=ConnectionRegistry(), limits=_LIMITS, clock=clock)
    factory = ProxyProtocolFactory(context, sessions)
    header: Any = factory.buildProtocol(_BALANCER)
    wire = Wire(header)
    for part in parts:
        # Also after the end of the connection.
        wire.protocol.dataReceived(part)
        assert len(header._received) <= 16 + 4096 + len(part)  # noqa: SLF001
    assert len(factory.waiting) == len(context.sessions) == (not sessions.made)
    if not sessions.made:
        wire.lose()
    assert not factory.waiting and not len(context.sessions) and not clock.getDelayedCalls()
    return sessions, wire


def proxy_protocol(data: bytes) -> None:
    """The header of a load balancer (PROXY protocol, versions 1 and 2), in pieces, and the session after it."""
    told: object = None
    previous: object = None
    # The session below reads other parts.
    ends = [*range(min(len(data), _PREFIXES)), *range(_PREFIXES, len(data), 13), len(data)]
    for at, end in enumerate(ends):
        if told is not None and told == previous and at % 16 and end < len(data):
            continue
        found: object
        try:
            found = parse_proxy_header(data[:end])
        except InvalidProxyHeader:
            found = InvalidProxyHeader
        assert told is None or found == told, "more data changed the result"
        assert not isinstance(found, ProxyHeader) or found.length <= end
        previous, told = told, found
    for parts in ([data] if data else [], list(pieces(data, len(data) % 256, short=31))):
        sessions, wire = _connect(parts)
        if not isinstance(told, ProxyHeader):
            assert not sessions.made, "a session begins without a header"
            assert wire.aborted is (told is InvalidProxyHeader)
            continue
        assert [session.received for session in sessions.made] == [data[told.length :]]
        (peer,) = sessions.peers
        named = _named(data)
        assert named is not None or told.address is None
        assert (peer.host, peer.port) == (named or (_BALANCER.host, _BALANCER.port))
