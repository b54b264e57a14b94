"""Clients for whom there is no room."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.http.error_response import encode_error_response
from egress.model.errors import EgressError
from egress.proxy.transaction import report_refusal
from egress.proxy.tunnel_binding import client_identity, peer_of
from egress.transport.lingering_close import LingeringClose
from egress.transport.tcp import abort_without_close_notify, no_delay
from egress.transport.watchdog import Watchdog

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext

# What a client has to send its request, which is discarded, and then to end its side.
LINGER_SECONDS = 2.0


@implementer(IHalfCloseableProtocol)
class RejectedConnection(Protocol):
    """A connection that gets one answer, whatever it asks for.

    @param refusal: the answer; C{None}: the connection is cut.
    @param gone: is called with this protocol when the connection is gone.
    """

    def __init__(
        self, parts: ProxyContext, refusal: EgressError | None, gone: Callable[[RejectedConnection], None]
    ) -> None:
        self._parts = parts
        self._refusal = refusal
        self._gone = gone
        self._watchdog = Watchdog(parts.clock, self._expired)
        self._lingering: LingeringClose | None = None

    def connectionMade(self) -> None:
        """Answer before anything is asked: the limits are not for those who are slow to ask."""
        if self._refusal is None:
            self._expired()
            return
        no_delay(self.transport)
        client = client_identity(peer_of(self.transport), None)
        request_id = report_refusal(self._parts, client, self._refusal, "", "")
        date = self._parts.date()
        answer = encode_error_response(
            self._refusal, request_id, accept=None, head_only=False, keep_alive=False, date=date
        )
        self.transport.write(answer)  # type: ignore[union-attr]
        self._watchdog.set(LINGER_SECONDS)

    def dataReceived(self, data: bytes) -> None:
        """Close, now that the client has its request on the way and reads."""
        if self._lingering is None:
            self._watchdog.stop()
            self._lingering = LingeringClose(self.transport, self._parts.clock, LINGER_SECONDS, LINGER_SECONDS)
        self._lingering.data_received(data)

    def close(self) -> None:
        """Close before the client has sent its request: the descriptor is needed.  What was written is still sent."""
        self.transport.loseConnection()  # type: ignore[union-attr]

    def readConnectionLost(self) -> None:
        """The client sends no more."""
        self.transport.loseConnection()  # type: ignore[union-attr]

    def writeConnectionLost(self) -> None:
        """The answer is sent."""
        if self._lingering is not None:
            self._lingering.write_closed()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Make room for the next."""
        self._watchdog.stop()
        if self._lingering is not None:
            self._lingering.stop()
        self._gone(self)

    def _expired(self) -> None:
        abort_without_close_notify(self.transport)
