"""What the proxy asks of its TCP transports."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import ITCPTransport
from twisted.protocols.tls import TLSMemoryBIOProtocol

from egress.model.route import NOWHERE, Hop, Route


def no_delay(transport: object) -> None:
    """Turn off Nagle's algorithm, where there is TCP below.

    The proxy writes whole messages; with the algorithm on, a handshake waits for a delayed acknowledgement.
    """
    if ITCPTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
    else:
        below = getattr(transport, "transport", None)
        if below is not None:
            no_delay(below)


def hop(route: Route, transport: object) -> Hop:
    """Say where a connection leads."""
    if route.upstream is not None:
        return Hop(upstream=str(route.upstream.authority))
    peer = transport.getPeer()  # type: ignore[attr-defined]
    return Hop(peer.host) if isinstance(peer, (IPv4Address, IPv6Address)) else NOWHERE


def cut(transport: object) -> None:
    """Close at once, and not as an end is closed.

    Twisted's TLS sends its closing alert even when it is aborted, and to a client whose content ends with the
    connection that alert says that the content is complete (RFC 9112 section 9.8).
    """
    while isinstance(transport, TLSMemoryBIOProtocol):
        transport = transport.transport
    transport.abortConnection()  # type: ignore[attr-defined]
