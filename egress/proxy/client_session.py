"""The client side of the proxy: HTTP/1 sessions on the listening port and inside tunnels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.http.body import End
from egress.http.error_response import encode_error_response
from egress.http.heads import RequestHead
from egress.http.readers import RequestReader
from egress.http.request_target import RequestTarget
from egress.model.errors import ClientError, EgressError, RequestTimeout, outcome_of
from egress.proxy.client_auth import ANONYMOUS, ClientAuthentication, ClientAuthPolicy
from egress.proxy.exchange import Exchange
from egress.proxy.outgoing_request import OutgoingRequest
from egress.proxy.transaction import internal_fault, report_refusal
from egress.proxy.tunnel_binding import TunnelBinding, destination_of, server_name_error, target_for_log
from egress.transport.fair_turns import PIECES, Pace
from egress.transport.lingering_close import LingeringClose
from egress.transport.tcp import abort_without_close_notify, no_delay
from egress.transport.watchdog import Watchdog
from egress.upstream.authenticated_connections import AuthenticatedConnections

if TYPE_CHECKING:
    from egress.proxy.connect_tunnel import Tunnel
    from egress.proxy.context import ProxyContext

_log = Logger()


@implementer(IPushProducer, IHalfCloseableProtocol, IHandshakeListener)
class HttpSession(Protocol):
    """An HTTP/1 connection with a client.

    The session handles one request at a time. While an L{Exchange} is active, the session reads ahead by at most one
    read. It starts at most one request per reactor turn; L{egress.transport.fair_turns} schedules further requests that
    arrived in the same read.

    @param binding: C{None} on the listening port, where requests name their destination; otherwise the binding of the
        tunnel.
    @param auth_policy: the client authentication of the listening port.
    @ivar logins: the authenticated origin connections that belong to this client connection only.
    """

    def __init__(
        self, context: ProxyContext, binding: TunnelBinding | None = None, auth_policy: ClientAuthPolicy = ANONYMOUS
    ) -> None:
        self._context = context
        self._binding = binding
        self._reader = RequestReader(context.head_limits)
        self._watchdog = Watchdog(context.clock, self._expired)
        self.logins = AuthenticatedConnections(context.pool, self.drain)
        tunnel_client = binding.client if binding is not None else None
        self._client_auth = ClientAuthentication(context, self, auth_policy, tunnel_client)
        self._exchange: Exchange | None = None
        self._tunnel: Tunnel | None = None
        self._sni_error: EgressError | None = None
        self._advancing = self._paused = self._backpressured = False
        self._closed = self._half_closed = self._head_started = False
        self._pace = Pace(context.turns, self.advance)
        self._lingering: LingeringClose | None = None
        self.unused: Failure | bool = True  # the reason, once a connection without requests is lost

    def connectionMade(self) -> None:
        """Start to wait for the first request."""
        no_delay(self.transport)
        self._context.sessions.add(self)
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
        self._watchdog.set(self._context.limits.head_timeout)

    def handshakeCompleted(self) -> None:
        """Compare the TLS server name with the tunnel's authority (RFC 6066 section 3)."""
        if self._binding is not None:
            self._sni_error = server_name_error(self.transport, self._binding.origin.authority)

    def dataReceived(self, data: bytes) -> None:
        """Process bytes from the client."""
        if self._closed:
            if self._lingering is not None:
                self._lingering.data_received(data)
            return
        if self._tunnel is not None:
            self._tunnel.dataReceived(data)
        elif self._exchange is not None and self._exchange.is_upgraded:
            self._exchange.upgraded_data(data)
        else:
            self._reader.receive(data)
            self.advance()

    def readConnectionLost(self) -> None:
        """Handle the end of the client's data. The client may still wait for a response."""
        exchange, self._half_closed = self._exchange, True
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
        self.unused = self.unused and reason
        self._closed = True
        self._watchdog.stop()
        if self._lingering is not None:
            self._lingering.stop()
        self._client_auth.drop(reason)
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.connectionLost(reason)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_lost()
        self.logins.drop()
        # Last: when the last session is discarded, the audit log is closed.
        self._context.sessions.discard(self)

    def pauseProducing(self) -> None:
        """Stop producing: the client reads too slowly."""
        self._backpressured = True
        if self._tunnel is not None:
            self._tunnel.pauseProducing()
        elif self._exchange is not None:
            self._exchange.pause_response()

    def resumeProducing(self) -> None:
        """Produce again: the client reads again."""
        self._backpressured = False
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
        if self._advancing or self._pace.queued or self._tunnel is not None:
            return
        self._advancing = True
        try:
            pace, pieces = self._pace, 0
            while not (self._closed or pace.queued) and (taken := self._one_event()):
                pieces += taken > 1
                if pieces >= PIECES and self._reader.buffered:
                    self._wait_for_turn()
        except Exception:  # noqa: BLE001
            _log.failure("a session with a client failed")
            self.break_off()
        finally:
            self._advancing = False
        if self._tunnel is None and not self._closed:
            self._update_reading()

    def _wait_for_turn(self) -> None:
        """Continue with the buffered data in a later turn of the reactor."""
        self._pace.wait(self._client_auth.client.limit_key, self.transport)
        self.pause_reading()

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
            if exchange is None and self._reader.buffered and not self._head_started:
                # The first bytes of a head have arrived: the head timeout runs until the head is complete, however
                # slowly its bytes arrive.
                self._head_started = True
                self._watchdog.set(self._context.limits.head_timeout)
            return 0
        if isinstance(event, RequestHead):
            self._head_started = self.unused = False
            self._watchdog.clear()
            self._client_auth.admit(event)
        elif exchange is not None:
            if isinstance(event, End):
                exchange.body_end(event)
            else:
                exchange.body_data(event)
                return 2
        return self._tunnel is None

    def _can_take_event(self, exchange: Exchange | None) -> bool:
        """Whether the next event can be processed. No new exchange starts while the client does not read responses."""
        if exchange is None:
            return not self._backpressured and self._client_auth.waiting is None
        return exchange.wants_body

    def _update_reading(self) -> None:
        """Pause reading while buffered data cannot be processed, so that the buffer stays bounded."""
        exchange = self._exchange
        taken = self._can_take_event(exchange) or (exchange is not None and exchange.is_upgraded)
        if self._pace.queued or (not taken and self._reader.buffered):
            self.pause_reading()
        else:
            self.resume_reading()

    def pause_reading(self) -> None:
        """Pause reading from the client."""
        if not self._paused and not self._closed:
            self._paused = True
            self.transport.pauseProducing()  # type: ignore[union-attr]

    def resume_reading(self) -> None:
        """Resume reading from the client."""
        if self._paused and not self._closed:
            self._paused = False
            self.transport.resumeProducing()  # type: ignore[union-attr]

    def admitted(self, head: RequestHead, refusal: EgressError | None) -> None:
        """Process a request after client authentication, which failed if there is a C{refusal}."""
        try:
            if refusal is not None:
                raise refusal
            if self._sni_error is not None:
                raise self._sni_error.with_traceback(None)
            target, origin = destination_of(self._binding, head, self._client_auth.schemes)
            if origin is None:
                self._connect(target)
                return
            client = self._client_auth.client
            outgoing = OutgoingRequest(head, client, origin, target, self._context.upgrade_protocols)
        except EgressError as error:
            self._refuse(head, error)
            return
        self._exchange = Exchange(self, self._context, client, outgoing)
        self._exchange.start()

    def _connect(self, target: RequestTarget) -> None:
        from egress.proxy.connect_tunnel import Tunnel  # noqa: PLC0415 - the two modules import each other

        assert target.authority is not None
        self._tunnel = tunnel = Tunnel(self._context, self, target.authority, self._client_auth.client)
        rest = self._reader.take_remaining()
        del self._reader  # no longer needed, and a tunnel may stay open for a long time
        tunnel.begin(rest)

    @property
    def client_backpressured(self) -> bool:
        """Whether the client reads too slowly."""
        return self._backpressured

    def write(self, data: bytes) -> None:
        """Send data to the client."""
        if not self._closed:
            self.transport.write(data)  # type: ignore[union-attr]

    def watch(self, seconds: float | None) -> None:
        """Set the timeout of the exchange or tunnel; C{None} disables it."""
        self._watchdog.set(seconds)

    def upgraded(self) -> None:
        """Pass buffered data to the exchange, which has become a relay."""
        exchange = self._exchange
        rest = self._reader.take_remaining()
        if rest and exchange is not None:
            exchange.upgraded_data(rest)
        self.resume_reading()

    def may_keep_alive(self, head: RequestHead) -> bool:
        """Whether the connection stays open after the response to a request."""
        return head.keep_alive and not (self._context.draining or self._half_closed or self.logins.ended)

    def exchange_over(self, exchange: Exchange, *, keep_alive: bool) -> None:
        """Handle a complete response: wait for the next request, or close."""
        self._exchange = None
        if keep_alive and exchange.body_over and self.may_keep_alive(exchange.head):
            self._await_next_request()
        else:
            self.close(last=exchange.body_over and not exchange.head.keep_alive)

    def respond_with_error(self, exchange: Exchange, error: EgressError) -> None:
        """Send an error response for an exchange that failed."""
        self._exchange = None
        self._send_error(exchange.head, error, exchange.request_id, exchange.body_over)

    def _send_error(self, head: RequestHead, error: EgressError, request_id: str, body_over: bool) -> None:
        if outcome_of(error).status is None:
            self.abort()
            return
        keep_alive = body_over and self.may_keep_alive(head)
        head_only, date = head.method == "HEAD", self._context.date()
        self.write(
            encode_error_response(
                error, request_id, accept=head.accept, head_only=head_only, keep_alive=keep_alive, date=date
            )
        )
        if keep_alive:
            self._await_next_request()
        else:
            self.close(last=body_over and not head.keep_alive)

    def _await_next_request(self) -> None:
        """Wait for the next request. A buffered request is processed in a later turn."""
        self._watchdog.set(self._context.limits.idle_timeout)
        self._head_started = False
        if self._reader.buffered:
            self._wait_for_turn()
        else:
            self.resume_reading()

    def close(self, *, last: bool = False) -> None:
        """Close the connection after all written data is sent.

        @param last: whether the client sends nothing more: it is idle, or has announced that this was its last request.
        """
        if self._closed:
            return
        self._closed = True
        if self._paused:
            # Read what the client still sends, in particular the end of its data.
            self.transport.resumeProducing()  # type: ignore[union-attr]
        self.transport.unregisterProducer()  # type: ignore[union-attr]
        # A slow client may need time to receive the remaining data.
        timeout = self._context.limits.idle_timeout
        if self._half_closed or (last and self._tunnel is None and not self._reader.buffered):
            self._watchdog.set(timeout)
            self.transport.loseConnection()  # type: ignore[union-attr]
        else:
            self._watchdog.clear()
            self._lingering = LingeringClose(self.transport, self._context.clock, timeout)

    def abort(self) -> None:
        """Abort the connection, so that the client detects that data is missing."""
        self._closed = True
        abort_without_close_notify(self.transport)

    def drain(self) -> None:
        """Prepare for shutdown: close now if idle, otherwise after the current exchange."""
        busy = self._tunnel or self._exchange or self._client_auth.waiting
        # If buffered requests wait for their turn, the response to the first one announces the close.
        if busy is None and not self._closed and not self._pace.queued:
            self.close(last=True)

    def _expired(self) -> None:
        if self._closed:
            self.transport.abortConnection()  # type: ignore[union-attr]
        elif self._tunnel is not None:
            self._tunnel.expired()
        elif self._exchange is not None:
            self._exchange.expired()
        elif self._head_started:
            self._fault(RequestTimeout("the request head was not sent in time"))
        else:
            self.close(last=True)

    def break_off(self) -> None:
        """Close after an internal error. A waiting client gets an error response where that is still possible."""
        if self._tunnel is not None:
            self.abort()
        else:
            self._fault(internal_fault())
            self.close()

    def _fault(self, error: EgressError) -> None:
        """Respond once to input that cannot be parsed, then close."""
        self.unused = False
        if self._exchange is not None:
            self._exchange.fail(error)
            return
        request_id, date = report_refusal(self._context, self._client_auth.client, error, "", ""), self._context.date()
        self.write(encode_error_response(error, request_id, accept=None, head_only=False, keep_alive=False, date=date))
        self.close()

    def _refuse(self, head: RequestHead, error: EgressError) -> None:
        """Send an error response for a request that did not become an exchange."""
        binding = self._binding
        if binding is not None and error is binding.refusal:
            # Already recorded: the decision of the tunnel.
            self._send_error(head, error, binding.refusal_id, not head.framing.has_body)
            return
        target = target_for_log(binding, head)
        request_id = report_refusal(self._context, self._client_auth.client, error, head.method, target)
        self._send_error(head, error, request_id, not head.framing.has_body)
