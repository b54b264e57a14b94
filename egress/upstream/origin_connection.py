"""One connection to an origin, used by one exchange after the other."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final
from typing import Protocol as Structure

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.http.body import End
from egress.http.heads import HeadLimits, ResponseHead
from egress.http.readers import ResponseReader
from egress.model.decision import Headers
from egress.model.errors import EgressError, OriginDisconnected, OriginProtocolError, OriginTlsFailed
from egress.model.route import NO_HOP, Route
from egress.model.tls_alert import alert_in, hint_at_certificate
from egress.transport.dialed import DialedProtocol
from egress.transport.fair_turns import PIECES, Pace, RoundRobin
from egress.transport.tcp import describe_peer, waits_to_be_read
from egress.transport.watchdog import Watchdog

PoolKey = tuple[object, ...]

# How long a connection that is being closed may take to send what is left, and over TLS to answer the closing alert.
CLOSE_SECONDS: Final = 5.0
# What is taken of an answer in one turn of the reactor: each of its heads, of which an origin may send any number,
# counts 1, and each piece of its content as much as 4 of them.
BUDGET: Final = 4 * PIECES
PIECE: Final = 4


class ResponseSink(Structure):
    """Who gets the answer, and is told when the request may flow."""

    def response_head(self, head: ResponseHead) -> None:
        """An interim or the final head."""

    def response_data(self, data: bytes) -> None:
        """Content."""

    def response_end(self, trailers: Headers) -> None:
        """The answer is complete."""

    def response_flush(self) -> None:
        """Nothing more for now: write what was gathered."""

    def response_failed(self, error: EgressError, *, untouched: bool) -> None:
        """The connection failed.

        @param untouched: not one byte of the answer had come.
        """

    def response_switched(self, data: bytes) -> None:
        """After a 101: bytes of the new protocol."""

    def pause_request(self) -> None:
        """The origin does not keep up: stop sending."""

    def resume_request(self) -> None:
        """Go on sending."""


@implementer(IPushProducer)
class OriginConnection(DialedProtocol):
    """HTTP/1.1 with one origin, or with the upstream proxy that stands for it.

    @param turns: the work that is left for later turns of the reactor.
    @param client: on whose behalf the connection is made, there.
    @ivar route: how it was dialled; its addresses were checked then.
    @ivar hop: where it leads.
    @ivar begun: when it began to be made.
    @ivar idle_since: when the last exchange ended.
    @ivar gone: is told when the connection, while it rests, is given up or lost.
    @ivar private: whether an exchange on it had to do with authentication of the connection (RFC 4559), so that it is
        for one client connection alone.
    @ivar logged_in: whether such credentials were sent over it.
    @ivar reused: whether it has carried an exchange before the one that it carries now.
    """

    def __init__(
        self, route: Route, limits: HeadLimits, clock: IReactorTime, turns: RoundRobin, client: Hashable = None
    ) -> None:
        self.route = route
        self.hop = NO_HOP
        self._closing = Watchdog(clock, self.abort)
        self.idle_since = 0.0
        self.begun = clock.seconds()
        self.pool_key: PoolKey = ()
        self.gone: Callable[[], None] | None = None
        self.private = False
        self.logged_in = False
        self.reused = False
        self.reusable = False
        self._readable: Callable[[], object] | None = None
        self._reader = ResponseReader(limits)
        self._sink: ResponseSink | None = None
        self._idle_lost: Callable[[OriginConnection], None] | None = None
        self._untouched = True
        self._switched = False
        self._paused = False
        self._pulling = False
        self._lost: Failure | None = None
        self._client = client
        self._pace = Pace(turns, self._take_turn)

    def connectionMade(self) -> None:
        """Let the transport's buffer hold back the request."""
        # First of all: what is told that the connection is there writes at once.
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
        self.hop = describe_peer(self.route, self.transport)
        super().connectionMade()

    def send(self, sink: ResponseSink, method: str, data: bytes) -> None:
        """Begin an exchange.

        @param data: the request head, and as much of the content as there is.
        """
        self._sink = sink
        self._idle_lost = None
        self._untouched = True
        self.reusable = False
        self._reader.expect(method)
        self.write(data)

    def write(self, data: bytes) -> None:
        """Send more of the request, or of the upgraded protocol."""
        self.transport.write(data)  # type: ignore[union-attr]

    @property
    def encrypted(self) -> bool:
        """Whether there is TLS on it, so that bytes of the socket need not be content."""
        return isinstance(self.transport, TLSMemoryBIOProtocol)

    @property
    def has_unread(self) -> bool:
        """Whether the origin has sent something, or closed, and the reactor has not said so yet."""
        if self._readable is None:
            self._readable = waits_to_be_read(self.transport)
        return bool(self._readable())

    def park(self, lost: Callable[[OriginConnection], None]) -> None:
        """Become idle.

        @param lost: is told when the connection turns out to be gone.
        """
        self._sink = None
        self._idle_lost = lost
        self.reused = True
        self.resume()

    def abort(self) -> None:
        """Close at once; the exchange, if any, hears no more."""
        self._sink = None
        self._idle_lost = None
        if self._lost is None and self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close after what was written is sent."""
        self._sink = None
        self._idle_lost = None
        if self._lost is None and self.transport is not None:
            self._closing.set(CLOSE_SECONDS)
            self.transport.unregisterProducer()  # type: ignore[attr-defined]
            self.transport.loseConnection()

    def end_writing(self) -> bool:
        """Tell the origin that nothing more comes, after an upgrade.

        @return: whether that can be told: within TLS an end is one of both directions.
        """
        if self.encrypted or not ITCPTransport.providedBy(self.transport):
            return False
        self.transport.loseWriteConnection()
        return True

    def pause(self) -> None:
        """Stop reading the answer: the client does not keep up."""
        if not self._paused and self._lost is None:
            self._paused = True
            self.transport.pauseProducing()  # type: ignore[union-attr]

    def resume(self) -> None:
        """Go on reading the answer."""
        if self._paused:
            self._paused = False
            self._pull()
            self._read_on()

    def _take_turn(self) -> None:
        """Continue with what was left of the last read."""
        self._pull()
        self._read_on()

    def _read_on(self) -> None:
        if not (self._paused or self._pace.queued or self._lost is not None):
            self.transport.resumeProducing()  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        """Read a part of the answer."""
        if self._switched:
            if self._sink is not None:
                self._sink.response_switched(data)
            return
        if self._sink is None:
            # An origin that speaks unasked would be answering somebody's next request.
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
        """Continue with what was read in a later turn of the reactor."""
        if self._lost is None:
            self.transport.pauseProducing()  # type: ignore[union-attr]
        self._pace.wait(self._client, self.transport)

    def _one_event(self, sink: ResponseSink) -> int:
        """Take an event.

        @return: what it costs of L{BUDGET}; 0 when there is none.
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
            elif event.status >= 200:
                self.reusable = event.keep_alive and self._lost is None
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

    def _end(self, sink: ResponseSink, end: End) -> None:
        if self._reader.buffered:
            # What follows belongs to no request of ours.
            self.reusable = False
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
        """The origin closed: that may be the end of the answer, or a cut."""
        self._lost = reason
        self.reusable = False
        self._closing.stop()
        super().connectionLost(reason)
        self._forget_idle()
        # What was read before the close is still owed to the client.
        self._paused = False
        self._pull()

    def _conclude(self, sink: ResponseSink, reason: Failure) -> None:
        """Tell the end, once everything that was read before it is told."""
        self._sink = None
        # A TLS session that ends without a close alert may have been cut by anyone on the way (RFC 8446 section 6.1).
        clean = isinstance(reason.value, ConnectionDone)
        end = self._reader.receive_eof() if clean else None
        if end is not None:
            sink.response_end(end.trailers)
            sink.response_flush()
        else:
            sink.response_failed(self._cut_by(reason.value), untouched=self._untouched)

    def _cut_by(self, error: BaseException | None) -> EgressError:
        """Say why there is no whole answer; in TLS 1.3 a certificate is refused after the handshake only."""
        authority = self.route.origin.authority
        alert = alert_in(error) if isinstance(error, SSL.Error) else None
        if alert is not None:
            hint = hint_at_certificate(alert)
            return OriginTlsFailed(f"{authority} ended the TLS session with the alert {alert}{hint}")
        return OriginDisconnected(f"{authority} closed the connection before its answer was complete")

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        if self._sink is not None:
            self._sink.pause_request()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty again."""
        if self._sink is not None:
            self._sink.resume_request()

    def stopProducing(self) -> None:
        """The transport is gone; L{connectionLost} follows."""
