"""The client's side: HTTP/1 sessions, on the listening port and inside tunnels."""

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

    Requests are taken one at a time: while one is with its L{Exchange}, one read at most is taken ahead.  In one turn
    of the reactor one request is begun; L{egress.transport.fair_turns} continues with those that were read with it.

    @param binding: C{None} on the listening port, where requests name their destination; otherwise what the tunnel is
        bound to.
    @param auth_policy: what the listening port asks of its clients.
    @ivar logins: the connections to origins that are for this client connection alone.
    """

    def __init__(
        self, parts: ProxyContext, binding: TunnelBinding | None = None, auth_policy: ClientAuthPolicy = ANONYMOUS
    ) -> None:
        self._parts = parts
        self._binding = binding
        self._reader = RequestReader(parts.head_limits)
        self._watchdog = Watchdog(parts.clock, self._expired)
        self.logins = AuthenticatedConnections(parts.pool, self.drain)
        known = binding.client if binding is not None else None
        self._client_auth = ClientAuthentication(parts, self, auth_policy, known)
        self._exchange: Exchange | None = None
        self._tunnel: Tunnel | None = None
        self._sni_error: EgressError | None = None
        self._advancing = self._paused = self._choked = False
        self._closed = self._half_closed = self._head_began = False
        self._pace = Pace(parts.turns, self.advance)
        self._lingering: LingeringClose | None = None
        self.unused: Failure | bool = True  # until there is a request; at last, how the connection ended

    def connectionMade(self) -> None:
        """Be ready for the first request."""
        no_delay(self.transport)
        self._parts.sessions.add(self)
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
        self._watchdog.set(self._parts.limits.head_timeout)

    def handshakeCompleted(self) -> None:
        """Compare the server name of the TLS session with the tunnel's authority (RFC 6066 section 3)."""
        if self._binding is not None:
            self._sni_error = server_name_error(self.transport, self._binding.origin.authority)

    def dataReceived(self, data: bytes) -> None:
        """Read from the client."""
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
        """The client sends no more; it may still wait for the answer to what it sent."""
        exchange, self._half_closed = self._exchange, True
        if self._lingering is not None:
            self._lingering.read_closed()
        elif self._tunnel is not None:
            self._tunnel.readConnectionLost()
        elif not (self._client_auth.may_end if exchange is None else exchange.client_ended()):
            self.close()

    def writeConnectionLost(self) -> None:
        """What was written is sent, and that it was all."""
        if self._lingering is not None:
            self._lingering.write_closed()
        elif self._tunnel is not None:
            self._tunnel.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone: nothing of its exchange goes on."""
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
            exchange.client_gone()
        self.logins.drop()
        # Last: whoever waits for the last session closes the audit log then.
        self._parts.sessions.discard(self)

    def pauseProducing(self) -> None:
        """The client does not keep up."""
        self._choked = True
        if self._tunnel is not None:
            self._tunnel.pauseProducing()
        elif self._exchange is not None:
            self._exchange.pause_response()

    def resumeProducing(self) -> None:
        """The client keeps up again."""
        self._choked = False
        if self._tunnel is not None:
            self._tunnel.resumeProducing()
        elif self._exchange is not None:
            self._exchange.resume_response()
        else:
            self.advance()

    def stopProducing(self) -> None:
        """The transport is gone; L{connectionLost} follows."""

    def advance(self) -> None:
        """Take as many events from what was read as there is somebody to take them."""
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
            self._hold_or_read()

    def _wait_for_turn(self) -> None:
        """Continue with what was read in a later turn of the reactor."""
        self._pace.wait(self._client_auth.client.limit_key, self.transport)
        self.pause_reading()

    def _one_event(self) -> int:
        """Take an event; returns 0 when there is none that can be taken, 2 for content, otherwise 1."""
        exchange = self._exchange
        if not self._takes_more(exchange):
            return 0
        try:
            event = self._reader.next_event()
        except ClientError as error:
            self._fault(error)
            return 0
        if event is None:
            if exchange is None and self._reader.buffered and not self._head_began:
                # A head has begun: it has so long to be complete, however its bytes drip in.
                self._head_began = True
                self._watchdog.set(self._parts.limits.head_timeout)
            return 0
        if isinstance(event, RequestHead):
            self._head_began = self.unused = False
            self._watchdog.clear()
            self._client_auth.admit(event)
        elif exchange is not None:
            if isinstance(event, End):
                exchange.body_end(event)
            else:
                exchange.body_data(event)
                return 2
        return self._tunnel is None

    def _takes_more(self, exchange: Exchange | None) -> bool:
        """Whether what comes next has somebody to take it; a client that does not read answers gets no new exchange."""
        if exchange is None:
            return not self._choked and self._client_auth.waiting is None
        return exchange.wants_body

    def _hold_or_read(self) -> None:
        """Stop reading while there is something that nobody takes yet, so that nothing piles up."""
        exchange = self._exchange
        taken = self._takes_more(exchange) or (exchange is not None and exchange.is_upgraded)
        if self._pace.queued or (not taken and self._reader.buffered):
            self.pause_reading()
        else:
            self.resume_reading()

    def pause_reading(self) -> None:
        """Read no more for now."""
        if not self._paused and not self._closed:
            self._paused = True
            self.transport.pauseProducing()  # type: ignore[union-attr]

    def resume_reading(self) -> None:
        """Read on."""
        if self._paused and not self._closed:
            self._paused = False
            self.transport.resumeProducing()  # type: ignore[union-attr]

    def admitted(self, head: RequestHead, refusal: EgressError | None) -> None:
        """Take a request whose client is known, or refuse it."""
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
            outgoing = OutgoingRequest(head, client, origin, target, self._parts.upgrade_protocols)
        except EgressError as error:
            self._refuse(head, error)
            return
        self._exchange = Exchange(self, self._parts, client, outgoing)
        self._exchange.start()

    def _connect(self, target: RequestTarget) -> None:
        from egress.proxy.connect_tunnel import Tunnel  # noqa: PLC0415 - the two modules import each other

        assert target.authority is not None
        self._tunnel = tunnel = Tunnel(self._parts, self, target.authority, self._client_auth.client)
        rest = self._reader.take_remaining()
        del self._reader  # of no use any more, and a tunnel may be open for long
        tunnel.begin(rest)

    @property
    def client_backpressured(self) -> bool:
        """Whether the client does not keep up."""
        return self._choked

    def write(self, data: bytes) -> None:
        """Send to the client."""
        if not self._closed:
            self.transport.write(data)  # type: ignore[union-attr]

    def watch(self, seconds: float | None) -> None:
        """Have the exchange or the tunnel expire in so many seconds, or not at all."""
        self._watchdog.set(seconds)

    def upgraded(self) -> None:
        """The exchange became a relay: hand it what was read."""
        exchange = self._exchange
        rest = self._reader.take_remaining()
        if rest and exchange is not None:
            exchange.upgraded_data(rest)
        self.resume_reading()

    def may_keep_alive(self, head: RequestHead) -> bool:
        """Whether the connection will stay open after the answer to a request."""
        return head.keep_alive and not (self._parts.draining or self._half_closed or self.logins.ended)

    def exchange_over(self, exchange: Exchange, *, keep_alive: bool) -> None:
        """The answer is complete: go on to the next request, or end."""
        self._exchange = None
        if keep_alive and exchange.body_over and self.may_keep_alive(exchange.head):
            self._rest()
        else:
            self.close(last=exchange.body_over and not exchange.head.keep_alive)

    def respond_with_error(self, exchange: Exchange, error: EgressError) -> None:
        """Answer an exchange that ended with a fault."""
        self._exchange = None
        self._send_answer(exchange.head, error, exchange.request_id, exchange.body_over)

    def _send_answer(self, head: RequestHead, error: EgressError, request_id: str, body_over: bool) -> None:
        if outcome_of(error).status is None:
            self.abort()
            return
        keep_alive = body_over and self.may_keep_alive(head)
        head_only, date = head.method == "HEAD", self._parts.date()
        self.write(
            encode_error_response(
                error, request_id, accept=head.accept, head_only=head_only, keep_alive=keep_alive, date=date
            )
        )
        if keep_alive:
            self._rest()
        else:
            self.close(last=body_over and not head.keep_alive)

    def _rest(self) -> None:
        """Wait for the next request; one that was read already has to wait for its turn."""
        self._watchdog.set(self._parts.limits.idle_timeout)
        self._head_began = False
        if self._reader.buffered:
            self._wait_for_turn()
        else:
            self.resume_reading()

    def close(self, *, last: bool = False) -> None:
        """Close after what was written is sent.

        @param last: the client sends no more: it is idle, or has announced that its request was the last one.
        """
        if self._closed:
            return
        self._closed = True
        if self._paused:
            # What the client still sends, its end above all, is to be read.
            self.transport.resumeProducing()  # type: ignore[union-attr]
        self.transport.unregisterProducer()  # type: ignore[union-attr]
        # A slow client may need a while for what is still to be sent.
        patience = self._parts.limits.idle_timeout
        if self._half_closed or (last and self._tunnel is None and not self._reader.buffered):
            self._watchdog.set(patience)
            self.transport.loseConnection()  # type: ignore[union-attr]
        else:
            self._watchdog.clear()
            self._lingering = LingeringClose(self.transport, self._parts.clock, patience)

    def abort(self) -> None:
        """Close at once, so that the client sees that something is missing."""
        self._closed = True
        abort_without_close_notify(self.transport)

    def drain(self) -> None:
        """The proxy is being stopped: close now if idle, otherwise after the exchange."""
        busy = self._tunnel or self._exchange or self._client_auth.waiting
        # Requests that were read and wait for their turn: the answer to the first of them announces the end.
        if busy is None and not self._closed and not self._pace.queued:
            self.close(last=True)

    def _expired(self) -> None:
        if self._closed:
            self.transport.abortConnection()  # type: ignore[union-attr]
        elif self._tunnel is not None:
            self._tunnel.expired()
        elif self._exchange is not None:
            self._exchange.expired()
        elif self._head_began:
            self._fault(RequestTimeout("the request head was not sent in time"))
        else:
            self.close(last=True)

    def break_off(self) -> None:
        """End after a defect: whoever waits for an answer gets one, if there is still a way."""
        if self._tunnel is not None:
            self.abort()
        else:
            self._fault(internal_fault())
            self.close()

    def _fault(self, error: EgressError) -> None:
        """What is read makes no sense any more: answer once and close."""
        self.unused = False
        if self._exchange is not None:
            self._exchange.fail(error)
            return
        request_id, date = report_refusal(self._parts, self._client_auth.client, error, "", ""), self._parts.date()
        self.write(encode_error_response(error, request_id, accept=None, head_only=False, keep_alive=False, date=date))
        self.close()

    def _refuse(self, head: RequestHead, error: EgressError) -> None:
        """Answer a request that never became an exchange."""
        binding = self._binding
        if binding is not None and error is binding.refusal:
            # Already on record: the tunnel's decision.
            self._send_answer(head, error, binding.refusal_id, not head.framing.has_body)
            return
        target = target_for_log(binding, head)
        request_id = report_refusal(self._parts, self._client_auth.client, error, head.method, target)
        self._send_answer(head, error, request_id, not head.framing.has_body)
