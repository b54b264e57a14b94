"""The factory that creates the protocol of each client connection of a listener."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import Protocol, ServerFactory

from egress.config.model import Limits
from egress.model.errors import EgressError
from egress.model.limit_key import limit_key
from egress.proxy.client_auth import ANONYMOUS, ClientAuthPolicy
from egress.proxy.client_session import HttpSession
from egress.proxy.connect_tunnel import Tunnel
from egress.proxy.listener_session import ListenerSession
from egress.proxy.overload import LINGER_SECONDS, RejectedConnection
from egress.proxy.tunnel_binding import UNKNOWN, peer_of

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IProtocol

    from egress.proxy.context import ProxyContext

# The maximum number of connections that get an error response within LINGER_SECONDS; further ones are aborted without a
# response.
MAX_REJECTED = 256


def max_lingering(limits: Limits) -> int:
    """The number of rejected connections that may stay open until the client has received the response.

    Each one uses a descriptor. Where descriptors are scarce, the connection limit is low (L{egress.runtime.rlimits}),
    and the accepted clients need the rest for origin connections.
    """
    return max(1, min(MAX_REJECTED, limits.connections // 12))


class _UnixConnection(Protocol):
    """A client connection of a UNIX socket, whose peer is known only once there is a transport."""

    def __init__(self, arrived_at: ProxyFactory) -> None:
        self._factory = arrived_at

    def makeConnection(self, transport: Any) -> None:
        """Replace this protocol with a session or a rejected connection."""
        address = peer_of(transport).address
        protocol = self._factory.admit("" if address == UNKNOWN else address)
        transport.protocol = protocol
        protocol.makeConnection(transport)


class ProxyFactory(ServerFactory):
    """Creates a session for each client connection, within the connection limits.

    @param auth_policy: the client authentication of the listener.
    @param h2c: whether clients can use HTTP/2 without TLS, with prior knowledge.
    """

    noisy = False

    def __init__(self, context: ProxyContext, auth_policy: ClientAuthPolicy = ANONYMOUS, *, h2c: bool = False) -> None:
        self._context = context
        self._auth_policy = auth_policy
        self._h2c = h2c
        self._error_times: deque[float] = deque(maxlen=MAX_REJECTED)
        self._lingering: dict[RejectedConnection, None] = {}

    def buildProtocol(self, addr: IAddress | None) -> IProtocol:  # type: ignore[override]
        """Create a session, or reject the client (C{twisted.internet.interfaces.IProtocolFactory})."""
        if isinstance(addr, (IPv4Address, IPv6Address)):
            return self.admit(limit_key(addr.host))
        return _UnixConnection(self) if isinstance(addr, UNIXAddress) else self.admit("")

    def admit(self, client: str) -> IProtocol:
        """Create a session, or reject the client.

        @param client: the client's key for per-client limits; empty if nothing is known about the client.
        """
        refusal = self._context.sessions.refusal(client, self._context.limits)
        if refusal is not None:
            return self._reject(refusal)
        session = self.new_session()
        self._context.sessions.accept(session, client)
        return session

    def new_session(self) -> HttpSession:
        """Create the session of a connection."""
        return ListenerSession(self._context, auth_policy=self._auth_policy, open_tunnel=Tunnel, h2c=self._h2c)

    def _reject(self, refusal: EgressError) -> RejectedConnection:
        self._context.sessions.rejected += 1
        now = self._context.clock.seconds()
        if len(self._error_times) == MAX_REJECTED and now - self._error_times[0] < LINGER_SECONDS:
            return RejectedConnection(self._context, None, self._closed)
        self._error_times.append(now)
        if len(self._lingering) >= max_lingering(self._context.limits):
            # The oldest one had the most time to read its response.
            oldest = next(iter(self._lingering))
            del self._lingering[oldest]
            oldest.close()
        rejected = RejectedConnection(self._context, refusal, self._closed)
        self._lingering[rejected] = None
        return rejected

    def _closed(self, rejected: RejectedConnection) -> None:
        # An aborted connection is not among the lingering ones.
        self._lingering.pop(rejected, None)
