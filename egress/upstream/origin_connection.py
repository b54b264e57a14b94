"""A connection to an origin, which serves one exchange at a time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import classImplements

from egress.http.body import encode_chunk, encode_last_chunk
from egress.http.events import HTTP_1_1, VERSION_NAMES, BodyKind, End, ForwardedHead, ResponseHead
from egress.http.heads import HeadLimits
from egress.http.readers import ResponseReader
from egress.http.writers import encode_request
from egress.model.errors import EgressError, OriginDisconnected, OriginProtocolError, OriginTlsFailed
from egress.model.route import NO_HOP, Route
from egress.model.tls_alert import alert_in, hint_at_certificate
from egress.transport.dialed import DialedProtocol
from egress.transport.fair_turns import PIECES, Pace, RoundRobin
from egress.transport.tcp import describe_peer, waits_to_be_read
from egress.transport.tls_layer import TLS_LAYERS
from egress.transport.watchdog import Watchdog
from egress.upstream.interfaces import IOriginStream, IResponseSink

PoolKey = tuple[object, ...]

# The seconds in which a closing connection must send its remaining data and, over TLS, receive the closing alert.
CLOSE_SECONDS: Final = 5.0
# The budget for processing a response in one turn of the reactor.  Each head costs 1, because an origin may send any
# number of them; each piece of content costs as much as 4 heads.
BUDGET: Final = 4 * PIECES
PIECE: Final = 4
# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_DELIMITED: Final = BodyKind.DELIMITED
_HTTP: Final = VERSION_NAMES[HTTP_1_1]


class OriginConnection(DialedProtocol):
    """An HTTP/1.1 connection to one origin, or to the upstream proxy that forwards to it.

    It is the L{IOriginStream} of one exchange after the other.

    @param turns: the queue of work for later turns of the reactor.
    @param client: the client for which the connection does its work in C{turns}.
    @ivar route: the route of the connection; its addresses were checked when the connection was opened.
    @ivar hop: the destination of the connection.
    @ivar begun: the time at which the opening of the connection began.
    @ivar idle_since: the time at which the last exchange ended.
    @ivar on_lost: called when the idle connection is closed or lost.
    @ivar private: whether one of its exchanges involved authentication of the connection (RFC 4559), so that the
        connection serves only one client connection.
    @ivar logged_in: whether such credentials were sent over it.
    @ivar reused: whether it carried another exchange before the current one.
    """

    multiplexed: Final = False

    # CPython 3.11 stores 30 or more attributes of an instance in a dictionary, which makes each access slower.
    __slots__ = (
        "_backpressured",
        "_chunked",
        "_client",
        "_closing",
        "_idle_lost",
        "_lost",
        "_missing",
        "_pace",
        "_paused",
        "_persistent",
        "_pulling",
        "_readable",
        "_reader",
        "_request_ended",
        "_sink",
        "_switched",
        "_untouched",
        "begun",
        "hop",
        "idle_since",
        "logged_in",
        "on_lost",
        "pool_key",
        "private",
        "reused",
        "route",
    )

    def __init__(
        self, route: Route, limits: HeadLimits, clock: IReactorTime, turns: RoundRobin, client: Hashable = None
    ) -> None:
        self.route = route
        self.hop = NO_HOP
        self._closing = Watchdog(clock, self.abort)
        self.idle_since = 0.0
        self.begun = clock.seconds()
        self.pool_key: PoolKey = ()
        self.on_lost: Callable[[], None] | None = None
        self.private = False
        self.logged_in = False
        self.reused = False
        self._persistent = False
        self._chunked = False
        self._missing = 0
        self._request_ended = False
        self._backpressured = False
        self._readable: Callable[[], object] | None = None
        self._reader = ResponseReader(limits)
        self._sink: IResponseSink | None = None
        self._idle_lost: Callable[[OriginConnection], None] | None = None
        self._untouched = True
        self._switched = False
        self._paused = False
        self._pulling = False
        self._lost: Failure | None = None
        self._client = client
        self._pace = Pace(turns, self._take_turn)

    def connectionMade(self) -> None:
        """Register as the transport's producer, so that its buffer limits the request."""
        # This comes first: code that is notified of the connection writes immediately.
        self.transport.registerProducer(self, True)
        self.hop = describe_peer(self.route, self.transport, _HTTP)
        super().connectionMade()

    def log_in(self) -> None:
        """See L{IOriginStream.log_in}."""
        self.private = self.logged_in = True

    @property
    def reusable(self) -> bool:
        """Whether both sides permit another exchange.

        If the origin responded before it had the whole request, it would read the rest as the next request. If a
        request was shorter than announced, the origin would read the next one as the rest.
        """
        return self._persistent and self._request_ended and not self._missing and not self._backpressured

    def send_request(self, sink: IResponseSink, head: ForwardedHead, content: bytes, end: End | None) -> None:
        """See L{IOriginStream.send_request}."""
        self._sink = sink
        self._idle_lost = None
        self._untouched = True
        self._persistent = False
        self._chunked = head.framing.kind is _DELIMITED
        self._missing = 0 if self._chunked else head.framing.length
        self._reader.expect(head.method)
        self.transport.write(encode_request(head) + self._encode(content, end))

    def send_content(self, content: bytes, end: End | None = None) -> None:
        """See L{IOriginStream.send_content}."""
        data = self._encode(content, end)
        if data:
            self.transport.write(data)

    def _encode(self, content: bytes, end: End | None) -> bytes:
        self._request_ended = end is not None
        if not self._chunked:
            self._missing -= len(content)
            return content
        chunk = encode_chunk(content) if content else b""
        return chunk if end is None else chunk + encode_last_chunk(end.trailers)

    @property
    def encrypted(self) -> bool:
        """Whether the connection uses TLS, so that bytes of the socket are not necessarily content."""
        return isinstance(self.transport, TLS_LAYERS)

    @property
    def has_unread(self) -> bool:
        """Whether the origin has sent data or closed the connection, and the reactor has not reported it yet."""
        if self._readable is None:
            self._readable = waits_to_be_read(self.transport)
        return bool(self._readable())

    def park(self, lost: Callable[[OriginConnection], None]) -> None:
        """Become idle.

        @param lost: called when the idle connection is lost.
        """
        self._sink = None
        self._idle_lost = lost
        self.reused = True
        self.resume()

    def abort(self) -> None:
        """Abort the connection; its exchange, if any, gets no further events."""
        self._sink = None
        self._idle_lost = None
        if self._lost is None and self.transport is not None:
            self.transport.abortConnection()

    def close(self) -> None:
        """Close the connection after the written data is sent."""
        self._sink = None
        self._idle_lost = None
        if self._lost is None and self.transport is not None:
            self._closing.set(CLOSE_SECONDS)
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def end_writing(self) -> bool:
        """Close the writing direction, after an upgrade.

        @return: whether that is possible: the TLS transport can only close both directions.
        """
        if self.encrypted or not ITCPTransport.providedBy(self.transport):
            return False
        self.transport.loseWriteConnection()
        return True

    def pause(self) -> None:
        """Stop reading the response: the client does not keep up."""
        if not self._paused and self._lost is None:
            self._paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Continue reading the response."""
        if self._paused:
            self._paused = False
            self._pull()
            self._read_on()

    def _take_turn(self) -> None:
        """Process the remaining data of the last read."""
        self._pull()
        self._read_on()

    def _read_on(self) -> None:
        if not (self._paused or self._pace.queued or self._lost is not None):
            self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Read a part of the response."""
        if self._switched:
            if self._sink is not None:
                self._sink.response_switched(data)
            return
        if self._sink is None:
            # Unsolicited data from an origin would become the response to a later request.
            self._forget_idle()
            self.abort()
            return
        self._untouched = False
        self._reader.receive(data)
        self._pull()

    def _pull(self) -> None:
        if self._pulling or self._pace.queued:
            return
        self._pulling = True
        try:
            spent = 0
            while not self._paused and self._sink is not None:
                if spent >= BUDGET and self._reader.buffered:
                    self._wait_for_turn()
                    break
                cost = self._one_event(self._sink)
                if not cost:
                    break
                spent += cost
        except OriginProtocolError as error:
            self._fail(error)
        finally:
            self._pulling = False
        if self._sink is not None:
            self._sink.response_flush()
            if self._lost is not None and not self._pace.queued:
                self._conclude(self._sink, self._lost)

    def _wait_for_turn(self) -> None:
        """Process the buffered data in a later turn of the reactor."""
        if self._lost is None:
            self.transport.pauseProducing()
        self._pace.wait(self._client, self.transport)

    def _one_event(self, sink: IResponseSink) -> int:
        """Process one event.

        @return: its cost in units of L{BUDGET}; 0 if there is no event.
        """
        if self._switched:
            return 0
        event = self._reader.next_event()
        if event is None:
            return 0
        if isinstance(event, bytes):
            sink.response_data(event)
            return PIECE
        if isinstance(event, ResponseHead):
            if event.status == 101:
                self._switched = True
                self._chunked = False
            elif event.status >= 200:
                self._persistent = event.keep_alive and self._lost is None
            if event.connection_auth:
                self.private = True
            sink.response_head(event)
            if self._switched and self._sink is not None:
                rest = self._reader.take_remaining()
                if rest:
                    sink.response_switched(rest)
        else:
            self._end(sink, event)
        return 1

    def _end(self, sink: IResponseSink, end: End) -> None:
        if self._reader.buffered:
            # The remaining data belongs to none of the proxy's requests.
            self._persistent = False
        sink.response_end(end.trailers)

    def _fail(self, error: EgressError) -> None:
        sink, self._sink = self._sink, None
        self.abort()
        if sink is not None:
            sink.response_failed(error, untouched=False)

    def _forget_idle(self) -> None:
        lost, self._idle_lost = self._idle_lost, None
        if lost is not None:
            lost(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The origin closed the connection: this is the end of the response or a truncation."""
        self._lost = reason
        self._persistent = False
        self._closing.stop()
        super().connectionLost(reason)
        self._forget_idle()
        # Data that was read before the close is still delivered to the client.
        self._paused = False
        self._pull()

    def _conclude(self, sink: IResponseSink, reason: Failure) -> None:
        """Report the end of the response, after all events that were read before."""
        self._sink = None
        # A TLS session without a close alert may have been truncated by an attacker on the path (RFC 8446 section 6.1).
        clean = isinstance(reason.value, ConnectionDone)
        end = self._reader.receive_eof() if clean else None
        if end is not None:
            sink.response_end(end.trailers)
            sink.response_flush()
        else:
            sink.response_failed(self._explain_loss(reason.value), untouched=self._untouched)

    def _explain_loss(self, error: BaseException | None) -> EgressError:
        """Explain the incomplete response; in TLS 1.3 a client certificate is rejected only after the handshake."""
        authority = self.route.origin.authority
        alert = alert_in(error) if isinstance(error, SSL.Error) else None
        if alert is not None:
            hint = hint_at_certificate(alert)
            return OriginTlsFailed(f"{authority} ended the TLS session with the alert {alert}{hint}")
        return OriginDisconnected(f"{authority} closed the connection before its response was complete")

    def pauseProducing(self) -> None:
        """Pause the request: the transport's buffer is full."""
        self._backpressured = True
        if self._sink is not None:
            self._sink.pause_request()

    def resumeProducing(self) -> None:
        """Resume the request: the transport's buffer is empty again."""
        self._backpressured = False
        if self._sink is not None:
            self._sink.resume_request()

    def stopProducing(self) -> None:
        """Do nothing: the transport is closed, and L{connectionLost} follows."""


# Not as a decorator, which would prevent the compilation of the class.
classImplements(OriginConnection, IOriginStream, IPushProducer)
