"""A listener behind a load balancer that names its clients by the PROXY protocol.

The session of a client begins after the header, so that its limits and records apply to the client and not to the load
balancer.  Everyone who can connect to the listener can claim any address, so it can be limited to load balancers.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure

from egress.http.proxy_header import InvalidProxyHeader, ProxyHeader, parse_proxy_header
from egress.model.authority import parse_ip
from egress.proxy.session_state import FIRST_REQUEST_SECONDS
from egress.transport.watchdog import Watchdog

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

    from egress.proxy.context import ProxyContext
    from egress.proxy.revocations import Cutoff


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ProxyProtocolFactory(ServerFactory):
    """Reads the header of each connection, and then hands the connection over.

    @param factory: the factory of the listener.
    @param balancers: the addresses of the load balancers; empty: every address.
    """

    noisy = False

    def __init__(self, context: ProxyContext, factory: Any, balancers: tuple[Network, ...] = ()) -> None:
        self._context = context
        self.factory = factory
        self._balancers = balancers
        self.waiting: set[_Header] = set()

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Wait for a header, unless too many connections do (C{twisted.internet.interfaces.IProtocolFactory})."""
        if len(self.waiting) >= self._context.limits.connections or not self._is_balancer(addr):
            self._context.sessions.rejected += 1
            return None
        return _Header(self._context, self)

    def _is_balancer(self, addr: IAddress | None) -> bool:
        if not self._balancers:
            return True
        address = parse_ip(addr.host) if isinstance(addr, (IPv4Address, IPv6Address)) else None
        if isinstance(address, ipaddress.IPv6Address):
            # A listener for IPv6 and IPv4 has peers with IPv4-mapped addresses (RFC 4291 section 2.5.5.2).
            address = address.ipv4_mapped or address
        return address is not None and any(address in network for network in self._balancers)


class _Header(Protocol):
    """A connection whose header is not complete."""

    def __init__(self, context: ProxyContext, arrived_at: ProxyProtocolFactory) -> None:
        self._sessions = context.sessions
        self._timeout = context.limits.head_timeout
        self._arrived_at = arrived_at
        self._watchdog = Watchdog(context.clock, self.abort)
        self._received = b""

    def connectionMade(self) -> None:
        """Start to wait."""
        self._arrived_at.waiting.add(self)
        self._sessions.add(self)
        self._watchdog.set(self._timeout)

    def dataReceived(self, data: bytes) -> None:
        """Read the header; later data is for the session."""
        self._received += data
        try:
            header = parse_proxy_header(self._received)
        except InvalidProxyHeader:
            self._sessions.rejected += 1
            self.abort()
            return
        if header is not None:
            self._hand_over(header)

    def _hand_over(self, header: ProxyHeader) -> None:
        transport: Any = self.transport
        if header.address is not None:
            kind = IPv4Address if header.address.version == 4 else IPv6Address
            client = kind("TCP", str(header.address), header.port)
            transport.getPeer = lambda: client
        protocol = self._arrived_at.factory.buildProtocol(transport.getPeer())
        transport.protocol = protocol
        protocol.makeConnection(transport)
        # The session is registered before this one is removed: a drain waits for it.
        self._leave()
        rest = self._received[header.length :]
        if rest:
            # The session of a UNIX socket replaces its protocol.
            transport.protocol.dataReceived(rest)

    def _leave(self) -> None:
        self._watchdog.stop()
        self._arrived_at.waiting.discard(self)
        self._sessions.discard(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection."""
        self._leave()

    def drain(self) -> None:
        """Prepare for shutdown: the header, and a request, may be on the way."""
        self._watchdog.set(FIRST_REQUEST_SECONDS)

    def revoke(self, cutoff: Cutoff) -> None:
        """Do nothing: there is no request yet."""

    def abort(self) -> None:
        """Abort the connection."""
        self.transport.abortConnection()  # type: ignore[union-attr]
