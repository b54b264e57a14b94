"""The client side of the proxy: HTTP/1 sessions on the listening port and inside tunnels.

L{egress.proxy.session_state} lists the states of a session and their successors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from egress.http.events import End, RequestHead
from egress.http.readers import RequestReader
from egress.http.request_target import RequestTarget
from egress.model.errors import ClientError, EgressError, RequestTimeout
from egress.proxy import session_state as states
from egress.proxy.client_auth import ANONYMOUS, ClientAuthentication, ClientAuthPolicy
from egress.proxy.exchange import Exchange
from egress.proxy.http1_stream import Http1Stream
from egress.proxy.interfaces import IHttp1Connection, ITunnel, TunnelOpener
from egress.proxy.outgoing_request import OutgoingRequest
from egress.proxy.session_refusal import fault_response, recorded_refusal
from egress.proxy.session_transport import SessionTransport
from egress.proxy.transaction import internal_error
from egress.proxy.tunnel_binding import Binding, destination_of, require_other_host, server_name_error
from egress.transport.fair_turns import PIECES, read_little
from egress.transport.lingering_close import LingeringClose
from egress.transport.tcp import abort_without_close_notify, no_delay
from egress.upstream.authenticated_connections import AuthenticatedConnections

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext
    from egress.proxy.revocations import Cutoff

_log = Logger()


class HttpSession(SessionTransport):
    """An HTTP/1 connection with a client.

    The session handles one request at a time. While an L{Exchange} is active, the session reads ahead by at most one
    read. It starts at most one request per reactor turn; L{egress.transport.fair_turns} schedules further requests that
    arrived in the same read.

    @param binding: C{None} on the listening port, where requests name their destination; otherwise the binding of the
        tunnel.
    @param auth_policy: the client authentication of the listening port.
    @param open_tunnel: creates the tunnel of a CONNECT on the listening port.
    @ivar logins: the authenticated origin connections that belong to this client connection only.
    @ivar backpressured: whether the client reads too slowly.
    @ivar unused_loss: the reason of the lost connection, if it carried no request.
    """

    # The compiler permits C{del} for no other attribute.
    __deletable__ = ("_client_auth", "_reader", "logins")

    def __init__(
        self,
        context: ProxyContext,
        *,
        binding: Binding | None = None,
        auth_policy: ClientAuthPolicy = ANONYMOUS,
        open_tunnel: TunnelOpener | None = None,
    ) -> None:
        super().__init__(context)
        self._binding, self._open_tunnel = binding, open_tunnel
        self._reader = RequestReader(context.head_limits)
        self.logins = AuthenticatedConnections(context.origins.pool, self.drain)
        self._client_auth = ClientAuthentication(context, self, auth_policy, binding.client if binding else None)
        self._exchange: Exchange | None = None
        self._tunnel: ITunnel | None = None
        self._lingering: LingeringClose | None = None
        self._sni_error: EgressError | None = None
        self.backpressured = self._client_ended = self._advancing = self._queued = self._used = False
        self.unused_loss: Failure | None = None

    def connectionMade(self) -> None:
        """Start to wait for the first request (C{IProtocol})."""
        no_delay(self.transport)
        self._context.sessions.add(self)
        self.transport.registerProducer(self, True)
        self._watchdog.set(self._context.limits.head_timeout)

    def handshakeCompleted(self) -> None:
        """Compare the TLS server name with the tunnel's authority (RFC 6066 section 3)."""
        if self._binding is not None:
            self._sni_error = server_name_error(self.transport, self._binding.origin.authority)

    def dataReceived(self, data: bytes) -> None:
        """Process bytes from the client."""
        if self._state in states.CLOSED:
            if self._lingering is not None:
                self._lingering.data_received(data)
        elif self._tunnel is not None:
            self._tunnel.dataReceived(data)
        elif self._state is states.UPGRADED and self._exchange is not None:
            self._exchange.upgraded_data(data)
        else:
            self._reader.receive(data)
            self.advance()

    def readConnectionLost(self) -> None:
        """Handle the end of the client's data. The client may still wait for a response."""
        exchange, self._client_ended = self._exchange, True
        if self._lingering is not None:
            self._lingering.read_closed()
        elif self._tunnel is not None:
            self._tunnel.readConnectionLost()
        elif not (self._client_auth.may_end if exchange is None else exchange.client_ended()):
            self.close()

    def writeConnectionLost(self) -> None:
        """Handle that all written data was sent, including the end of the stream."""
        if self._lingering is not None:
            self._lingering.write_closed()
        elif self._tunnel is not None:
            self._tunnel.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the loss of the client connection: stop its exchange or tunnel."""
        self._enter(states.LOST)
        if not self._used:
            self.unused_loss = reason
        self._watchdog.stop()
        if self._lingering is not None:
            self._lingering.stop()
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.connectionLost(reason)
        else:
            self._client_auth.drop(reason)
            exchange, self._exchange = self._exchange, None
            if exchange is not None:
                exchange.client_lost()
            self.logins.drop()
        # Last: when the last session is discarded, the audit log is closed.
        self._context.sessions.discard(self)

    def pauseProducing(self) -> None:
        """Stop producing: the client reads too slowly."""
        self.backpressured = True
        if self._tunnel is not None:
            self._tunnel.pauseProducing()
        elif self._exchange is not None:
            self._exchange.pause_response()

    def resumeProducing(self) -> None:
        """Produce again: the client reads again."""
        self.backpressured = False
        if self._tunnel is not None:
            self._tunnel.resumeProducing()
        elif self._exchange is not None:
            self._exchange.resume_response()
        else:
            self.advance()

    def stopProducing(self) -> None:
        """Do nothing: the transport is gone, and L{connectionLost} follows."""

    def advance(self) -> None:
        """Process buffered events while the session can take them."""
        # The local name keeps the compiler from the assumption that a tunnel never begins below.
        tunnel = self._tunnel
        if self._advancing or self._queued or tunnel is not None:
            return
        self._advancing = True
        try:
            pieces = 0
            while not (self._state in states.CLOSED or self._queued) and (taken := self._one_event()):
                pieces += taken > 1
                if pieces >= PIECES and self._reader.buffered:
                    self._wait_for_turn()
        except Exception:  # noqa: BLE001
            _log.failure("a session with a client failed")
            self.break_off()
        finally:
            self._advancing = False
        if self._tunnel is None and self._state not in states.CLOSED:
            self._update_reading()

    def _wait_for_turn(self) -> None:
        """Continue with the buffered data in a later turn of the reactor."""
        if not self._queued:
            self._queued = True
            self._context.turns.later(self._client_auth.client.limit_key, self._take_turn)
            read_little(self.transport)
        self.pause_reading()

    def _take_turn(self) -> None:
        self._queued = False
        self.advance()

    def _one_event(self) -> int:
        """Process one event; return 0 if no event can be processed now, 2 for content, otherwise 1."""
        exchange = self._exchange
        if not self._can_take_event(exchange):
            return 0
        try:
            event = self._reader.next_event()
        except ClientError as error:
            self._fault(error)
            return 0
        if event is None:
            if self._state is states.IDLE and self._reader.buffered:
                # The head timeout runs until the head is complete, however slowly its bytes arrive.
                self._enter(states.HEAD)
                self._watchdog.set(self._context.limits.head_timeout)
            return 0
        if isinstance(event, RequestHead):
            self._enter(states.REQUEST)
            self._used = True
            self._watchdog.clear()
            self._client_auth.admit(event)
        elif isinstance(event, End):
            if exchange is not None:
                exchange.body_end(event)
        elif exchange is not None:
            exchange.body_data(event)
            return 2
        return self._tunnel is None

    def _can_take_event(self, exchange: Exchange | None) -> bool:
        """Whether the next event can be processed. No new exchange starts while the client does not read responses."""
        if exchange is None:
            return not self.backpressured and self._state is not states.REQUEST
        return exchange.wants_body

    def _update_reading(self) -> None:
        """Pause reading while buffered data cannot be processed, so that the buffer stays bounded."""
        taken = self._state is states.UPGRADED or self._can_take_event(self._exchange)
        if self._queued or (not taken and self._reader.buffered):
            self.pause_reading()
        else:
            self.resume_reading()

    def admitted(self, head: RequestHead, refusal: EgressError | None) -> None:
        """Process a request after client authentication, which failed if there is a C{refusal}."""
        try:
            if refusal is not None:
                raise refusal
            if self._sni_error is not None:
                raise self._sni_error.with_traceback(None)
            target, origin = destination_of(self._binding, head, self._client_auth.schemes)
            if origin is None:
                self._connect(target, head)
                return
            require_other_host(origin)
            client = self._client_auth.client
            outgoing = OutgoingRequest(head, client, origin, target, self._context.upgrade_protocols)
        except EgressError as error:
            self._refuse(head, error)
            return
        self._enter(states.EXCHANGE)
        self._exchange = exchange = Exchange(self._context, Http1Stream(self, self._context, head), client, outgoing)
        exchange.start()

    def _connect(self, target: RequestTarget, head: RequestHead) -> None:
        assert target.authority is not None and self._open_tunnel is not None
        tunnel = self._open_tunnel(self._context, self, target.authority, self._client_auth.client, head.headers)
        self._begin(tunnel, self._reader.take_remaining())

    def _begin(self, tunnel: ITunnel, rest: bytes) -> None:
        self._enter(states.TUNNEL)
        self._tunnel = tunnel
        # No longer needed, and a tunnel may stay open for a long time.
        del self._reader, self._client_auth, self.logins
        tunnel.begin(rest)

    # -- for the exchange or tunnel

    def relay(self) -> None:
        """Pass all further data to the exchange, which has switched protocols."""
        self._enter(states.UPGRADED)
        rest = self._reader.take_remaining()
        if rest and self._exchange is not None:
            self._exchange.upgraded_data(rest)
        self.resume_reading()

    def may_keep_alive(self, head: RequestHead) -> bool:
        """Whether the connection stays open after the response to a request."""
        return head.keep_alive and not (self._context.sessions.draining or self._client_ended or self.logins.ended)

    def request_over(self, head: RequestHead) -> bool:
        """Whether the whole request was read."""
        return not head.framing.has_body if self._exchange is None else self._exchange.body_over

    def response_over(self, head: RequestHead, *, keep_alive: bool) -> None:
        """Handle a complete response: wait for the next request, or close."""
        request_over = self.request_over(head)
        self._exchange = None
        if self._state not in (states.REQUEST, states.EXCHANGE):
            self.close()
        elif not (keep_alive and request_over and self.may_keep_alive(head)):
            self.close(last=request_over and not head.keep_alive)
        else:
            self._enter(states.IDLE)
            self._watchdog.set(self._context.limits.idle_timeout)
            if self._reader.buffered:
                self._wait_for_turn()
            else:
                self.resume_reading()

    def close(self, *, last: bool = False) -> None:
        """Close the connection after all written data is sent.

        @param last: whether the client sends nothing more: it is idle, or has announced that this was its last request.
        """
        if self._state in states.CLOSED:
            return
        tunneled = self._state is states.TUNNEL
        self._enter(states.CLOSING)
        if self._paused:
            # Read what the client still sends, in particular the end of its data.
            self.transport.resumeProducing()
        self.transport.unregisterProducer()
        # A slow client may need time to receive the remaining data.
        timeout = self._context.limits.idle_timeout
        if self._client_ended or (last and not tunneled and not self._reader.buffered):
            self._watchdog.set(timeout)
            self.transport.loseConnection()
        else:
            self._watchdog.clear()
            self._lingering = LingeringClose(self.transport, self._context.clock, timeout)

    def abort(self) -> None:
        """Abort the connection, so that the client detects that data is missing."""
        self._enter(states.LOST)
        abort_without_close_notify(self.transport)

    def revoke(self, cutoff: Cutoff) -> None:
        """See L{egress.proxy.connection_registry.Session}."""
        if self._tunnel is not None:
            self._tunnel.revoke(cutoff)
        elif self._exchange is not None:
            self._exchange.revoke(cutoff)

    def drain(self) -> None:
        """Prepare for shutdown: close now if idle, otherwise after the current exchange."""
        # If buffered requests wait for their turn, the response to the first one announces the close.
        if self._state in (states.IDLE, states.HEAD) and not self._queued:
            if self._used:
                self.close(last=True)
            else:
                self._watchdog.set(states.FIRST_REQUEST_SECONDS)

    def _expired(self) -> None:
        if self._state in states.CLOSED:
            self.transport.abortConnection()
        elif self._tunnel is not None:
            self._tunnel.expired()
        elif self._exchange is not None:
            self._exchange.expired()
        elif self._state is states.HEAD:
            self._fault(RequestTimeout("the request head was not received in time"))
        else:
            self.close(last=True)

    def break_off(self) -> None:
        """Close after an internal error. A waiting client gets an error response where that is still possible."""
        if self._tunnel is not None:
            self.abort()
        else:
            self._fault(internal_error())
            self.close()

    def _fault(self, error: EgressError) -> None:
        """Respond once to input that cannot be parsed, then close."""
        self._used = True
        if self._exchange is not None:
            self._exchange.fail(error)
            return
        self.write(fault_response(self._context, self._client_auth.client, error))
        self.close()

    def _refuse(self, head: RequestHead, error: EgressError) -> None:
        """Send an error response for a request that did not become an exchange."""
        request_id = recorded_refusal(self._context, self._client_auth.client, self._binding, head, error)
        Http1Stream(self, self._context, head).fail(error, request_id)


# The decorator C{implementer} and the base C{Protocol} would make it an interpreted class.
classImplements(HttpSession, IHttp1Connection, IPushProducer, IHalfCloseableProtocol, IHandshakeListener, IProtocol)
