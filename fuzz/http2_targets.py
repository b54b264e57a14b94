"""The properties of connections over HTTP/2, for all frames of a client and of an origin."""

from __future__ import annotations

import contextlib
from typing import Any, Final

from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, TrailersReceived
from twisted.internet.task import Clock
from zope.interface import implementer

from egress.http.events import DELIMITED, END, NO_BODY, End, ForwardedHead, RequestHead, ResponseHead
from egress.http.heads import parse_request_head
from egress.http.hop_by_hop import encode_fields
from egress.http.sniff import PREFACE
from egress.http2.client_fields import ClientRequest, MalformedMessage, parse_request, parse_trailers, websocket_head
from egress.http2.engine import ConnectionFault, Engine, EngineSettings
from egress.http2.windows import PROCESS_GROWTH, GrowthBudget
from egress.model.decision import Headers
from egress.model.errors import ClientError, EgressError
from egress.model.protocol import WEBSOCKET
from egress.model.route import Route
from egress.transport.fair_turns import RoundRobin
from egress.upstream.http2_origin_connection import Http2OriginConnection
from egress.upstream.http2_origin_stream import Http2OriginStream
from egress.upstream.interfaces import IResponseSink
from egress.upstream.origin_connection import OriginConnection
from egress.upstream.origin_versions import OriginVersions
from fuzz.reading import LIMITS, ORIGIN, WIDER, Unexpected, check_request, check_response, joined, pieces
from fuzz.sent_frames import check_sent
from fuzz.wire import Wire

_SETTINGS: Final = b"\0\0\0\4\0\0\0\0\0"
# The largest frame that waits for its end.
_FRAME: Final = 9 + 16384
# Reads that are shorter than most frames.
_READ: Final = 63
_KEY: Final = b"dGhlIHNhbXBsZSBub25jZQ=="


# -- frames of a client


class _Client:
    """The proxy's side of a connection, to which a client sends anything.

    @param responds: whether the proxy responds: the responses are longer than the windows.
    """

    def __init__(self, *, responds: bool) -> None:
        self._responds = responds
        self.engine = Engine(client=False, settings=EngineSettings(LIMITS.head, connect_protocol=True))
        self.engine.begin()
        self.events: list[Any] = []
        self.sent = bytearray(self.engine.take_output())
        self.fault: ErrorCodes | None = None
        self.receive(PREFACE + _SETTINGS)

    def receive(self, data: bytes) -> None:
        """Process a read, in as many turns as it takes."""
        engine = self.engine
        try:
            engine.receive(data)
            while True:
                for event in engine.next_events():
                    self._process(event)
                self.sent += engine.take_output()
                if not engine.has_frame:
                    break
        except ConnectionFault as fault:
            assert self.fault is None, "a connection fails twice"
            self.fault = fault.code
            self.sent += engine.take_output()
        state = engine._h2  # noqa: SLF001
        assert state.frames.buffered < _FRAME + len(data)
        assert state.blocks._size <= 4096  # noqa: SLF001

    def _process(self, event: Any) -> None:
        assert self.fault is None, "an event follows the end of the connection"
        self.events.append(event)
        if not self._responds:
            return
        if isinstance(event, RequestReceived):
            self._respond(event)
        elif isinstance(event, DataReceived):
            self.engine.take(event.stream_id, len(event.data))

    def _respond(self, event: RequestReceived) -> None:
        engine, number = self.engine, event.stream_id
        try:
            parse_request(event.headers, LIMITS, ended=event.stream_ended is not None)
        except MalformedMessage:
            engine.refuse(number, ErrorCodes.PROTOCOL_ERROR)
            return
        except ClientError:
            engine.send_head(number, [(b":status", b"400")], end=True)
            return
        engine.send_head(number, [(b":status", b"103")])
        engine.send_head(number, [(b":status", b"200"), (b"x", b"y" * (number % 11) * 2000)])
        engine.send_data(number, b"x" * (number % 7 * 20_000))
        if number % 5:
            engine.send_end(number, ((b"x", b"y"),) if number % 3 else ())

    def check_end(self) -> None:
        """A connection that has failed has told the client, and processes nothing more."""
        assert self.engine._h2.open_inbound_streams <= 100  # noqa: SLF001
        if self.fault is not None:
            sent = len(self.sent)
            self.receive(_SETTINGS * 3)
            assert not self.engine.has_frame and len(self.sent) == sent


def _fact(event: Any) -> tuple[Any, ...]:
    return type(event), event.__dict__.get("stream_id"), getattr(event, "headers", getattr(event, "data", None))


class _Requests:
    """The requests of a client, as the origins receive them."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[RequestHead, bytes]] = {}

    def process(self, event: Any) -> None:
        """Process an event."""
        number = getattr(event, "stream_id", None)
        if isinstance(event, RequestReceived):
            self._begin(event)
        elif number not in self._open:
            return
        elif isinstance(event, DataReceived):
            head, content = self._open[number]
            self._open[number] = head, content + event.data
        elif isinstance(event, TrailersReceived):
            with contextlib.suppress(MalformedMessage):
                self._end(number, parse_trailers(event.headers, LIMITS))
            self._open.pop(number, None)
        elif isinstance(event, StreamEnded):
            self._end(number, END)
        elif isinstance(event, StreamReset):
            del self._open[number]

    def _begin(self, event: RequestReceived) -> None:
        try:
            request = parse_request(event.headers, LIMITS, ended=event.stream_ended is not None)
        except (MalformedMessage, ClientError):
            return
        head = request.head
        line = b"%b %b HTTP/1.1\r\n" % (head.method.encode(), head.target)
        lines = [*head.headers, *(((b"transfer-encoding", b"chunked"),) if head.framing is DELIMITED else ())]
        parsed = parse_request_head(line + encode_fields(lines) + b"\r\n", WIDER)
        assert (parsed.headers, parsed.host) == (tuple(lines), head.host)
        assert head.method == "CONNECT" or parsed.framing == head.framing
        self._opened(event.stream_id, request)

    def _opened(self, number: int, request: ClientRequest) -> None:
        head = request.head
        if request.protocol == WEBSOCKET:
            check_request(websocket_head(head, _KEY), b"", END)
        elif head.method != "CONNECT":
            self._open[number] = head, b""

    def _end(self, number: int, end: End) -> None:
        head, content = self._open.pop(number)
        check_request(head, content, end)


def http2(data: bytes) -> None:
    """Frames of a client: the same requests, however they arrive, and each one is one request of HTTP/1.1.

    The responses stay within the windows of the client.
    """
    seed, data = data[:1] or b"\0", data[1:]
    if seed[0] & 1:
        client = _Client(responds=True)
        for part in pieces(data, seed[0], short=_READ):
            client.receive(part)
        client.check_end()
        check_sent(client.sent, data)
        return
    whole = _Client(responds=False)
    if data:
        whole.receive(data)
    if seed[0] & 2:
        split = _Client(responds=False)
        for part in pieces(data, seed[0], short=_READ):
            split.receive(part)
        for client in (whole, split):
            # The header of a frame that is too long can wait for the next turn.
            client.receive(b"")
        assert [_fact(event) for event in split.events] == [_fact(event) for event in whole.events]
        assert split.fault is whole.fault
    whole.check_end()
    check_sent(whole.sent, data)
    # A frame causes a bounded response, and the last one is a GOAWAY.
    assert len(whole.sent) <= 2 * len(data) + 400
    requests = _Requests()
    for event in whole.events:
        requests.process(event)


# -- frames of an origin

_ROUTE: Final = Route(ORIGIN, (), None, True, False)
_LAST: Final = b"end"
# More than the windows at first.
_CONTENT: Final = b"x" * 70_000 + _LAST


@implementer(IResponseSink)
class _Sink:
    """An exchange, which checks the order of the events of its response."""

    def __init__(self, connection: Http2OriginConnection, method: str, *, slow: bool = False) -> None:
        self.stream: Http2OriginStream = connection.open_stream()
        self.method = method
        self.events: list[Any] = []
        self.over = False
        self._slow = slow
        self._final = False
        self.wants_content = True

    def response_head(self, head: ResponseHead) -> None:
        """See L{IResponseSink.response_head}."""
        assert not self.over and not self._final
        self._final = head.status >= 200
        self.events.append(head)
        if self._slow and self._final:
            self.stream.pause()

    def response_data(self, data: bytes) -> None:
        """See L{IResponseSink.response_data}."""
        assert self._final and not self.over and data
        self.events.append(data)

    def response_end(self, trailers: Headers) -> None:
        """See L{IResponseSink.response_end}."""
        assert self._final and not self.over
        self.over = True
        self.events.append(End(trailers))
        self.stream.close()

    def response_flush(self) -> None:
        """See L{IResponseSink.response_flush}."""

    def response_failed(self, error: EgressError, *, untouched: bool, unread: bool = False) -> None:
        """See L{IResponseSink.response_failed}."""
        assert not self.over and not (untouched and self.events)
        self.over = True
        self.events.append((type(error), error.reason, untouched, unread))

    def response_switched(self, data: bytes) -> None:
        """See L{IResponseSink.response_switched}: HTTP/2 does not switch."""
        raise AssertionError

    def pause_request(self) -> None:
        """See L{IResponseSink.pause_request}."""
        self.wants_content = False

    def resume_request(self) -> None:
        """See L{IResponseSink.resume_request}."""
        self.wants_content = True

    def check(self) -> None:
        """A complete response is one response for a client of HTTP/1.1."""
        final = [event for event in self.events if isinstance(event, ResponseHead) and event.status >= 200]
        if final and isinstance(self.events[-1], End):
            content = b"".join(event for event in self.events if isinstance(event, bytes))
            check_response(final[0], self.method, content, self.events[-1])


class _Origin:
    """A connection to an origin that sends anything, with several requests."""

    clock = Clock()
    turns = RoundRobin(clock)
    dialed = OriginConnection(_ROUTE, LIMITS, clock, turns)

    def __init__(self, seed: int) -> None:
        self.growth = GrowthBudget(PROCESS_GROWTH)
        self.connection = Http2OriginConnection(
            *(self.dialed, LIMITS, self.clock, self.turns),
            client="",
            versions=OriginVersions(self.clock),
            growth=self.growth,
        )
        self.wire = Wire(self.connection)
        self.sinks = [
            self._request("GET", slow=bool(seed & 4)),
            self._request("POST", _CONTENT[: -len(_LAST)]),
            self._request("PUT", b"") if seed & 8 else self._request("HEAD"),
        ]
        if seed & 16:
            self.receive(_SETTINGS)

    def _request(self, method: str, content: bytes | None = None, *, slow: bool = False) -> _Sink:
        sink = _Sink(self.connection, method, slow=slow)
        framing = NO_BODY if content is None else DELIMITED
        head = ForwardedHead(method, b"/x", [(b"Host", ORIGIN.host_field)], framing)
        sink.stream.send_request(sink, head, content or b"", END if content is None else None)
        return sink

    def receive(self, data: bytes) -> None:
        """Process a read."""
        self.connection.dataReceived(data)
        while self.wire.paused and self.clock.getDelayedCalls():
            self.clock.advance(0)
        state = self.connection._engine._h2  # noqa: SLF001
        assert state.frames.buffered < _FRAME + len(data) or self.wire.closed
        assert state.blocks._size <= 4096  # noqa: SLF001

    def finish(self) -> None:
        """Read the slow responses, end the requests, and lose the connection."""
        for sink in self.sinks:
            sink.stream.resume()
            if not sink.stream.request_ended and not sink.over:
                sink.stream.send_content(_LAST, END)
        self.wire.lose()
        self.clock.advance(0)
        assert all(sink.over for sink in self.sinks)
        assert not self.connection.streams and not self.clock.getDelayedCalls()
        assert self.growth._left == PROCESS_GROWTH  # noqa: SLF001

    @property
    def facts(self) -> list[Any]:
        """The events of each response."""
        return [joined(sink.events) for sink in self.sinks]


def http2_origin(data: bytes) -> None:
    """Frames of an origin: the same responses, however they arrive, and each one is one response of HTTP/1.1.

    Each request ends with a response or an error, and its content stays within the windows of the origin.
    """
    seed, data = data[:1] or b"\0", data[1:]
    split = _Origin(seed[0])
    with Unexpected():
        for part in pieces(data, seed[0], short=_READ):
            split.receive(part)
        split.finish()
    if not seed[0] & 3:
        whole = _Origin(seed[0])
        if data:
            whole.receive(data)
        whole.finish()
        assert whole.facts == split.facts, (whole.facts, split.facts)
    sent = check_sent(split.wire.written[len(PREFACE) :], data)
    assert set(sent) == {1, 3, 5}, sent.keys()
    assert not sent[1] and _CONTENT.startswith(sent[3]) and _LAST.startswith(sent[5])
    for sink in split.sinks:
        sink.check()
