"""The pool of idle origin connections, per origin and client."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from egress.config.model import Limits
from egress.model.authority import IPAddress
from egress.model.route import Route
from egress.upstream.origin_connection import OriginConnection, PoolKey

# The maximum idle time of a connection for a request that cannot be sent twice (RFC 9110 section 9.2.2).  Common
# servers close an idle connection after at least five seconds, so a connection with a shorter idle time is unlikely to
# be closing at this moment.
FRESH_SECONDS = 2.0


class OriginPool:
    """Stores connections for the next request to the same origin from the same client.

    The key contains the client's identity: an origin may have tied state to a connection, and no client may inherit
    this state from another client.

    @ivar private: the number of pooled connections that serve only one client connection
        (L{egress.upstream.authenticated_connections}), by client (L{egress.model.limit_key}).
    """

    def __init__(self, clock: IReactorTime, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._idle: OrderedDict[PoolKey, deque[OriginConnection]] = OrderedDict()
        self._count = 0
        self._sweep: IDelayedCall | None = None
        self._closed = False
        self._cleared = -1.0
        self.private: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._count

    def route(self, key: PoolKey) -> Route | None:
        """Return the route of the connection that L{take} would return, if any."""
        connections = self._idle.get(key)
        return None if connections is None else connections[-1].route

    def take(
        self, key: PoolKey, *, repeatable: bool, addresses: tuple[IPAddress, ...] | None = None
    ) -> OriginConnection | None:
        """Take the connection with the shortest idle time, if any.

        @param key: the origin and the client.
        @param repeatable: whether the request may be sent again over another connection if this one is stale.
        @param addresses: the addresses that were authorized; a connection to another address is not returned.
        """
        connections = self._idle.get(key)
        if connections is None:
            return None
        for at in range(len(connections) - 1, -1, -1):
            connection = connections[at]
            if not repeatable and self._clock.seconds() - connection.idle_since > FRESH_SECONDS:
                return None
            route = connection.route
            if addresses is not None and route.addresses is not addresses and not route.is_subset_of(addresses):
                return None
            if not connection.has_unread:
                del connections[at]
                self._removed(key, connections)
                connection.on_lost = None
                return connection
            if not connection.encrypted:
                # The origin closed the connection, or sent data that would become the response to a later request (RFC
                # 9112 section 9.5).  Over TLS the data may be a session ticket: the connection stays until the reactor
                # has read it.
                self._close(connection)
        return None

    def _removed(self, key: PoolKey, connections: deque[OriginConnection]) -> None:
        self._count -= 1
        if not connections:
            del self._idle[key]

    def put(self, key: PoolKey, connection: OriginConnection, on_lost: Callable[[], None] | None = None) -> None:
        """Store a connection whose exchange is over.

        @param key: the origin and the client.
        @param connection: the connection.
        @param on_lost: called once, if the connection is closed or lost before it is taken again.
        """
        if self._closed or connection.begun <= self._cleared:
            connection.close()
            if on_lost is not None:
                on_lost()
            return
        connection.on_lost = on_lost
        connections = self._idle.setdefault(key, deque())
        self._idle.move_to_end(key)
        connections.append(connection)
        self._count += 1
        connection.pool_key = key
        connection.idle_since = self._clock.seconds()
        connection.park(self._notify_lost)
        if len(connections) > self._limits.pool_per_origin:
            self._close(connections[0])
        elif self._count > self._limits.pool_total:
            self._close(next(iter(self._idle.values()))[0])
        if self._sweep is None and self._count:
            self._sweep = self._clock.callLater(self._limits.idle_timeout, self._close_expired)

    def close(self) -> None:
        """Close all idle connections, and store no further connections."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self.clear()

    def clear(self) -> None:
        """Close all idle connections, and store none of the connections that were opened before this call."""
        self._cleared = self._clock.seconds()
        for connections in list(self._idle.values()):
            for connection in list(connections):
                self._close(connection)

    def discard(self, key: PoolKey) -> None:
        """Close the connections under a key."""
        for connection in list(self._idle.get(key, ())):
            self._close(connection)

    def _notify_lost(self, connection: OriginConnection) -> None:
        self._remove(connection)
        on_lost, connection.on_lost = connection.on_lost, None
        if on_lost is not None:
            on_lost()

    def _remove(self, connection: OriginConnection) -> None:
        connections = self._idle.get(connection.pool_key)
        if connections is not None and connection in connections:
            connections.remove(connection)
            self._removed(connection.pool_key, connections)

    def _close(self, connection: OriginConnection) -> None:
        self._notify_lost(connection)
        connection.close()

    def _close_expired(self) -> None:
        self._sweep = None
        oldest = self._clock.seconds() - self._limits.idle_timeout
        for connections in list(self._idle.values()):
            for connection in list(connections):
                if connection.idle_since <= oldest:
                    self._close(connection)
        if self._count:
            self._sweep = self._clock.callLater(self._limits.idle_timeout / 4, self._close_expired)
