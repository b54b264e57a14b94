"""What a listening port makes for each client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import Protocol, ServerFactory

from egress.model.errors import EgressError, Overloaded, TooManyConnections
from egress.model.limit_key import limit_key
from egress.net.admission import OPEN, Door
from egress.net.scope import UNKNOWN, peer_of
from egress.net.server import HttpSession
from egress.net.turned_away import TurnedAway

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

    from egress.net.parts import Parts

# Connections that are just being told that there are too many; beyond it, they are not even told.
MOST_TURNED_AWAY = 256


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

    @param door: what is asked of clients here.
    """

    noisy = False

    def __init__(self, parts: Parts, door: Door = OPEN) -> None:
        self._parts = parts
        self._door = door
        self._turning_away = 0

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
        session = HttpSession(self._parts, door=self._door)
        self._parts.sessions.accept(session, client)
        return session

    def _refusal(self, client: str) -> EgressError | None:
        limits, sessions = self._parts.limits, self._parts.sessions
        if sessions.clients >= limits.connections:
            return Overloaded(f"the proxy serves {limits.connections} connections already; try again later")
        if client and sessions.of(client) >= limits.connections_per_client:
            return TooManyConnections(f"{client} has {limits.connections_per_client} connections open already")
        return None

    def _turn_away(self, refusal: EgressError) -> TurnedAway:
        self._parts.turned_away += 1
        answered = self._turning_away < MOST_TURNED_AWAY
        self._turning_away += 1
        return TurnedAway(self._parts, refusal if answered else None, self._gone)

    def _gone(self) -> None:
        self._turning_away -= 1
