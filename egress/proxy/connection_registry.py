"""The open client connections: the number per client, and a signal when the last one has closed."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred, succeed

from egress.config.model import Limits
from egress.model.errors import EgressError, Overloaded, TooManyConnections

if TYPE_CHECKING:
    from egress.proxy.revocations import Cutoff


class Session(Protocol):
    """A session, as shutdown and revocations use it."""

    def drain(self) -> None:
        """Close now if idle, otherwise after the current exchange."""

    def abort(self) -> None:
        """Abort the connection."""

    def revoke(self, cutoff: Cutoff) -> None:
        """End the exchanges or the tunnel of the session whose decision is revoked."""


class ConnectionRegistry:
    """A set of sessions that signals when it is empty.

    @ivar clients: the number of client connections. A connection can have a second session, inside a tunnel.
    @ivar streams: the number of requests on HTTP/2 connections, without one of each connection. They count against the
        connection limits, so that a client gets no more of the proxy with HTTP/2 than with HTTP/1.
    @ivar rejected: the number of connections that were rejected by the connection limits, or because no load balancer
        named their client.
    @ivar http2_faults: the number of HTTP/2 connections that were closed because of an error of the client.
    @ivar draining: whether the proxy is shutting down: connections are not kept alive.
    """

    def __init__(self) -> None:
        self.clients = 0
        self.streams = 0
        self.rejected = 0
        self.http2_faults = 0
        self.draining = False
        self._open: dict[Session, str | None] = {}
        self._by_client: defaultdict[str, int] = defaultdict(int)
        self._waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, session: Session) -> bool:
        return session in self._open

    def sessions(self) -> list[Session]:
        """Return the sessions that are open now."""
        return list(self._open)

    def count_for(self, client: str) -> int:
        """The number of connections of a client, and of its streams that count."""
        return self._by_client.get(client, 0)

    def refusal(self, client: str, limits: Limits) -> EgressError | None:
        """Return the error for a further connection of a client, if a connection limit is reached.

        @param client: the client's key for per-client limits; empty if nothing is known about the client.
        @param limits: the limits.
        """
        if self.clients + self.streams >= limits.connections:
            return Overloaded(f"the proxy serves {limits.connections} connections already; try again later")
        if client and self.count_for(client) >= limits.connections_per_client:
            return TooManyConnections(f"{client} has {limits.connections_per_client} connections open already")
        return None

    def count_streams(self, client: str, change: int) -> None:
        """Change the number of streams that count.

        @param client: the client's key for per-client limits (L{egress.model.limit_key}).
        @param change: the number of new streams, negative for streams that ended.
        """
        self.streams += change
        self._change(client, change)

    def _change(self, client: str, change: int) -> None:
        self._by_client[client] += change
        if not self._by_client[client]:
            del self._by_client[client]

    def accept(self, session: Session, client: str) -> None:
        """Register a client connection.

        @param session: the session of the connection.
        @param client: the client's key for per-client limits (L{egress.model.limit_key}).
        """
        self._open[session] = client
        self._change(client, 1)
        self.clients += 1

    def add(self, session: Session) -> None:
        """Register a session."""
        self._open.setdefault(session, None)

    def discard(self, session: Session) -> None:
        """Remove a session that ended."""
        client = self._open.pop(session, None)
        if client is not None:
            self.clients -= 1
            self._change(client, -1)
        if not self._open:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)

    def drain(self) -> Deferred[None]:
        """Close each session after its exchange. From now on, no connection is kept alive.

        @return: fires when no session is left. It can be cancelled.
        """
        self.draining = True
        for session in list(self._open):
            session.drain()
        if not self._open:
            return succeed(None)
        empty: Deferred[None] = Deferred(lambda deferred: self._waiting.remove(deferred))
        self._waiting.append(empty)
        return empty

    def abort(self) -> None:
        """Abort the remaining sessions."""
        for session in list(self._open):
            session.abort()
