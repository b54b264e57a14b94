"""A connection to an origin over HTTP/2, which carries many exchanges of one client side by side (RFC 9113)."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

import attrs
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event, RemoteSettingsChanged, StreamReset
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from egress.http.events import HTTP_2, VERSION_NAMES, End, ForwardedHead
from egress.http.heads import HeadLimits
from egress.http2.engine import FRAME_SIZE, HIGH_WATER, LOW_WATER, ConnectionFault, Engine, EngineSettings
from egress.http2.origin_events import StreamFailure, lost_connection, reset_failure, response_event
from egress.http2.origin_fields import request_fields, request_trailers
from egress.http2.windows import GrowthBudget
from egress.model.errors import EgressError, OriginProtocolError
from egress.transport.fair_turns import Pace, RoundRobin
from egress.transport.tcp import waits_to_be_read
from egress.transport.watchdog import Watchdog
from egress.upstream.http2_origin_stream import ConnectionOwner, Http2OriginStream
from egress.upstream.http2_output import Http2Output
from egress.upstream.origin_connection import CLOSE_SECONDS, OriginConnection, PoolKey
from egress.upstream.origin_versions import OriginVersions

# The maximum number of concurrent streams of one connection, whatever the origin permits, and before it has told.
MAX_STREAMS: Final = 100
# The number of streams after which a connection is replaced.  Identifiers end at 2^30 streams.
MAX_STREAMS_IN_ALL: Final = 2**29
# If the origin sends nothing on the whole connection for this time, an aborted exchange retires the connection.
SILENCE_SECONDS: Final = 5.0


class Http2OriginConnection(Protocol):
    """An HTTP/2 connection to one origin.

    Its pool key contains the identity of a client, and all its streams belong to exchanges of this client.

    @param dialed: the connection whose TLS handshake chose HTTP/2.
    @param limits: the limits of response heads.
    @param turns: the queue of work for later turns of the reactor.
    @param client: the client for which the connection does its work in C{turns}.
    @param versions: remembers the limits and the failures of the origin.
    @param growth: limits the growth of the windows of all connections to origins.
    @ivar owner: the pool, which is notified of changes; C{None} for a connection that is not shared.
    @ivar is_retired: whether the connection accepts no further streams.
    """

    multiplexed = True
    encrypted = True

    def __init__(
        self,
        dialed: OriginConnection,
        limits: HeadLimits,
        clock: IReactorTime,
        turns: RoundRobin,
        *,
        client: Hashable,
        versions: OriginVersions,
        growth: GrowthBudget | None = None,
    ) -> None:
        self.route = dialed.route
        self.hop = attrs.evolve(dialed.hop, http=VERSION_NAMES[HTTP_2])
        self.begun = dialed.begun
        self.pool_key: PoolKey = ()
        self.idle_since = 0.0
        self.on_lost: Callable[[], None] | None = None
        self.owner: ConnectionOwner | None = None
        self.is_retired = self._closed = False
        self._scheme = dialed.route.origin.scheme.encode("ascii")
        self._limits = limits
        self._clock = clock
        self._closing = Watchdog(clock, self._abort)
        settings = EngineSettings(limits.head, streams=0)
        self._engine = Engine(client=True, settings=settings, seconds=clock.seconds, growth=growth)
        self._output = Http2Output(self._engine, self._flush)
        self._streams: dict[int, Http2OriginStream] = {}
        self._reserved: set[Http2OriginStream] = set()
        self._versions = versions
        # Until the origin has sent its settings.
        self._limit = min(versions.streams(self.route.origin) or MAX_STREAMS, MAX_STREAMS)
        self._opened = 0
        self._heard_at = 0.0
        self._processing = self._responded = self._has_settings = False
        self._lost: Failure | None = None
        self._goaway: ErrorCodes | int | None = None
        self._readable: Callable[[], object] | None = None
        self._pace, self._writes = Pace(turns, self._take_turn), turns.writes
        self._client = client

    def connectionMade(self) -> None:
        """Send the preface and the settings."""
        self._heard_at = self._clock.seconds()
        self._output.connect(self.transport)
        self._engine.begin()
        self._flush()

    # -- for the pool

    @property
    def streams(self) -> int:
        """The number of streams that are in use."""
        return len(self._streams) + len(self._reserved)

    @property
    def has_capacity(self) -> bool:
        """Whether the connection accepts another stream now."""
        return not self.is_retired and self.streams < self._limit

    @property
    def has_unread(self) -> bool:
        """Whether the origin has sent data or closed the connection, and the reactor has not reported it yet."""
        if self._readable is None:
            self._readable = waits_to_be_read(self.transport)
        return bool(self._readable())

    def open_stream(self) -> Http2OriginStream:
        """Open a stream; see L{has_capacity}."""
        stream = Http2OriginStream(self, reused=self._opened > 0)
        self._reserved.add(stream)
        self._opened += 1
        if self._opened >= MAX_STREAMS_IN_ALL:
            self.retire()
        return stream

    def park(self, lost: object) -> None:
        """Become idle.  The loss of the connection is a L{ConnectionOwner.retired}."""

    def retire(self) -> None:
        """Accept no further streams, and close when the last one has ended."""
        self._accept_no_more()
        if not self.streams:
            self.close()

    def _accept_no_more(self) -> None:
        if not self.is_retired:
            self.is_retired = True
            if self.owner is not None:
                self.owner.retired(self)

    def close(self) -> None:
        """Close the connection, which has no streams, after the written data is sent."""
        self.is_retired = True
        if self._lost is None and not self._closed:
            self._engine.go_away()
            self._shut()

    def _shut(self) -> None:
        """Send what the transport takes, then close."""
        transport: Any = self.transport
        transport.write(self._engine.take_output(0))
        self._closed = True
        self._closing.set(CLOSE_SECONDS)
        transport.unregisterProducer()
        transport.loseConnection()

    # -- requests

    def begin_request(self, stream: Http2OriginStream, head: ForwardedHead, content: bytes, end: End | None) -> int:
        """See L{StreamOwner.begin_request}."""
        self._reserved.discard(stream)
        if self._lost is not None or self._closed:
            failure = StreamFailure(self._loss(), connection_lost=True, unread=True)
            self._clock.callLater(0, stream.receive, failure)
            return 0
        stream.sent_at = self._clock.seconds()
        ends = end is not None and not content and not end.trailers
        number = self._engine.open(request_fields(head, self._scheme), end=ends)
        self._streams[number] = stream
        stream.id = number
        self.send_content(stream, content, None if ends else end)
        return number

    def send_content(self, stream: Http2OriginStream, content: bytes, end: End | None) -> None:
        """See L{StreamOwner.send_content}."""
        number = stream.id
        if number not in self._streams:
            return
        self._engine.send_data(number, content)
        if end is not None:
            self._engine.send_end(number, tuple(request_trailers(end.trailers)))
        if len(content) < FRAME_SIZE:
            self._write()
        elif not self._processing:
            self._flush()
        if end is None and self._engine.pending(number) > HIGH_WATER:
            stream.pause_request()

    # -- responses

    def dataReceived(self, data: bytes) -> None:
        """Process frames of the origin."""
        self._heard_at = self._clock.seconds()
        try:
            self._engine.receive(data)
        except ConnectionFault as fault:
            self._fail(fault)
            return
        if not self._pace.queued:
            self._process()

    def _take_turn(self) -> None:
        self._process()
        if self._lost is None and not self._pace.queued:
            self.transport.resumeProducing()  # type: ignore[union-attr]

    def _process(self) -> None:
        """Process the frames of one turn of the reactor."""
        touched: dict[Http2OriginStream, None] = {}
        self._processing = True
        try:
            for event in self._engine.next_events():
                stream = self._one_event(event)
                if stream is not None:
                    touched[stream] = None
        except ConnectionFault as fault:
            self._fail(fault)
        finally:
            self._processing = False
        for stream in touched:
            stream.flush()
        self._flush()
        if self._engine.has_frame:
            if self._lost is None:
                self.transport.pauseProducing()  # type: ignore[union-attr]
            self._pace.wait(self._client, self.transport)
        elif self._lost is not None:
            # Without TLS, the origin may be one that closes the connection because it does not use HTTP/2.
            unread = not (self._has_settings or self.route.tls)
            if unread:
                self._versions.fail(self.route.origin)
            self._end_streams(StreamFailure(self._loss(), connection_lost=True, unread=unread))

    def _one_event(self, event: Event) -> Http2OriginStream | None:
        if isinstance(event, ConnectionTerminated):
            self._go_away(event)
            return None
        if isinstance(event, RemoteSettingsChanged):
            self._set_limit()
            return None
        number: int | None = getattr(event, "stream_id", None)
        stream = self._streams.get(number or 0)
        if stream is None:
            return None
        if isinstance(event, StreamReset):
            self._reset(stream, event)
            return stream
        try:
            received = response_event(event, stream.method, self._limits)
        except OriginProtocolError as error:
            self.reject(stream)
            stream.receive(StreamFailure(error))
            return stream
        if received is not None and not stream.response_ended:
            self._responded = True
            stream.receive(received)
        return stream

    def _set_limit(self) -> None:
        self._has_settings = True
        limit, self._limit = self._limit, min(self._engine.stream_limit, MAX_STREAMS)
        self._versions.learn_streams(self.route.origin, self._limit)
        if not self._limit:
            # The origin is about to end the connection, or it is of no use.
            self.retire()
        elif self._limit > limit and self.owner is not None:
            self.owner.freed(self)

    def _reset(self, stream: Http2OriginStream, event: StreamReset) -> None:
        if event.error_code == ErrorCodes.HTTP_1_1_REQUIRED:
            self._broken()
        self._release(stream)
        stream.receive(reset_failure(self.route.origin.authority, event, responded=stream.has_response))

    def _go_away(self, event: ConnectionTerminated) -> None:
        """Handle a C{GOAWAY}: the origin does not process the streams after the last one that it names."""
        self._goaway = event.error_code or ErrorCodes.NO_ERROR
        last = event.last_stream_id or 0
        refused = [stream for number, stream in self._streams.items() if number > last]
        # Before the requests are sent again, so that none of them uses this connection.
        self._accept_no_more()
        for stream in refused:
            self._engine.discard(stream.id)
            self._release(stream)
            stream.receive(StreamFailure(self._loss(), unread=not stream.has_response))
            stream.flush()
        self.retire()

    def _broken(self) -> None:
        """Use HTTP/1.1 for the next requests to the origin."""
        self._versions.fail(self.route.origin)
        self.retire()

    def taken(self, stream: Http2OriginStream, size: int) -> None:
        """See L{StreamOwner.taken}."""
        number = stream.id
        if number in self._streams and not stream.response_ended:
            self._engine.take(number, size)
            self._write()

    # -- end of streams

    def reject(self, stream: Http2OriginStream) -> None:
        """See L{StreamOwner.reject}."""
        if stream.id in self._streams:
            self._engine.reset(stream.id, ErrorCodes.PROTOCOL_ERROR)
            self._release(stream)

    def over(self, stream: Http2OriginStream) -> None:
        """See L{StreamOwner.over}."""
        number = stream.id
        if number in self._streams:
            if not (stream.response_ended and stream.request_ended) or self._engine.ends_later(number):
                self._note_silence(stream)
                self._engine.reset(number, ErrorCodes.CANCEL)
            self._release(stream)
        elif stream in self._reserved:
            self._reserved.discard(stream)
            self._freed()
        self._write()

    def _note_silence(self, stream: Http2OriginStream) -> None:
        """Retire a connection on which the origin is silent: it may be lost without notice."""
        if self._heard_at <= stream.sent_at <= self._clock.seconds() - SILENCE_SECONDS:
            self.retire()

    def _release(self, stream: Http2OriginStream) -> None:
        """Forget a stream that has ended."""
        del self._streams[stream.id]
        self._engine.forget(stream.id)
        self._freed()

    def _freed(self) -> None:
        if self.owner is not None and not self.is_retired:
            self.owner.freed(self)
        elif not self.streams:
            self.close()

    # -- output

    def _write(self) -> None:
        """Write the output, together with that of the other requests in one read."""
        if not self._processing:
            self._writes.add(self._flush)

    def _flush(self) -> None:
        """Write the output, as far as the transport takes it."""
        if self._lost is not None or self._closed:
            return
        for number in self._output.flush():
            stream = self._streams.get(number)
            if stream is not None and self._engine.pending(number) <= LOW_WATER:
                stream.resume_request()
        if self._output.is_flooded:
            self._engine.fail(ErrorCodes.ENHANCE_YOUR_CALM, "too many frames require a response")
            self._drop(OriginProtocolError("the origin sent too many frames that require a response"))

    # -- end of the connection

    def _fail(self, fault: ConnectionFault) -> None:
        """End the connection, because the origin violated the protocol.

        An origin that has not even sent settings does not use HTTP/2, so it has not read a request.
        """
        if not self._responded:
            self._broken()
        self._drop(OriginProtocolError(f"the origin violates HTTP/2: {fault}"), unread=not self._has_settings)

    def _drop(self, error: EgressError, *, unread: bool = False) -> None:
        if self._lost is None and not self._closed:
            self._shut()
        self._end_streams(StreamFailure(error, unread=unread))

    def _abort(self) -> None:
        self.transport.abortConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the loss of the connection.  Frames that were read before are still processed."""
        self._lost = reason
        self._engine.close()
        self._closing.stop()
        if not self._pace.queued:
            self._process()

    def _end_streams(self, failure: StreamFailure) -> None:
        self._accept_no_more()
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.receive(failure)
            stream.flush()

    def _loss(self) -> EgressError:
        return lost_connection(self.route.origin.authority, self._goaway)
