"""The client's side of one HTTP/2 exchange: the stream with its request and its response (RFC 9113 section 8)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import attrs
from h2.errors import ErrorCodes
from zope.interface import classImplements

from egress.grpc.call import kind_of_request
from egress.http.error_response import error_response
from egress.http.events import End, RequestHead, ResponseHead
from egress.http.upgrade import Upgrade
from egress.http2.client_fields import error_fields, interim_fields, lower_case, response_fields, switch_fields
from egress.http2.engine import HIGH_WATER, LOW_WATER, Engine
from egress.http2.waiting import add_event
from egress.model.decision import Header, Headers
from egress.model.errors import EgressError, outcome_of
from egress.proxy.interfaces import IClientStream, IHttp2ClientStream, IHttp2Connection

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext
    from egress.proxy.exchange import Exchange
    from egress.proxy.revocations import Cutoff

# A client that takes a response in smaller parts does not extend its timeout.
MIN_PROGRESS: Final = 1024
_CONTINUE: Final[list[Header]] = [(b":status", b"100")]

# The time after a response in which the client can end its request, before the stream is reset.
LINGER_SECONDS: Final = 2.0
# The time after the client's end of a WebSocket in which the origin can send the rest, such as its Close frame.
CLOSE_SECONDS: Final = 10.0


class Http2Stream:
    """One request of an HTTP/2 connection, and its response.

    @param stream_id: the identifier of the stream.
    @param request: the head of the request.
    @ivar exchange: the exchange, while there is one.
    @ivar deadline: the time at which the exchange expires; C{None} without a timeout.
    @ivar backpressured: whether the client reads the response too slowly.
    @ivar websocket_key: the key that the client sent for a WebSocket; see L{egress.http2.client_fields.websocket_key}.
    """

    __slots__ = (
        "_connection",
        "_context",
        "_engine",
        "_half_closed",
        "_head",
        "_held",
        "_left",
        "_lingering",
        "_reading",
        "_relaying",
        "_request",
        "_request_over",
        "_waiting",
        "backpressured",
        "can_send_trailers",
        "deadline",
        "exchange",
        "logins",
        "stream_id",
        "takes_trailers",
        "transport",
        "websocket_key",
    )

    def __init__(
        self,
        connection: IHttp2Connection,
        context: ProxyContext,
        engine: Engine,
        stream_id: int,
        request: RequestHead,
        *,
        request_over: bool,
    ) -> None:
        self.stream_id = stream_id
        self.exchange: Exchange | None = None
        self.deadline: float | None = None
        self.backpressured = False
        self.can_send_trailers = self.takes_trailers = True
        self.websocket_key: bytes | None = None
        self.logins = connection.logins
        self.transport: object = None
        self._connection = connection
        self._context = context
        self._engine = engine
        self._request = request
        self._request_over = request_over
        self._waiting: deque[bytes | End] = deque()
        self._head: list[Header] | None = None
        self._reading = False
        self._left: int | None = None
        self._relaying = False
        self._half_closed = False
        self._held = False
        self._lingering: bool | None = None

    # -- request

    def receive(self, event: bytes | End) -> None:
        """Process content of the request, or its end."""
        if isinstance(event, End):
            self._request_over = True
            if self.exchange is None:
                self._over()
        if self.exchange is not None and (self._request.upgrade or not self.exchange.body_over):
            add_event(self._waiting, event)
            self.read_content()

    def read_content(self) -> None:
        """See L{IClientStream.read_content}."""
        if self._reading:
            return
        self._reading = True
        try:
            waiting = self._waiting
            if self._relaying and self.exchange is not None:
                self._relay_waiting(self.exchange)
            while waiting and self.exchange is not None and self.exchange.wants_body:
                event = waiting.popleft()
                if isinstance(event, End):
                    self.exchange.body_end(event)
                else:
                    self._engine.take(self.stream_id, len(event))
                    self.exchange.body_data(event)
        finally:
            self._reading = False
        self._connection.write_soon()

    def watch(self, seconds: float | None) -> None:
        """See L{IClientStream.watch}."""
        if self._half_closed:
            return
        if seconds is None:
            self.deadline = None
        else:
            self.deadline = deadline = self._context.clock.seconds() + seconds
            self._connection.expect(deadline)

    def send_continue(self) -> None:
        """See L{IClientStream.send_continue}."""
        self._engine.send_head(self.stream_id, _CONTINUE)
        self._connection.write_soon()

    # -- response

    def send_interim(self, head: ResponseHead) -> None:
        """See L{IClientStream.send_interim}."""
        self._engine.send_head(self.stream_id, interim_fields(head))
        self._connection.write_soon()

    def send_head(self, head: ResponseHead, *, last: bool) -> None:
        """See L{IClientStream.send_head}. The connection continues, whatever the response is."""
        if self._request.upgrade and 200 <= head.status < 300:
            # The client would take it for the new protocol.
            head = attrs.evolve(head, status=502)
        # Until the next call it is unknown whether the stream ends with the head.
        self._head = response_fields(head)

    def _begin(self) -> None:
        """Send the head of a response that has content."""
        fields, self._head = self._head, None
        if fields is not None:
            self._engine.send_head(self.stream_id, fields)

    def send_data(self, data: bytes) -> None:
        """See L{IClientStream.send_data}."""
        self._begin()
        self._engine.send_data(self.stream_id, data)

    def send_end(self, trailers: Headers) -> None:
        """See L{IClientStream.send_end}."""
        if not self._request_over:
            self._lingering = False
        fields = self._head
        if fields is None or trailers:
            self._begin()
            self._engine.send_end(self.stream_id, lower_case(trailers))
            return
        # Clients of gRPC require that a response without content ends with its head.
        self._head = None
        self._engine.send_head(self.stream_id, fields, end=True)

    def flush(self) -> None:
        """See L{IClientStream.flush}."""
        self._begin()
        self._connection.write_soon()
        if not self.backpressured and self._engine.pending(self.stream_id) > HIGH_WATER:
            self.backpressured = True
            if self.exchange is not None:
                self.exchange.pause_response()

    def sent(self) -> None:
        """Let the exchange continue if the client has taken enough of the response."""
        if self.exchange is None:
            self._over()
        elif self.backpressured and self._engine.pending(self.stream_id) < LOW_WATER:
            self.backpressured = False
            self.exchange.resume_response()

    # -- end

    def finish(self) -> None:
        """See L{IClientStream.finish}."""
        self.exchange = None
        self._half_closed = False
        if self._relaying and not self._engine.ends_later(self.stream_id):
            self._relaying = False
            self.send_end(())
            self._connection.write_soon()
        self._discard_content()
        self._over()

    def fail(self, error: EgressError, request_id: str) -> None:
        """See L{IClientStream.fail}."""
        if outcome_of(error).status is None:
            self.reset()
            return
        request, date = self._request, self._context.date()
        grpc = kind_of_request(request.method, request.headers)
        response = error_response(error, request_id, accept=request.accept, date=date, grpc=grpc)
        self._head = error_fields(response)
        if response.content and request.method != "HEAD":
            self.send_data(response.content)
        self.send_end(())
        self._connection.write_soon()
        self.finish()

    def reset(self) -> None:
        """See L{IClientStream.reset}."""
        self._reset(ErrorCodes.INTERNAL_ERROR)

    def _reset(self, code: ErrorCodes) -> None:
        self._relaying = False
        self._lingering = None
        self._engine.reset(self.stream_id, code)
        self._connection.write_soon()
        self.finish()

    def expired(self) -> None:
        """Handle a timeout of the exchange, or of a client that does not take the response or end the request."""
        if self.exchange is not None:
            self.exchange.expired()
        else:
            self._reset(ErrorCodes.INTERNAL_ERROR if self._engine.ends_later(self.stream_id) else ErrorCodes.NO_ERROR)

    def _over(self) -> None:
        """Handle the end of the exchange, after which the client may still have to take the response."""
        if self._engine.ends_later(self.stream_id):
            self._wait_for_client()
        elif self._lingering is not None and not self._request_over:
            self._linger()
        else:
            self._connection.stream_over(self.stream_id)

    def _linger(self) -> None:
        """Let the client end the request, whose content is ignored (RFC 9113 section 8.1).

        A client that sends content may take an immediate reset for an error, and ignore the response. curl 7.88 does.
        """
        if not self._lingering:
            self._lingering = True
            self.watch(LINGER_SECONDS)

    def _wait_for_client(self) -> None:
        """Wait for the client. The timeout starts again only when the client has taken a part that is not tiny."""
        pending = self._engine.pending(self.stream_id)
        if self._left is None or self._left - pending >= MIN_PROGRESS:
            self._left = pending
            self.watch(self._context.limits.idle_timeout)

    def revoke(self, cutoff: Cutoff) -> None:
        """See L{IHttp2ClientStream.revoke}."""
        if self.exchange is not None:
            self.exchange.revoke(cutoff)

    def lost(self, error: EgressError | None = None) -> None:
        """Stop the exchange: the client has reset the stream, or the connection is lost.

        @param error: the error, if the client has not disconnected.
        """
        exchange, self.exchange = self.exchange, None
        self._discard_content()
        if exchange is not None:
            exchange.client_lost(error)

    def _discard_content(self) -> None:
        self._waiting.clear()
        self._engine.forget(self.stream_id)

    # -- after an upgrade, which is an extended CONNECT (RFC 8441)

    def switch(self, head: ResponseHead, upgrade: Upgrade) -> None:
        """See L{IClientStream.switch}."""
        self._engine.send_head(self.stream_id, switch_fields(head, self.websocket_key))
        self._connection.write_soon()

    def relay(self) -> None:
        """See L{IClientStream.relay}."""
        self._relaying = True
        self.read_content()

    def _relay_waiting(self, exchange: Exchange) -> None:
        waiting = self._waiting
        while waiting and self.exchange is not None and not self._held:
            event = waiting.popleft()
            if isinstance(event, End):
                # Chromium ends its direction together with its Close frame, and waits for the one of the origin.
                self.watch(CLOSE_SECONDS)
                self._half_closed = True
            else:
                self._engine.take(self.stream_id, len(event))
                exchange.upgraded_data(event)

    def pause(self) -> None:
        """See L{IClientStream.pause}."""
        self._held = True

    def resume(self) -> None:
        """See L{IClientStream.resume}."""
        self._held = False
        self.read_content()


# The decorator C{implementer} would make it an interpreted class.
classImplements(Http2Stream, IClientStream, IHttp2ClientStream)
