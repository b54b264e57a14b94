"""Connections to origins that are for one client connection alone, since an origin authenticates it (RFC 4559)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from egress.model.authority import IPAddress
from egress.model.limit_key import limit_key
from egress.model.route import Route
from egress.upstream.origin_connection import OriginConnection, PoolKey
from egress.upstream.pool import OriginPool

# Origins to which one client connection is logged in at the same time, and which rest.
MAX_PER_SESSION: Final = 16
# Such connections that rest, of all client connections of one client.
MAX_PER_CLIENT: Final = 256


class AuthenticatedConnections:
    """The connections to origins of one client connection.

    Those on which an origin may have authenticated the client rest in the pool under keys that no other client
    connection has, so that the bounds and times of the pool hold for them.  They are closed together with the client
    connection.  All others are shared, as L{OriginPool} says.

    @param finish: ends the client connection once nothing is under way; called when a login is lost.
    @ivar ended: whether a login was lost, so that the client connection ends.
    """

    __slots__ = ("_finish", "_lost", "_over", "_pool", "_resting", "ended")

    def __init__(self, pool: OriginPool, finish: Callable[[], None]) -> None:
        self.ended = False
        self._pool = pool
        self._finish = finish
        self._resting: dict[PoolKey, OriginConnection] = {}
        self._lost: dict[PoolKey, None] = {}
        self._over = False

    def route(self, key: PoolKey) -> Route | None:
        """The route of the connection that L{take} would give; see L{OriginPool.route}."""
        # Few sessions have any; without them, no key has to be hashed.
        return self._pool.route((self, *key) if self._resting and key in self._resting else key)

    def lost(self, key: PoolKey) -> bool:
        """Whether a login was lost with its connection: what the client sends next counts on it."""
        return key in self._lost

    def take(
        self,
        key: PoolKey,
        *,
        repeatable: bool,
        addresses: tuple[IPAddress, ...] | None,
        upgrade: bool = False,
        fresh: bool = False,
    ) -> OriginConnection | None:
        """Take a connection that rests; see L{OriginPool.take}.

        @param upgrade: whether the request asks for another protocol: that gets a connection of its own, unless the
            client is logged in, and a tunnel where there is an upstream proxy.
        @param fresh: whether it has to be one that no other client connection has used.
        """
        resting = self._resting.get(key) if self._resting else None
        if resting is None:
            return None if upgrade or fresh else self._pool.take(key, repeatable=repeatable, addresses=addresses)
        if upgrade and resting.route.absolute_form:
            return None
        repeatable = repeatable or resting.logged_in
        connection = self._pool.take((self, *key), repeatable=repeatable, addresses=addresses)
        if connection is not None:
            self._forget(key)
        return connection

    def keep(self, key: PoolKey, connection: OriginConnection) -> None:
        """Have a connection rest.  Where that is beyond the bounds it is closed instead, and the login is lost."""
        if not connection.private:
            self._pool.put(key, connection)
            return
        private = (self, *key)
        former = self._resting.get(key)
        if former is not None:
            # It did not fit the request, so that the login went on over this one.
            former.gone = None
            self._forget(key)
            self._pool.discard(private)
        self._resting[key] = connection
        counts, client = self._pool.private, _client(key)
        counts[client] += 1
        if self._over or counts[client] > MAX_PER_CLIENT:
            connection.close()
            self._gone(key, connection)
            return
        self._pool.put(private, connection, lambda: self._gone(key, connection))
        if len(self._resting) > MAX_PER_SESSION:
            self._pool.discard((self, *next(iter(self._resting))))

    def _forget(self, key: PoolKey) -> None:
        del self._resting[key]
        counts, client = self._pool.private, _client(key)
        counts[client] -= 1
        if not counts[client]:
            del counts[client]

    def _gone(self, key: PoolKey, connection: OriginConnection) -> None:
        self._forget(key)
        if connection.logged_in and not self._over:
            self._lost[key] = None
            self.ended = True
            self._finish()

    def drop(self) -> None:
        """Close them: the client connection is closed."""
        self._over = True
        for key in list(self._resting):
            self._pool.discard((self, *key))


def _client(key: PoolKey) -> str:
    """The client in a key of L{egress.proxy.outgoing_request}, as per-client limits count it (L{limit_key})."""
    client = key[0]
    assert isinstance(client, tuple)
    return limit_key(str(client[0]))
