"""The client side of the proxy in HTTP/2: connections that carry several requests side by side (RFC 9113)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IProtocol,
    IPushProducer,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from egress.http.events import END
from egress.http2.client_fields import MalformedMessage, parse_trailers
from egress.http2.engine import KIB, ConnectionFault, Engine, EngineSettings
from egress.model.errors import BadRequest, EgressError
from egress.proxy.http2_deadlines import expire
from egress.proxy.interfaces import IHttp2ClientStream, IHttp2Connection, RequestsOpener
from egress.proxy.session_state import FIRST_REQUEST_SECONDS
from egress.transport.fair_turns import PIECES, Pace
from egress.transport.tcp import abort_without_close_notify, no_delay
from egress.transport.watchdog import Watchdog
from egress.upstream.authenticated_connections import AuthenticatedConnections

if TYPE_CHECKING:
    from egress.model.decision import ClientIdentity
    from egress.proxy.context import ProxyContext
    from egress.proxy.revocations import Cutoff

_log = Logger()

# The maximum number of bytes of one write.
MAX_WRITE: Final = 256 * KIB
# The size of frames to send, other than data, above which no further frames are read.
MAX_UNSENT: Final = 16 * KIB

_MALFORMED: Final = "the client sent frames that are not valid on their stream"


class Http2Session:
    """An HTTP/2 connection with a client, inside a tunnel or on a listener.

    Each stream is a request of its own.

    @param client: the client, as far as it is known before the first request.
    @param open_requests: creates the acceptor of the requests.
    @ivar transport: the transport.
    @ivar logins: the authenticated origin connections that belong to this client connection only.
    @ivar unused_loss: the reason of the lost connection, if it carried no request.
    """

    def __init__(self, context: ProxyContext, client: ClientIdentity, open_requests: RequestsOpener) -> None:
        self.transport: Any = None
        self._context = context
        self._client = client
        settings = EngineSettings(context.limits.head, context.limits.http2_streams, connect_protocol=True)
        growth = context.window_growth
        self._engine = Engine(client=False, settings=settings, seconds=context.clock.seconds, growth=growth)
        self._watchdog = Watchdog(context.clock, self._expired)
        self.logins = AuthenticatedConnections(context.origins.pool, self.drain)
        self._streams: dict[int, IHttp2ClientStream] = {}
        self._requests = open_requests(cast("IHttp2Connection", self), self._engine)
        self._pace = Pace(context.turns, self._advance)
        self._next_write: IDelayedCall | None = None
        self._paused = self._advancing = self._writing = self._reading_paused = False
        self._used = self._draining = self._said_goodbye = self._closing = False
        self._counted, self._left = 0, PIECES
        self._expires_at: float | None = None
        self.unused_loss: Failure | None = None

    def makeConnection(self, transport: Any) -> None:
        """Start to use a transport (C{IProtocol})."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """Send the settings, and wait for the settings of the client."""
        no_delay(self.transport)
        self._context.sessions.add(self)
        self.transport.registerProducer(self, True)
        self._engine.begin()
        self._write()
        self._watch_connection(self._context.limits.head_timeout)

    def handshakeCompleted(self) -> None:
        """Handle the end of the TLS handshake in a tunnel."""
        self._requests.handshake_completed(self.transport)

    # -- received data

    def dataReceived(self, data: bytes) -> None:
        """Process bytes from the client."""
        if self._closing:
            return
        try:
            self._engine.receive(data)
        except ConnectionFault as fault:
            self._fault(fault)
            return
        self._advance()

    def _advance(self) -> None:
        """Process the frames of one turn of the reactor."""
        if self._advancing or self._pace.queued or self._closing:
            return
        self._advancing = True
        self._left = PIECES
        try:
            with self._context.turns.writes:
                for event in self._engine.next_events():
                    self._process(event)
                    if self._closing:
                        break
        except ConnectionFault as fault:
            self._fault(fault)
        except Exception:  # noqa: BLE001
            _log.failure("a session with a client failed")
            self._engine.fail(ErrorCodes.INTERNAL_ERROR, "")
            self._close()
        finally:
            self._advancing = False
        self._write()
        if self._closing:
            return
        if self._engine.has_frame:
            self._pace.wait(self._client.limit_key, self.transport)
        self._update_reading()
        if self._engine.in_head:
            self.expect(self._context.clock.seconds() + self._context.limits.head_timeout)

    def _update_reading(self) -> None:
        """Read no further data while frames wait for their turn, or the client does not read the responses to them."""
        pause = self._pace.queued or self._engine.unsent > MAX_UNSENT
        if pause is not self._reading_paused:
            self._reading_paused = pause
            if pause:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def _process(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._request(event)
        elif isinstance(event, DataReceived):
            stream = self._streams.get(event.stream_id)
            if stream is not None and event.data:
                stream.receive(event.data)
        elif isinstance(event, StreamEnded):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.receive(END)
        elif isinstance(event, TrailersReceived):
            self._trailers(event)
        elif isinstance(event, StreamReset):
            self._lost(event.stream_id, None if event.remote_reset else BadRequest(_MALFORMED))
        elif isinstance(event, ConnectionTerminated):
            self.drain()

    def _request(self, event: RequestReceived) -> None:
        if self._said_goodbye:
            self._engine.reset(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        self._used = True
        self._requests.accept(event)

    @property
    def busy(self) -> bool:
        """See L{IHttp2Connection}."""
        return bool(self._streams)

    def add_stream(self, stream_id: int, stream: IHttp2ClientStream) -> None:
        """See L{IHttp2Connection}."""
        self._streams[stream_id] = stream
        self._count_streams()

    def _trailers(self, event: TrailersReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        try:
            if not stream.takes_trailers:
                raise MalformedMessage("only data may follow a CONNECT")
            end = parse_trailers(event.headers, self._context.head_limits)
        except MalformedMessage as error:
            self._lost(event.stream_id, BadRequest(str(error)))
            self._engine.refuse(event.stream_id, ErrorCodes.PROTOCOL_ERROR)
            return
        stream.receive(end)

    def _lost(self, stream_id: int, error: EgressError | None) -> None:
        """Stop the exchange of a stream that was reset."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            stream.lost(error)
            self._check_idle()

    def _count_streams(self) -> None:
        """Count the streams against the limits of connections. The connection itself counts as the first one."""
        change = max(0, len(self._streams) - 1) - self._counted
        if change:
            self._counted += change
            self._context.sessions.count_streams(self._requests.limit_key, change)

    # -- output

    def write_soon(self) -> None:
        """See L{IHttp2Connection}. Several streams share one write."""
        if self._advancing or self._writing or self._next_write is not None:
            return
        if len(self._streams) < 2:
            self._write()
        else:
            self._next_write = self._context.clock.callLater(0, self._write_now)

    def _write_now(self) -> None:
        self._next_write = None
        self._write()

    def _write(self) -> None:
        """Write as much as the transport takes."""
        if self._writing or self._paused:
            return
        self._writing = True
        engine = self._engine
        try:
            while not self._paused and (data := engine.take_output(MAX_WRITE)):
                self.transport.write(data)
                for stream_id in engine.sent:
                    stream = self._streams.get(stream_id)
                    if stream is not None:
                        stream.sent()
        finally:
            self._writing = False

    def use_turn(self) -> bool:
        """See L{IHttp2Connection}."""
        self._left -= 1
        return self._left >= 0

    def stream_over(self, stream_id: int) -> None:
        """See L{IHttp2Connection}."""
        self._streams.pop(stream_id, None)
        self._check_idle()

    def pauseProducing(self) -> None:
        """Stop writing: the client reads too slowly."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Write again: the client reads again."""
        self._paused = False
        self._write()
        if not self._closing:
            self._update_reading()

    def stopProducing(self) -> None:
        """Do nothing: the transport is gone, and L{connectionLost} follows."""

    # -- timeouts

    def expect(self, deadline: float) -> None:
        """See L{IHttp2Connection}."""
        if self._expires_at is None or deadline < self._expires_at:
            self._arm(deadline)

    def _arm(self, deadline: float) -> None:
        self._expires_at = deadline
        self._watchdog.set(max(0.0, deadline - self._context.clock.seconds()))

    def _expired(self) -> None:
        self._expires_at = None
        if self._closing:
            self.abort()
            return
        if not self._streams:
            self._close()
            return
        deadline = expire(self._streams, self._context.clock.seconds())
        if deadline is not None and not self._closing:
            self.expect(deadline)

    def _watch_connection(self, seconds: float) -> None:
        self._arm(self._context.clock.seconds() + seconds)

    def _check_idle(self) -> None:
        """Without a stream, close now or after the idle timeout."""
        self._count_streams()
        if self._streams or self._closing:
            return
        if self._draining or self.logins.ended:
            self._close()
        else:
            self._watch_connection(self._context.limits.idle_timeout)

    # -- end

    def drain(self) -> None:
        """Prepare for shutdown: close now if idle, otherwise after the current exchanges."""
        if self._closing or self._draining:
            return
        self._draining = True
        if not self._used:
            self._watch_connection(FIRST_REQUEST_SECONDS)
        elif self._streams:
            self._say_goodbye()
            self._write()
        else:
            self._close()

    def _say_goodbye(self) -> None:
        if not self._said_goodbye:
            self._said_goodbye = True
            self._engine.go_away()

    def _fault(self, fault: ConnectionFault) -> None:
        """Close after an error of the client."""
        _log.info(
            "an HTTP/2 client violated the protocol: {client} {code} {reason}",
            client=self._client.address,
            code=fault.code.name,
            reason=str(fault),
        )
        self._context.sessions.http2_faults += 1
        self._said_goodbye = True
        self._close()

    def _close(self) -> None:
        """Close after the output is written."""
        if self._closing:
            return
        self._say_goodbye()
        self._closing = True
        self._stop_exchanges()
        # Even if the client reads slowly, or this is called for a stream that was just written.
        while data := self._engine.take_output(MAX_WRITE):
            self.transport.write(data)
        self._watch_connection(self._context.limits.idle_timeout)
        self.transport.unregisterProducer()
        if self._reading_paused:
            self.transport.resumeProducing()
        self.transport.loseConnection()

    def _stop_exchanges(self) -> None:
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.lost()
        self._count_streams()

    def revoke(self, cutoff: Cutoff) -> None:
        """See L{egress.proxy.connection_registry.Session}."""
        for stream in list(self._streams.values()):
            stream.revoke(cutoff)

    def abort(self) -> None:
        """Abort the connection."""
        self._closing = True
        abort_without_close_notify(self.transport)

    def readConnectionLost(self) -> None:
        """Handle the end of the client's data: no stream can be complete without flow control."""
        self._close()

    def writeConnectionLost(self) -> None:
        """Do nothing: L{connectionLost} follows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the loss of the client connection: stop its exchanges."""
        self._closing = True
        if not self._used:
            self.unused_loss = reason
        self._watchdog.stop()
        if self._next_write is not None:
            self._next_write.cancel()
            self._next_write = None
        self._stop_exchanges()
        self._engine.close()
        self.logins.drop()
        # Last: when the last session is discarded, the audit log is closed.
        self._context.sessions.discard(self)


# The decorator C{implementer} and the base C{Protocol} would make it an interpreted class.
classImplements(Http2Session, IHttp2Connection, IPushProducer, IHalfCloseableProtocol, IHandshakeListener, IProtocol)
