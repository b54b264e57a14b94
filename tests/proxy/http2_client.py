"""A client that speaks HTTP/2 in a tunnel of the proxy, on C{h2} without extensions."""

from __future__ import annotations

from collections.abc import Sequence

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from egress.model.decision import Header
from egress.proxy.http2_stream import LINGER_SECONDS
from tests.proxy.tunnels import InterceptTestCase
from tests.transport.tls import TlsClient, TlsEnd


class Http2Client:
    """A client inside TLS.

    @ivar h2: the state of the connection.
    @ivar events: the events that were received.
    """

    def __init__(self, tls: TlsEnd, *, acknowledge: bool = True) -> None:
        self.tls = tls
        self.acknowledge = acknowledge
        self.h2 = H2Connection(
            H2Configuration(client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        self.events: list[Event] = []
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Send the output, then process what the proxy sent."""
        data = self.h2.data_to_send()
        if data:
            self.tls.send(data)
        self.read()

    def read(self) -> None:
        """Process the data of the proxy."""
        while data := self.tls.take():
            events = self.h2.receive_data(data)
            self.events += events
            for event in events:
                if isinstance(event, DataReceived) and self.acknowledge:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            answer = self.h2.data_to_send()
            if answer:
                self.tls.send(answer)

    def request(
        self,
        path: str = "/a",
        *fields: Header,
        method: str = "GET",
        authority: str = "origin.test",
        scheme: str = "https",
        end: bool = True,
    ) -> int:
        """Send a request; return its stream."""
        stream = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
        self.send([(name.encode(), value.encode()) for name, value in pseudo] + list(fields), stream, end=end)
        return stream

    def send(self, fields: Sequence[Header], stream: int, *, end: bool = True) -> None:
        """Send fields."""
        self.h2.send_headers(stream, fields, end_stream=end)
        self.flush()

    def data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send content."""
        self.h2.send_data(stream, data, end_stream=end)
        self.flush()

    def status(self, stream: int) -> int:
        """The status code of a response; 0 without a response."""
        return int(self.fields(stream).get(b":status", b"0"))

    def fields(self, stream: int) -> dict[bytes, bytes]:
        """The fields of a response."""
        for event in self.events:
            if isinstance(event, ResponseReceived) and event.stream_id == stream:
                return dict(event.headers)
        return {}

    def interims(self, stream: int) -> list[int]:
        """The status codes of interim responses."""
        return [
            int(dict(event.headers)[b":status"])
            for event in self.events
            if isinstance(event, InformationalResponseReceived) and event.stream_id == stream
        ]

    def trailers(self, stream: int) -> dict[bytes, bytes]:
        """The fields after the content of a response."""
        for event in self.events:
            if isinstance(event, TrailersReceived) and event.stream_id == stream:
                return dict(event.headers)
        return {}

    def content(self, stream: int) -> bytes:
        """The content of a response, as far as it was received."""
        return b"".join(
            event.data for event in self.events if isinstance(event, DataReceived) and event.stream_id == stream
        )

    def ended(self, stream: int) -> bool:
        """Whether a response is complete."""
        return any(isinstance(event, StreamEnded) and event.stream_id == stream for event in self.events)

    def reset(self, stream: int) -> int | None:
        """The code with which the proxy has reset a stream; C{None} if it has not."""
        for event in self.events:
            if isinstance(event, StreamReset) and event.stream_id == stream:
                return None if event.error_code is None else int(event.error_code)
        return None

    @property
    def goodbye(self) -> tuple[int, int] | None:
        """The code and the last stream of the proxy's C{GOAWAY}."""
        for event in self.events:
            if isinstance(event, ConnectionTerminated):
                return int(event.error_code or 0), event.last_stream_id or 0
        return None


class Http2TestCase(InterceptTestCase):
    """A client with an HTTP/2 connection in a tunnel.

    @ivar http2: the client.
    """

    def setUp(self) -> None:
        super().setUp()
        self.authorizer.needs_body = False
        self.start()

    def start(self, *, acknowledge: bool = True, server_name: str = "origin.test") -> None:
        """Open a tunnel with TLS and HTTP/2 inside."""
        self.tunnel()
        tls = TlsClient(self.client, server_name, protocols=[b"h2", b"http/1.1"]).shake()
        self.http2 = Http2Client(tls, acknowledge=acknowledge)

    def origin_gets(self, start: bytes) -> bytes:
        """Return the data that the origin received, which starts with C{start}."""
        self.http2.read()
        data = self.origin.take()
        self.assertTrue(data.startswith(start), data)
        return data

    def assert_lingers(self, stream: int) -> None:
        """The client has time to end its request, before the stream is reset."""
        self.clock.advance(LINGER_SECONDS - 0.1)
        self.http2.data(stream, b"more")
        self.clock.advance(0.05)
        self.http2.read()
        self.assertIsNone(self.http2.reset(stream))
        self.clock.advance(0.1)
        self.http2.read()
        self.assertEqual(self.http2.reset(stream), ErrorCodes.NO_ERROR)
