"""Origin connections that serve only one client connection, because the origin authenticates them (RFC 4559)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from egress.model.authority import IPAddress
from egress.model.limit_key import limit_key
from egress.model.route import Route
from egress.upstream.origin_connection import OriginConnection, PoolKey
from egress.upstream.pool import OriginPool, Stream

# Idle authenticated connections of one client connection.
MAX_PER_SESSION: Final = 16
# Idle authenticated connections of all client connections of one client.
MAX_PER_CLIENT: Final = 256


class AuthenticatedConnections:
    """The origin connections of one client connection.

    On some connections, an origin may have authenticated the client.  The pool stores them under keys that no other
    client connection uses, and its limits and timeouts apply to them.  They are closed together with the client
    connection.  All other connections are shared; see L{OriginPool}.

    @param finish: ends the client connection after its current exchange; called when an authenticated connection
        is lost.
    @param max_per_session: see L{MAX_PER_SESSION}.
    @param max_per_client: see L{MAX_PER_CLIENT}.
    @ivar ended: whether an authenticated connection was lost, so that the client connection ends.
    """

    __slots__ = ("_finish", "_idle", "_lost", "_max_per_client", "_max_per_session", "_over", "_pool", "ended")

    def __init__(
        self,
        pool: OriginPool,
        finish: Callable[[], None],
        *,
        max_per_session: int = MAX_PER_SESSION,
        max_per_client: int = MAX_PER_CLIENT,
    ) -> None:
        self.ended = False
        self._pool = pool
        self._finish = finish
        self._max_per_session = max_per_session
        self._max_per_client = max_per_client
        # Few sessions have authenticated connections; the other sessions have no dictionaries, and hash no key.
        self._idle: dict[PoolKey, OriginConnection] | None = None
        self._lost: set[PoolKey] | None = None
        self._over = False

    def route(self, key: PoolKey) -> Route | None:
        """Return the route of the connection that L{take} would return; see L{OriginPool.route}."""
        idle = self._idle
        return self._pool.route((self, *key) if idle and key in idle else key)

    def lost(self, key: PoolKey) -> bool:
        """Tell whether an authenticated connection was lost, on which the client's next request relies."""
        lost = self._lost
        return lost is not None and key in lost

    def take(
        self,
        key: PoolKey,
        *,
        repeatable: bool,
        addresses: tuple[IPAddress, ...] | None,
        upgrade: bool = False,
        fresh: bool = False,
    ) -> Stream | None:
        """Take an idle connection; see L{OriginPool.take}.

        @param key: see L{OriginPool.take}.
        @param repeatable: see L{OriginPool.take}.
        @param addresses: see L{OriginPool.take}.
        @param upgrade: whether the request asks for another protocol.  Such a request gets a new connection, unless the
            client is authenticated on an idle connection, and gets a tunnel if there is an upstream proxy.
        @param fresh: whether a connection that another client connection has used is unsuitable.
        """
        all_idle = self._idle
        idle = all_idle.get(key) if all_idle else None
        if idle is None:
            return None if upgrade or fresh else self._pool.take(key, repeatable=repeatable, addresses=addresses)
        if upgrade and idle.route.absolute_form:
            return None
        repeatable = repeatable or idle.logged_in
        connection = self._pool.take((self, *key), repeatable=repeatable, addresses=addresses)
        if connection is not None:
            self._forget(key)
        return connection

    def keep(self, key: PoolKey, connection: OriginConnection) -> None:
        """Return a connection to the pool.  Beyond the limits it is closed instead, and its authentication is lost."""
        if not connection.private:
            self._pool.put(key, connection)
            return
        private = (self, *key)
        idle = self._idle
        if idle is None:
            idle = self._idle = {}
        former = idle.get(key)
        if former is not None:
            # The former connection did not fit the request, so the authentication continued on the new one.
            former.on_lost = None
            self._forget(key)
            self._pool.discard(private)
        idle[key] = connection
        counts, client = self._pool.private, _client(key)
        counts[client] += 1
        if self._over or counts[client] > self._max_per_client:
            connection.close()
            self._connection_lost(key, connection)
            return
        self._pool.put(private, connection, partial(self._connection_lost, key, connection))
        if len(idle) > self._max_per_session:
            self._pool.discard((self, *next(iter(idle))))

    def _forget(self, key: PoolKey) -> None:
        assert self._idle is not None
        del self._idle[key]
        counts, client = self._pool.private, _client(key)
        counts[client] -= 1
        if not counts[client]:
            del counts[client]

    def _connection_lost(self, key: PoolKey, connection: OriginConnection) -> None:
        self._forget(key)
        if connection.logged_in and not self._over:
            if self._lost is None:
                self._lost = set()
            self._lost.add(key)
            self.ended = True
            self._finish()

    def drop(self) -> None:
        """Close the idle authenticated connections, because the client connection is closed."""
        self._over = True
        for key in list(self._idle or ()):
            self._pool.discard((self, *key))


def _client(key: PoolKey) -> str:
    """Return the client of a key of L{egress.proxy.outgoing_request}, as per-client limits count it (L{limit_key})."""
    client = key[0]
    assert isinstance(client, tuple)
    return limit_key(str(client[0]))
