"""The open client connections: the number per client, and a signal when the last one has closed."""

from __future__ import annotations

from collections import defaultdict
from typing import Protocol

from twisted.internet.defer import Deferred, succeed


class Session(Protocol):
    """A session, as shutdown uses it."""

    def drain(self) -> None:
        """Close now if idle, otherwise after the current exchange."""

    def abort(self) -> None:
        """Abort the connection."""


class ConnectionRegistry:
    """A set of sessions that signals when it is empty.

    @ivar clients: the number of client connections. A connection can have a second session, inside a tunnel.
    @ivar rejected: the number of connections that were rejected by the connection limits.
    @ivar draining: whether the proxy is shutting down: connections are not kept alive.
    """

    def __init__(self) -> None:
        self.clients = 0
        self.rejected = 0
        self.draining = False
        self._open: dict[Session, str | None] = {}
        self._by_client: defaultdict[str, int] = defaultdict(int)
        self._waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._open)

    def count_for(self, client: str) -> int:
        """The number of connections of a client."""
        return self._by_client.get(client, 0)

    def accept(self, session: Session, client: str) -> None:
        """Register a client connection.

        @param session: the session of the connection.
        @param client: the client's key for per-client limits (L{egress.model.limit_key}).
        """
        self._open[session] = client
        self._by_client[client] += 1
        self.clients += 1

    def add(self, session: Session) -> None:
        """Register a session."""
        self._open.setdefault(session, None)

    def discard(self, session: Session) -> None:
        """Remove a session that ended."""
        client = self._open.pop(session, None)
        if client is not None:
            self.clients -= 1
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]
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
