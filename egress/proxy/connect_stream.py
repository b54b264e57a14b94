"""A CONNECT on an HTTP/2 connection with a client, whose stream carries a tunnel (RFC 9113 section 8.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from h2.errors import ErrorCodes
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.http.error_response import error_response
from egress.http.events import End
from egress.http2.client_fields import error_fields
from egress.http2.engine import Engine
from egress.model.decision import Header
from egress.model.errors import EgressError
from egress.proxy.http2_stream import LINGER_SECONDS
from egress.proxy.interfaces import IClientConnection, IHttp2ClientStream, IHttp2Connection, ITunnel
from egress.proxy.stream_transport import StreamTransport

if TYPE_CHECKING:
    from egress.model.decision import ClientIdentity
    from egress.proxy.context import ProxyContext
    from egress.proxy.revocations import Cutoff

_log = Logger()

_ESTABLISHED: Final[list[Header]] = [(b":status", b"200")]


@implementer(IClientConnection, IHttp2ClientStream, IPushProducer)
class ConnectStream:
    """The stream of a CONNECT, which its tunnel uses like a connection of its own.

    @param connection: the connection.
    @param engine: the state of the connection.
    @param stream_id: the identifier of the stream.
    @param client: the client that sent the CONNECT.
    @param below: the transport of the connection.
    @ivar deadline: the time at which the tunnel expires; C{None} without a timeout.
    @ivar transport: the transport of the tunnel.
    """

    def __init__(
        self,
        connection: IHttp2Connection,
        context: ProxyContext,
        engine: Engine,
        stream_id: int,
        client: ClientIdentity,
        *,
        below: object,
    ) -> None:
        self.deadline: float | None = None
        self.takes_trailers = False
        self.transport = StreamTransport(
            self,
            connection,
            engine,
            stream_id,
            below=below,
            clock=context.clock,
            turns=context.turns,
            client=client.limit_key,
        )
        self._connection = connection
        self._context = context
        self._engine = engine
        self._stream_id = stream_id
        self._client_ended = False
        self._tunnel: ITunnel
        self._closing = self._over = False

    def begin(self, tunnel: ITunnel) -> None:
        """Let a tunnel take over."""
        self._tunnel = tunnel
        self.transport.registerProducer(self, True)
        try:
            tunnel.begin(b"")
        except Exception:  # noqa: BLE001 - it must not stop the other streams of the connection
            _log.failure("a tunnel in a stream of HTTP/2 failed")
            self.abort()

    # -- for the connection

    def receive(self, event: bytes | End) -> None:
        """See L{IHttp2ClientStream.receive}."""
        if isinstance(event, End):
            self._client_ended = True
            if self._over:
                self._connection.stream_over(self._stream_id)
        self.transport.receive(event)

    def sent(self) -> None:
        """See L{IHttp2ClientStream.sent}."""
        self.transport.sent()

    def expired(self) -> None:
        """See L{IHttp2ClientStream.expired}."""
        if self._over:
            # The client has not ended its direction.
            self._engine.reset(self._stream_id, ErrorCodes.NO_ERROR)
            self._connection.write_soon()
            self._connection.stream_over(self._stream_id)
        elif self._closing:
            self.abort()
        else:
            self._tunnel.expired()

    def revoke(self, cutoff: Cutoff) -> None:
        """See L{IHttp2ClientStream.revoke}."""
        if not self._over:
            self._tunnel.revoke(cutoff)

    def lost(self, reason: Failure | EgressError | None = None) -> None:
        """Handle the loss of the stream, of which the connection or the transport notifies."""
        if not isinstance(reason, Failure):
            self._client_ended = True
            self.transport.lose(ConnectionLost())
            return
        self._over = True
        self._tunnel.connectionLost(reason)
        if self._client_ended or self.transport.aborted:
            self._connection.stream_over(self._stream_id)
        else:
            self.watch(LINGER_SECONDS)

    # -- for the transport

    def data_received(self, data: bytes) -> None:
        """Pass on data from the client."""
        self._tunnel.dataReceived(data)

    def read_closed(self) -> None:
        """Pass on the end of the client's data."""
        self._tunnel.readConnectionLost()

    def write_closed(self) -> None:
        """Pass on that the end of the stream was sent."""
        self._tunnel.writeConnectionLost()

    def pauseProducing(self) -> None:
        """Stop producing: the client reads too slowly."""
        self._tunnel.pauseProducing()

    def resumeProducing(self) -> None:
        """Produce again: the client reads again."""
        self._tunnel.resumeProducing()

    def stopProducing(self) -> None:
        """Do nothing: the transport is gone, and L{lost} follows."""

    # -- for the tunnel

    def watch(self, seconds: float | None) -> None:
        """See L{IClientConnection.watch}."""
        if self._closing and not self._over:
            # The timeout of the close applies.
            return
        if seconds is None:
            self.deadline = None
        else:
            self.deadline = deadline = self._context.clock.seconds() + seconds
            self._connection.expect(deadline)

    def unwatch(self) -> None:
        """See L{IClientConnection.unwatch}. The streams of a connection share one timer."""
        self.watch(None)

    def pause_reading(self) -> None:
        """See L{IClientConnection.pause_reading}."""
        self.transport.pauseProducing()

    def resume_reading(self) -> None:
        """See L{IClientConnection.resume_reading}."""
        self.transport.resumeProducing()

    def write(self, data: bytes) -> None:
        """See L{IClientConnection.write}."""
        self.transport.write(data)

    def close(self) -> None:
        """See L{IClientConnection.close}."""
        if not self._closing:
            self.watch(self._context.limits.idle_timeout)
            self._closing = True
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def abort(self) -> None:
        """See L{IClientConnection.abort}."""
        self._closing = True
        self.transport.abortConnection()

    # -- the response to the CONNECT

    def establish(self, outer: IClientConnection) -> None:
        """See L{egress.proxy.tunnel_replies.TunnelReplies.establish}."""
        self._engine.send_head(self._stream_id, _ESTABLISHED)
        self._connection.write_soon()

    def refuse(self, outer: IClientConnection, error: EgressError, request_id: str, date: bytes) -> bool:
        """See L{egress.proxy.tunnel_replies.TunnelReplies.refuse}."""
        response = error_response(error, request_id, accept=None, date=date)
        self._engine.send_head(self._stream_id, error_fields(response))
        self.transport.write(response.content)
        return True
