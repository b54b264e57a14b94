"""Idle connections to origins, kept per origin and client."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from egress.config.model import Limits
from egress.model.authority import IPAddress
from egress.model.route import Route
from egress.upstream.origin_connection import OriginConnection, PoolKey

# How long a connection may have rested to be used for a request that cannot be sent twice (RFC 9110 section 9.2.2).
# Common servers keep an idle connection for at least five seconds, so that one which rested less is hardly being
# closed at this moment.
FRESH_SECONDS = 2.0


class OriginPool:
    """Keeps connections for the next request to the same origin by the same client.

    The key holds who the client is: a connection may carry what an origin has tied to it, and no client may inherit
    that from another.

    @ivar private: how many of the connections here are for one client connection alone
        (L{egress.upstream.authenticated_connections}), by the client (L{egress.model.limit_key}).
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
        """The route of the connection that L{take} would give, if there is one."""
        connections = self._idle.get(key)
        return None if connections is None else connections[-1].route

    def take(
        self, key: PoolKey, *, repeatable: bool, addresses: tuple[IPAddress, ...] | None = None
    ) -> OriginConnection | None:
        """Take the connection that rested least, if there is one.

        @param repeatable: whether the request may be sent again over another connection should this one be stale.
        @param addresses: what was decided on; a connection whose name led elsewhere is not given.
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
                self._taken(key, connections)
                connection.gone = None
                return connection
            if not connection.encrypted:
                # An end, or bytes that would answer a request not yet sent (RFC 9112 section 9.5).  Within TLS it may
                # be a session ticket: the reactor reads it, and the connection stays until then.
                self._close(connection)
        return None

    def _taken(self, key: PoolKey, connections: deque[OriginConnection]) -> None:
        self._count -= 1
        if not connections:
            del self._idle[key]

    def put(self, key: PoolKey, connection: OriginConnection, gone: Callable[[], None] | None = None) -> None:
        """Keep a connection whose exchange is over.

        @param gone: is told, once, when the connection is given up or lost before it is taken again.
        """
        if self._closed or connection.begun <= self._cleared:
            connection.close()
            if gone is not None:
                gone()
            return
        connection.gone = gone
        connections = self._idle.setdefault(key, deque())
        self._idle.move_to_end(key)
        connections.append(connection)
        self._count += 1
        connection.pool_key = key
        connection.idle_since = self._clock.seconds()
        connection.park(self._given_up)
        if len(connections) > self._limits.pool_per_origin:
            self._close(connections[0])
        elif self._count > self._limits.pool_total:
            self._close(next(iter(self._idle.values()))[0])
        if self._sweep is None and self._count:
            self._sweep = self._clock.callLater(self._limits.idle_timeout, self._sweep_out)

    def close(self) -> None:
        """Close every idle connection, and keep none from now on."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self.clear()

    def clear(self) -> None:
        """Close every connection that is idle now, and keep none of those that were made before."""
        self._cleared = self._clock.seconds()
        for connections in list(self._idle.values()):
            for connection in list(connections):
                self._close(connection)

    def discard(self, key: PoolKey) -> None:
        """Close the connections under a key."""
        for connection in list(self._idle.get(key, ())):
            self._close(connection)

    def _given_up(self, connection: OriginConnection) -> None:
        self._lost(connection)
        gone, connection.gone = connection.gone, None
        if gone is not None:
            gone()

    def _lost(self, connection: OriginConnection) -> None:
        connections = self._idle.get(connection.pool_key)
        if connections is not None and connection in connections:
            connections.remove(connection)
            self._taken(connection.pool_key, connections)

    def _close(self, connection: OriginConnection) -> None:
        self._given_up(connection)
        connection.close()

    def _sweep_out(self) -> None:
        self._sweep = None
        oldest = self._clock.seconds() - self._limits.idle_timeout
        for connections in list(self._idle.values()):
            for connection in list(connections):
                if connection.idle_since <= oldest:
                    self._close(connection)
        if self._count:
            self._sweep = self._clock.callLater(self._limits.idle_timeout / 4, self._sweep_out)
