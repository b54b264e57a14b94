"""Tests for L{egress.proxy.interfaces}: exchanges on connections that carry several streams side by side, as HTTP/2
connections do.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from egress.http.connection_auth import has_credentials
from egress.http.events import (
    DELIMITED,
    END,
    NO_BODY,
    BodyKind,
    End,
    ForwardedHead,
    Framing,
    RequestHead,
    ResponseHead,
)
from egress.http.request_target import parse_request_target
from egress.http.upgrade import Upgrade
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, Headers
from egress.model.errors import EgressError, OriginDisconnected
from egress.model.phases import Mark
from egress.model.route import Destination, Route
from egress.proxy.exchange import Exchange
from egress.proxy.interfaces import IClientStream
from egress.proxy.outgoing_request import OutgoingRequest
from egress.upstream.authenticated_connections import AuthenticatedConnections
from egress.upstream.interfaces import IOriginStream, IResponseSink
from tests.proxy.fakes import ProxyTestCase, deny

CLIENT = ClientIdentity("198.51.100.7", 40000)
ORIGIN = Origin("https", Authority("origin.test", 443))
WINDOW = 10


@implementer(IClientStream)
class ClientStream:
    """A stream of a client connection, with a window of credit.

    @ivar waiting: the content that the exchange has not taken; an L{End} is the last item.
    @ivar credit: the number of bytes that the client may send.
    @ivar events: the response.
    """

    def __init__(self, connection: ClientConnection, head: RequestHead, origin: Origin = ORIGIN) -> None:
        self.backpressured = False
        self.can_send_trailers = True
        self.logins = connection.logins
        self.transport: object = None
        self.waiting: list[bytes | End] = []
        self.credit = WINDOW
        self.events: list[object] = []
        self.timeouts: list[float | None] = []
        target = parse_request_target(head.method, head.target, {"https": 443})
        outgoing = OutgoingRequest(head, connection.client, origin, target)
        self.exchange = Exchange(connection.context, self, connection.client, outgoing)

    def receive(self, *content: bytes | End) -> None:
        """Receive content within the window."""
        self.waiting += content
        self.credit -= sum(len(data) for data in content if isinstance(data, bytes))
        assert self.credit >= 0
        self.read_content()

    def read_content(self) -> None:
        while self.waiting and self.exchange.wants_body:
            event = self.waiting.pop(0)
            if isinstance(event, End):
                self.exchange.body_end(event)
            else:
                self.exchange.body_data(event)
                self.credit += len(event)

    def watch(self, seconds: float | None) -> None:
        self.timeouts.append(seconds)

    def send_continue(self) -> None:
        self.events.append(100)

    def send_interim(self, head: ResponseHead) -> None:
        self.events.append(head.status)

    def send_head(self, head: ResponseHead, *, last: bool) -> None:
        self.events.append(head.status)

    def send_data(self, data: bytes) -> None:
        self.events.append(data)

    def send_end(self, trailers: Headers) -> None:
        self.events.append("end")

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        self.events.append("finished")

    def fail(self, error: EgressError, request_id: str) -> None:
        self.events.append(type(error).__name__)

    def reset(self) -> None:
        self.events.append("reset")

    def switch(self, head: ResponseHead, upgrade: Upgrade) -> None:
        raise NotImplementedError

    def relay(self) -> None:
        raise NotImplementedError

    def pause(self) -> None:
        raise NotImplementedError

    def resume(self) -> None:
        raise NotImplementedError


class ClientConnection:
    """A client connection with any number of streams."""

    def __init__(self, context: Any, pool: Any, address: str = CLIENT.address) -> None:
        self.context = context
        self.client = attrs.evolve(CLIENT, address=address)
        self.logins = AuthenticatedConnections(pool, lambda: None)

    def open(
        self, path: bytes, framing: Framing = NO_BODY, fields: Headers = (), origin: Origin = ORIGIN
    ) -> ClientStream:
        """Begin an exchange."""
        method = "POST" if framing.has_body else "GET"
        head = RequestHead(
            method,
            path,
            b"2",
            ((b"Host", b"origin.test"), *fields),
            framing,
            b"origin.test",
            True,
            frozenset(),
            None,
            False,
            None,
            None,
            has_credentials(fields),
        )
        stream = ClientStream(self, head, origin)
        stream.exchange.start()
        return stream


@implementer(IOriginStream)
class OriginStream:
    """A stream of an origin connection.

    @ivar sent: the request: its target, content and end.
    @ivar events: the other calls.
    """

    def __init__(self, route: Route) -> None:
        self.route = route
        self.hop = Destination("192.0.2.1", http="2")
        self.reused = False
        self.logged_in = False
        self.reusable = False
        self.transport: object = None
        self.sent: list[object] = []
        self.events: list[str] = []

    def log_in(self) -> None:
        raise NotImplementedError

    def send_request(self, sink: IResponseSink, head: ForwardedHead, content: bytes, end: End | None) -> None:
        self.sink = sink
        self.sent.append((head.target, dict(head.fields)[b"Via"]))
        self.send_content(content, end)

    def send_content(self, content: bytes, end: End | None = None) -> None:
        if content:
            self.sent.append(content)
        if end is not None:
            self.sent.append("end")

    def pause(self) -> None:
        self.events.append("pause")

    def resume(self) -> None:
        self.events.append("resume")

    def end_writing(self) -> bool:
        raise NotImplementedError

    def close(self) -> None:
        self.events.append("close")

    def abort(self) -> None:
        self.events.append("abort")

    def respond(self, *content: bytes) -> None:
        """Send a response."""
        self.sink.response_head(ResponseHead(200, b"", b"2", (), DELIMITED, True, frozenset()))
        for data in content:
            self.sink.response_data(data)
        self.sink.response_end(())


class OriginStreams:
    """Opens streams of one connection."""

    def __init__(self) -> None:
        self.opened: list[OriginStream] = []

    def open(
        self, route: Route, client: str, phases: list[Mark] | None = None, **options: Any
    ) -> Deferred[OriginStream]:
        """See L{egress.upstream.origins.Origins.open}."""
        self.opened.append(OriginStream(route))
        return succeed(self.opened[-1])


class MultiplexedTests(ProxyTestCase):
    """Several exchanges at a time on one client connection and one origin connection."""

    def setUp(self) -> None:
        super().setUp()
        self.authorizer.needs_body = False
        self.clock: Clock
        self.origins = OriginStreams()
        self.proxy.parts.origins.streams = self.origins  # type: ignore[assignment]
        self.connection = ClientConnection(self.proxy.parts, self.proxy.pool)

    def test_responses_in_any_order(self) -> None:
        one, two = self.connection.open(b"/one"), self.connection.open(b"/two")
        first, second = self.origins.opened
        self.assertEqual(first.sent, [(b"/one", b"2 egressproxy"), "end"])
        second.respond(b"2", b"two")
        first.respond(b"1")
        self.assertEqual(one.events, [200, b"1", "end", "finished"])
        self.assertEqual(two.events, [200, b"2", b"two", "end", "finished"])
        self.assertEqual(
            [(record.url, record.client_http, record.origin_http) for record in self.records],
            [("https://origin.test/two", "2", "2"), ("https://origin.test/one", "2", "2")],
        )

    def test_a_denial_does_not_affect_another_stream(self) -> None:
        self.authorizer.answers = [deny()]
        one, two = self.connection.open(b"/one"), self.connection.open(b"/two")
        self.assertEqual(one.events, ["Denied"])
        self.origins.opened[0].respond()
        self.assertEqual(two.events, [200, "end", "finished"])

    def test_the_reset_of_one_stream(self) -> None:
        one, two = self.connection.open(b"/one"), self.connection.open(b"/two")
        first, second = self.origins.opened
        one.exchange.client_lost()
        self.assertEqual((first.events, second.events), (["abort"], []))
        second.respond()
        self.assertEqual((one.events, two.events), ([], [200, "end", "finished"]))
        self.assertEqual(self.outcomes()[1], "forwarded")

    def test_an_origin_that_resets_one_stream(self) -> None:
        one, two = self.connection.open(b"/one"), self.connection.open(b"/two")
        first, second = self.origins.opened
        first.sink.response_head(ResponseHead(200, b"", b"2", (), DELIMITED, True, frozenset()))
        first.sink.response_failed(OriginDisconnected("reset"), untouched=False)
        self.assertEqual(one.events, [200, "reset"])
        second.respond()
        self.assertEqual(two.events, [200, "end", "finished"])

    def test_credit_follows_the_content_that_the_origin_takes(self) -> None:
        upload = self.connection.open(b"/upload", DELIMITED)
        other = self.connection.open(b"/other")
        first, second = self.origins.opened
        upload.receive(b"0123456789")
        self.assertEqual(upload.credit, WINDOW)
        first.sink.pause_request()
        upload.receive(b"0123456789")
        self.assertEqual((upload.credit, first.sent[1:]), (0, [b"0123456789"]))
        second.respond()
        self.assertEqual(other.events, [200, "end", "finished"])
        first.sink.resume_request()
        self.assertEqual(upload.credit, WINDOW)
        upload.receive(b"last", END)
        self.assertEqual(first.sent[1:], [b"0123456789", b"0123456789", b"last", "end"])
        first.respond()
        self.assertEqual(upload.events, [200, "end", "finished"])

    def test_no_credit_before_the_decision(self) -> None:
        decision = self.authorizer.pending()
        upload = self.connection.open(b"/upload", Framing(BodyKind.LENGTH, 3))
        upload.receive(b"abc", END)
        self.assertEqual(upload.credit, WINDOW - 3)
        decision.callback(deny())
        self.assertEqual((upload.events, self.origins.opened), (["Denied"], []))

    def test_backpressure_of_one_stream(self) -> None:
        one, _ = self.connection.open(b"/one"), self.connection.open(b"/two")
        first, second = self.origins.opened
        one.exchange.pause_response()
        one.exchange.resume_response()
        self.assertEqual((first.events, second.events), (["pause", "resume"], []))
        first.respond()
        second.respond()
