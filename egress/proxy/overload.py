"""The protocol of client connections that exceed a connection limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from h2.errors import ErrorCodes
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.http.error_response import encode_error_response
from egress.http2.engine import Engine, EngineSettings
from egress.model.errors import EgressError
from egress.proxy.session_refusal import report_refusal
from egress.proxy.tunnel_binding import client_identity, peer_of
from egress.tls.host_contexts import HTTP2
from egress.transport.lingering_close import LingeringClose
from egress.transport.tcp import abort_without_close_notify, no_delay
from egress.transport.tls_layer import TLS_LAYERS
from egress.transport.watchdog import Watchdog

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext

# The time in which a client must send its request, which is discarded, and then close its side.
LINGER_SECONDS = 2.0
# The limit of a head that is announced, although no request is read.
_HEADER_LIST = 4096


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class RejectedConnection(Protocol):
    """A connection that gets one error response, whatever it requests.

    @param refusal: the error; C{None} to abort the connection.
    @param on_lost: is called with this protocol when the connection is lost.
    """

    def __init__(
        self, context: ProxyContext, refusal: EgressError | None, on_lost: Callable[[RejectedConnection], None]
    ) -> None:
        self._context = context
        self._refusal = refusal
        self._on_lost = on_lost
        self._watchdog = Watchdog(context.clock, self._expired)
        self._lingering: LingeringClose | None = None
        self._response = b""

    def connectionMade(self) -> None:
        """Respond before a request arrives, so that a slow client does not occupy the connection longer."""
        if self._refusal is None:
            self._expired()
            return
        no_delay(self.transport)
        client = client_identity(peer_of(self.transport), None)
        request_id = report_refusal(self._context.authz, client, self._refusal, "", "")
        date = self._context.date()
        self._response = encode_error_response(
            self._refusal, request_id, accept=None, head_only=False, keep_alive=False, date=date
        )
        self._watchdog.set(LINGER_SECONDS)
        if not isinstance(self.transport, TLS_LAYERS):
            self.transport.write(self._response)  # type: ignore[union-attr]

    def handshakeCompleted(self) -> None:
        """Respond in the version of HTTP that the client has selected."""
        transport: Any = self.transport
        if self._refusal is not None:
            transport.write(_goodbye(self._refusal) if transport.negotiatedProtocol == HTTP2 else self._response)

    def dataReceived(self, data: bytes) -> None:
        """Close: the client has started to send its request, and reads."""
        if self._lingering is None:
            self._watchdog.stop()
            self._lingering = LingeringClose(self.transport, self._context.clock, LINGER_SECONDS, LINGER_SECONDS)
        self._lingering.data_received(data)

    def close(self) -> None:
        """Close before the request arrives, to release the descriptor. Written data is still sent."""
        self.transport.loseConnection()  # type: ignore[union-attr]

    def readConnectionLost(self) -> None:
        """Handle the end of the client's data."""
        self.transport.loseConnection()  # type: ignore[union-attr]

    def writeConnectionLost(self) -> None:
        """Handle that the response was sent."""
        if self._lingering is not None:
            self._lingering.write_closed()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the loss of the connection."""
        self._watchdog.stop()
        if self._lingering is not None:
            self._lingering.stop()
        self._on_lost(self)

    def _expired(self) -> None:
        abort_without_close_notify(self.transport)


def _goodbye(refusal: EgressError) -> bytes:
    """The response in HTTP/2: a C{GOAWAY} with the reason, before any stream exists."""
    engine = Engine(client=False, settings=EngineSettings(header_list=_HEADER_LIST))
    engine.begin()
    engine.fail(ErrorCodes.ENHANCE_YOUR_CALM, refusal.reason)
    return engine.take_output()
