"""The pool of origin connections, per origin and client: idle connections, and shared ones over HTTP/2."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from egress.config.model import Limits
from egress.model.authority import IPAddress
from egress.model.route import Route
from egress.upstream.http2_origin_connection import Http2OriginConnection
from egress.upstream.http2_origin_stream import Http2OriginStream
from egress.upstream.origin_connection import OriginConnection, PoolKey

Pooled = OriginConnection | Http2OriginConnection
Stream = OriginConnection | Http2OriginStream

# The maximum idle time of a connection for a request that cannot be sent twice (RFC 9110 section 9.2.2).  Common
# servers close an idle connection after at least five seconds, so a connection with a shorter idle time is unlikely to
# be closing at this moment.
FRESH_SECONDS = 2.0


class OriginPool:
    """Stores connections for the next request to the same origin from the same client.

    The key contains the client's identity: an origin may have tied state to a connection, and no client may inherit
    this state from another client.  A connection over HTTP/2 serves further requests while it is in use.

    @ivar private: the number of pooled connections that serve only one client connection
        (L{egress.upstream.authenticated_connections}), by client (L{egress.model.limit_key}).
    @ivar on_capacity: called with a key when a connection over HTTP/2 may accept another request, or is retired.
    """

    def __init__(self, clock: IReactorTime, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._idle: OrderedDict[PoolKey, deque[Pooled]] = OrderedDict()
        # The connections that are in use and accept further requests.
        self._shared: dict[PoolKey, list[Http2OriginConnection]] = {}
        self._count = 0
        self._sweep: IDelayedCall | None = None
        self._closed = False
        self._cleared = -1.0
        self.private: Counter[str] = Counter()
        self.on_capacity: Callable[[PoolKey], None] = _ignore

    def __len__(self) -> int:
        return self._count

    def route(self, key: PoolKey) -> Route | None:
        """Return the route of the connection that L{take} would return, if any."""
        connections = self._idle.get(key)
        if connections is not None:
            return connections[-1].route
        if self._shared:
            for connection in self._shared.get(key, ()):
                if connection.has_capacity:
                    return connection.route
        return None

    def take(self, key: PoolKey, *, repeatable: bool, addresses: tuple[IPAddress, ...] | None = None) -> Stream | None:
        """Take the connection with the shortest idle time, or a stream of one in use, if any.

        @param key: the origin and the client.
        @param repeatable: whether the request may be sent again over another connection if this one is stale.
        @param addresses: the addresses that were authorized; a connection to another address is not returned.
        """
        connections = self._idle.get(key)
        if connections is None:
            return self.stream(key, addresses) if self._shared else None
        for at in range(len(connections) - 1, -1, -1):
            connection = connections[at]
            if (
                not repeatable
                and self._clock.seconds() - connection.idle_since > FRESH_SECONDS
                and not connection.multiplexed
            ):
                # With HTTP/2, an origin that closes a connection states which requests it has processed.
                break
            route = connection.route
            if addresses is not None and route.addresses is not addresses and not route.is_subset_of(addresses):
                break
            if not connection.has_unread:
                del connections[at]
                self._removed(key, connections)
                connection.on_lost = None
                return connection if isinstance(connection, OriginConnection) else self._share(key, connection)
            if not connection.encrypted:
                # The origin closed the connection, or sent data that would become the response to a later request (RFC
                # 9112 section 9.5).  Over TLS the data may be a session ticket: the connection stays until the reactor
                # has read it.
                self._close(connection)
        return self.stream(key, addresses) if self._shared else None

    def _share(self, key: PoolKey, connection: Http2OriginConnection) -> Http2OriginStream:
        """Let an idle connection serve a request, and further ones."""
        self._shared.setdefault(key, []).append(connection)
        return connection.open_stream()

    def adopt(self, key: PoolKey, connection: Http2OriginConnection) -> None:
        """Add a connection that is in use, and let it serve further requests."""
        if self._closed or connection.begun <= self._cleared:
            connection.retire()
            return
        connection.owner = self
        connection.pool_key = key
        self._shared.setdefault(key, []).append(connection)

    def stream(self, key: PoolKey, addresses: tuple[IPAddress, ...] | None = None) -> Http2OriginStream | None:
        """Open a stream of a connection over HTTP/2, if any has capacity; see L{take}."""
        for connection in self._shared.get(key, ()):
            if connection.has_capacity and connection.route.is_subset_of(addresses):
                return connection.open_stream()
        for idle in reversed(self._idle.get(key, ())):
            if isinstance(idle, Http2OriginConnection) and not idle.has_unread and idle.route.is_subset_of(addresses):
                self._remove(idle)
                return self._share(key, idle)
        return None

    def shared(self, key: PoolKey) -> Sequence[Http2OriginConnection]:
        """Return the connections in use that serve several requests."""
        return self._shared.get(key, ())

    def freed(self, connection: Http2OriginConnection) -> None:
        """See L{egress.upstream.http2_origin_stream.ConnectionOwner.freed}."""
        key = connection.pool_key
        self.on_capacity(key)
        if not connection.streams and self._unshare(connection):
            self.put(key, connection)

    def retired(self, connection: Http2OriginConnection) -> None:
        """See L{egress.upstream.http2_origin_stream.ConnectionOwner.retired}."""
        self._unshare(connection)
        self._remove(connection)
        self.on_capacity(connection.pool_key)

    def _unshare(self, connection: Http2OriginConnection) -> bool:
        connections = self._shared.get(connection.pool_key, [])
        if connection not in connections:
            return False
        connections.remove(connection)
        if not connections:
            del self._shared[connection.pool_key]
        return True

    def _removed(self, key: PoolKey, connections: deque[Pooled]) -> None:
        self._count -= 1
        if not connections:
            del self._idle[key]

    def put(self, key: PoolKey, connection: Pooled, on_lost: Callable[[], None] | None = None) -> None:
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
        """Close all idle connections, and store none of the connections that were opened before this call.

        Connections in use accept no further requests.
        """
        self._cleared = self._clock.seconds()
        for shared in list(self._shared.values()):
            for connection in list(shared):
                connection.retire()
        for connections in list(self._idle.values()):
            for idle in list(connections):
                self._close(idle)

    def discard(self, key: PoolKey) -> None:
        """Close the connections under a key."""
        for connection in list(self._idle.get(key, ())):
            self._close(connection)

    def _notify_lost(self, connection: Pooled) -> None:
        self._remove(connection)
        on_lost, connection.on_lost = connection.on_lost, None
        if on_lost is not None:
            on_lost()

    def _remove(self, connection: Pooled) -> None:
        connections = self._idle.get(connection.pool_key)
        if connections is not None and connection in connections:
            connections.remove(connection)
            self._removed(connection.pool_key, connections)

    def _close(self, connection: Pooled) -> None:
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


def _ignore(key: PoolKey) -> None:
    pass
