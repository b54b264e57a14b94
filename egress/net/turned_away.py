"""Clients for whom there is no room."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from egress.model.errors import EgressError
from egress.net.inquiry import report_refusal
from egress.net.scope import client_identity, peer_of
from egress.net.transport import cut, no_delay
from egress.net.watchdog import Watchdog
from egress.wire.answer import encode_answer

if TYPE_CHECKING:
    from egress.net.parts import Parts

# What a client has to send its request, which is thrown away.  A connection closed with unread data is reset, and a
# reset may destroy the answer on its way (RFC 9112 section 9.6).
PATIENCE_SECONDS = 2.0


class TurnedAway(Protocol):
    """A connection that gets one answer, whatever it asks for.

    @param refusal: the answer; C{None}: the connection is cut.
    @param gone: is told when the connection is gone.
    """

    def __init__(self, parts: Parts, refusal: EgressError | None, gone: Callable[[], None]) -> None:
        self._parts = parts
        self._refusal = refusal
        self._gone = gone
        self._watchdog = Watchdog(parts.clock, self._expired)

    def connectionMade(self) -> None:
        """Answer before anything is asked: the limits are not for those who are slow to ask."""
        if self._refusal is None:
            self._expired()
            return
        no_delay(self.transport)
        client = client_identity(peer_of(self.transport), None)
        request_id = report_refusal(self._parts, client, self._refusal, "", "")
        date = self._parts.date()
        answer = encode_answer(self._refusal, request_id, accept=None, head_only=False, keep_alive=False, date=date)
        self.transport.write(answer)  # type: ignore[union-attr]
        self._watchdog.set(PATIENCE_SECONDS)

    def dataReceived(self, data: bytes) -> None:
        """Close, now that the client has its request on the way and reads."""
        self.transport.loseConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Make room for the next."""
        self._watchdog.stop()
        self._gone()

    def _expired(self) -> None:
        cut(self.transport)
