"""The client connections that are open, so that a stopping proxy can see the last of them go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

if TYPE_CHECKING:
    from egress.net.server import HttpSession


class Sessions:
    """A set of sessions that tells when it is empty."""

    def __init__(self) -> None:
        self._open: set[HttpSession] = set()
        self._waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._open)

    def add(self, session: HttpSession) -> None:
        """A session began."""
        self._open.add(session)

    def discard(self, session: HttpSession) -> None:
        """A session ended."""
        self._open.discard(session)
        if not self._open:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)

    def drain(self) -> Deferred[None]:
        """Have every session close once its exchange is over.

        @return: fires when none is left.  It may be cancelled.
        """
        for session in list(self._open):
            session.drain()
        if not self._open:
            return succeed(None)
        empty: Deferred[None] = Deferred(lambda deferred: self._waiting.remove(deferred))
        self._waiting.append(empty)
        return empty

    def abort(self) -> None:
        """Cut what is left."""
        for session in list(self._open):
            session.abort()
