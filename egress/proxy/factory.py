"""What a listening port makes for each client."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import Protocol, ServerFactory

from egress.config.model import Limits
from egress.model.errors import EgressError, Overloaded, TooManyConnections
from egress.model.limit_key import limit_key
from egress.proxy.client_auth import ANONYMOUS, ClientAuthPolicy
from egress.proxy.client_session import HttpSession
from egress.proxy.overload import LINGER_SECONDS, RejectedConnection
from egress.proxy.tunnel_binding import UNKNOWN, peer_of

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

    from egress.proxy.context import ProxyContext

# Connections that are told within LINGER_SECONDS that there are too many; beyond it, they are cut without an answer.
MAX_REJECTED = 256


def max_lingering(limits: Limits) -> int:
    """The number of rejected connections that may stay open until the client has its answer.

    Each takes a descriptor.  Where descriptors are scarce, the limit on connections is low
    (L{egress.runtime.rlimits}), and the accepted clients need the rest for their connections to origins.
    """
    return max(1, min(MAX_REJECTED, limits.connections // 12))


class _Arrival(Protocol):
    """A client of a UNIX socket: the system says who it is once there is a transport."""

    def __init__(self, arrived_at: ProxyFactory) -> None:
        self._arrived_at = arrived_at

    def makeConnection(self, transport: Any) -> None:
        """Give the connection to a session, or turn the client away."""
        address = peer_of(transport).address
        protocol = self._arrived_at.admit("" if address == UNKNOWN else address)
        transport.protocol = protocol
        protocol.makeConnection(transport)  # type: ignore[no-untyped-call]


class ProxyFactory(ServerFactory):
    """Makes a session for each client connection, up to the limits.

    @param auth_policy: what is asked of clients here.
    """

    noisy = False

    def __init__(self, parts: ProxyContext, auth_policy: ClientAuthPolicy = ANONYMOUS) -> None:
        self._parts = parts
        self._auth_policy = auth_policy
        self._told: deque[float] = deque(maxlen=MAX_REJECTED)
        self._lingering: dict[RejectedConnection, None] = {}

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Begin a session, or turn the client away (L{twisted.internet.interfaces.IProtocolFactory})."""
        if isinstance(addr, (IPv4Address, IPv6Address)):
            return self.admit(limit_key(addr.host))
        return _Arrival(self) if isinstance(addr, UNIXAddress) else self.admit("")

    def admit(self, client: str) -> Protocol:
        """Begin a session, or turn the client away.

        @param client: as per-client limits count clients; empty where nothing is known of it.
        """
        refusal = self._refusal(client)
        if refusal is not None:
            return self._turn_away(refusal)
        session = HttpSession(self._parts, auth_policy=self._auth_policy)
        self._parts.sessions.accept(session, client)
        return session

    def _refusal(self, client: str) -> EgressError | None:
        limits, sessions = self._parts.limits, self._parts.sessions
        if sessions.clients >= limits.connections:
            return Overloaded(f"the proxy serves {limits.connections} connections already; try again later")
        if client and sessions.count_for(client) >= limits.connections_per_client:
            return TooManyConnections(f"{client} has {limits.connections_per_client} connections open already")
        return None

    def _turn_away(self, refusal: EgressError) -> RejectedConnection:
        self._parts.rejected += 1
        now = self._parts.clock.seconds()
        if len(self._told) == MAX_REJECTED and now - self._told[0] < LINGER_SECONDS:
            return RejectedConnection(self._parts, None, _ignore)
        self._told.append(now)
        if len(self._lingering) >= max_lingering(self._parts.limits):
            # The oldest had the most time to read its answer.
            oldest = next(iter(self._lingering))
            del self._lingering[oldest]
            oldest.close()
        told = RejectedConnection(self._parts, refusal, self._gone)
        self._lingering[told] = None
        return told

    def _gone(self, told: RejectedConnection) -> None:
        self._lingering.pop(told, None)


def _ignore(_: RejectedConnection) -> None:
    """A connection that was cut has no place among those that linger."""
