"""One request on an HTTP/2 connection to an origin, and its response."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from zope.interface import implementer

from egress.http.events import BodyKind, End, ForwardedHead, ResponseHead
from egress.http2.origin_events import StreamFailure
from egress.http2.waiting import add_event
from egress.model.errors import OriginProtocolError
from egress.upstream.interfaces import IOriginStream, IResponseSink

if TYPE_CHECKING:
    from egress.model.route import Destination, Route

# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_LENGTH: Final = BodyKind.LENGTH
_NONE: Final = BodyKind.NONE


class StreamOwner(Protocol):
    """The connection, as its streams use it."""

    route: Route
    hop: Destination

    @property
    def transport(self) -> object:
        """The transport."""

    def begin_request(self, stream: Http2OriginStream, head: ForwardedHead, content: bytes, end: End | None) -> int:
        """Send a request, and return the identifier of its stream; 0 if the connection cannot carry it."""

    def send_content(self, stream: Http2OriginStream, content: bytes, end: End | None) -> None:
        """Send content of a request."""

    def taken(self, stream: Http2OriginStream, size: int) -> None:
        """Give the origin credit for content that the client's side has taken."""

    def reject(self, stream: Http2OriginStream) -> None:
        """Reset a stream whose response is malformed."""

    def over(self, stream: Http2OriginStream) -> None:
        """Handle the end of a stream, whose response is complete, or not needed."""


class ConnectionOwner(Protocol):
    """The pool, as its connections use it."""

    def freed(self, connection: Any) -> None:
        """A stream has ended, and the connection accepts another one."""

    def retired(self, connection: Any) -> None:
        """The connection accepts no further streams."""


@implementer(IOriginStream)
class Http2OriginStream:
    """The stream of one exchange.

    Events of the response are passed to the sink as they arrive.  While the sink is paused, they wait here; the window
    of the stream limits their size, because credit is given only for content that the sink has received.

    @param reused: whether the connection has carried another exchange before.
    @ivar id: the identifier of the stream; 0 before the request is sent.
    @ivar method: the method of the request.
    @ivar request_ended: whether the whole request was passed to the connection.
    @ivar request_paused: whether the sink was told to pause the request.
    @ivar response_ended: whether the whole response was received; the sink may not have received it yet.
    @ivar sent_at: the time at which the request was sent.
    """

    __slots__ = (
        "_connection",
        "_paused",
        "_remaining",
        "_responded",
        "_sink",
        "_waiting",
        "hop",
        "id",
        "logged_in",
        "method",
        "request_ended",
        "request_paused",
        "response_ended",
        "reusable",
        "reused",
        "route",
        "sent_at",
        "transport",
    )

    def __init__(self, connection: StreamOwner, *, reused: bool) -> None:
        self.route = connection.route
        self.hop = connection.hop
        self.transport = connection.transport
        self.reused = reused
        self.logged_in = False
        # The connection is returned to the pool by its owner.
        self.reusable = False
        self.id = 0
        self.method = ""
        self.request_ended = False
        self.request_paused = False
        self.response_ended = False
        self.sent_at = 0.0
        self._connection = connection
        self._sink: IResponseSink | None = None
        self._paused = False
        self._responded = False
        self._remaining: int | None = None
        self._waiting: deque[ResponseHead | bytes | End | StreamFailure] = deque()

    def log_in(self) -> None:
        """See L{IOriginStream.log_in}."""
        raise ValueError("HTTP/2 does not authenticate connections")

    # -- request

    def send_request(self, sink: IResponseSink, head: ForwardedHead, content: bytes, end: End | None) -> None:
        """See L{IOriginStream.send_request}."""
        self._sink = sink
        self.method = head.method
        self.request_ended = end is not None
        self.id = self._connection.begin_request(self, head, content, end)

    def send_content(self, content: bytes, end: End | None = None) -> None:
        """See L{IOriginStream.send_content}."""
        self.request_ended = end is not None
        if self._sink is not None:
            self._connection.send_content(self, content, end)

    def end_writing(self) -> bool:
        """See L{IOriginStream.end_writing}."""
        return False

    def pause_request(self) -> None:
        """Pause the request: its data waits for credit of the origin."""
        if not self.request_paused and self._sink is not None:
            self.request_paused = True
            self._sink.pause_request()

    def resume_request(self) -> None:
        """Resume the request: the origin has taken its data."""
        if self.request_paused:
            self.request_paused = False
            if self._sink is not None:
                self._sink.resume_request()

    # -- response

    def pause(self) -> None:
        """See L{IOriginStream.pause}."""
        self._paused = True

    def resume(self) -> None:
        """See L{IOriginStream.resume}."""
        if self._paused:
            self._paused = False
            self._deliver()
            self.flush()

    @property
    def has_response(self) -> bool:
        """Whether the origin has begun to respond."""
        return self._responded

    def receive(self, event: ResponseHead | bytes | End | StreamFailure) -> None:
        """Process an event of the response, or of the connection."""
        if not isinstance(event, StreamFailure):
            self._responded = True
            self.response_ended = isinstance(event, End)
            fault = self._fault(event)
            if fault is not None:
                event = StreamFailure(OriginProtocolError(fault))
                self._connection.reject(self)
        if isinstance(event, StreamFailure) and not self.response_ended:
            # The response cannot be completed, and its connection may already use the memory for another one.
            self._waiting.clear()
        add_event(self._waiting, event)
        self._deliver()

    def _fault(self, event: ResponseHead | bytes | End) -> str | None:
        """Compare the content with its announced length (RFC 9113 section 8.1.1)."""
        if isinstance(event, bytes):
            if self._remaining is None:
                return None
            self._remaining -= len(event)
            return "the origin sent more content than its response announced" if self._remaining < 0 else None
        if isinstance(event, End):
            return "the origin sent less content than its response announced" if self._remaining else None
        framing = event.framing
        if event.status >= 200 and framing.kind in (_LENGTH, _NONE):
            self._remaining = framing.length
        return None

    def _deliver(self) -> None:
        waiting = self._waiting
        while waiting and not self._paused:
            sink = self._sink
            if sink is None:
                waiting.clear()
                return
            event = waiting.popleft()
            if isinstance(event, bytes):
                sink.response_data(event)
                self._connection.taken(self, len(event))
            elif isinstance(event, ResponseHead):
                sink.response_head(event)
            elif isinstance(event, End):
                sink.response_end(event.trailers)
            else:
                self._sink = None
                untouched = event.connection_lost and not self._responded
                sink.response_failed(event.error, untouched=untouched, unread=event.unread)

    def flush(self) -> None:
        """Let the sink write its buffered data."""
        if self._sink is not None:
            self._sink.response_flush()

    # -- end

    def close(self) -> None:
        """See L{IOriginStream.close}."""
        self.abort()

    def abort(self) -> None:
        """See L{IOriginStream.abort}.  The connection continues."""
        if self._sink is not None or not self.id:
            self._sink = None
            self._waiting.clear()
            self._connection.over(self)
