"""An origin in memory that uses HTTP/2, written with another implementation of the server's side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, TrailersReceived
from h2.settings import SettingCodes
from twisted.internet.interfaces import IReactorTime

from egress.testing.transport import MemoryTransport

Header = tuple[str, str]


class Http2Wire(MemoryTransport):
    """The transport of a connection whose TLS handshake chose HTTP/2, with an origin on the other side.

    @ivar events: the events that the origin has received.
    @ivar h2: the state of the origin's side.
    @ivar credit: whether the origin gives credit for the content that it receives.
    """

    negotiatedProtocol: bytes | None = b"h2"

    def __init__(self, clock: IReactorTime, *, streams: int | None = None, window: int | None = None) -> None:
        super().__init__(clock)
        self.events: list[Any] = []
        self.credit = True
        self.h2 = H2Connection(
            H2Configuration(
                client_side=False,
                header_encoding="ascii",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        settings: dict[SettingCodes | int, int] = {}
        if streams is not None:
            settings[SettingCodes.MAX_CONCURRENT_STREAMS] = streams
        if window is not None:
            settings[SettingCodes.INITIAL_WINDOW_SIZE] = window
        self._settings = settings
        self._begun = False

    @property
    def wrappedProtocol(self) -> Any:
        """The protocol, as a TLS layer names it."""
        return self.protocol

    @wrappedProtocol.setter
    def wrappedProtocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def begin(self) -> Http2Wire:
        """Send the settings of the origin, which are the first frame, if they were not sent before."""
        return self.exchange()

    def _begin(self) -> H2Connection:
        if not self._begun:
            self._begun = True
            self.h2.initiate_connection()
            if self._settings:
                self.h2.update_settings(self._settings)
        return self.h2

    def exchange(self) -> Http2Wire:
        """Pass the data in both directions until there is none."""
        self._begin()
        while True:
            data = self.take()
            if data:
                for event in self.h2.receive_data(data):
                    self.events.append(event)
                    if isinstance(event, DataReceived) and self.credit:
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            response = self.h2.data_to_send()
            if response:
                self.feed(response)
            elif not self.written:
                return self

    def act(self, action: Callable[[H2Connection], object]) -> Http2Wire:
        """Let the origin send something."""
        action(self._begin())
        return self.exchange()

    def respond(
        self,
        stream: int,
        *content: bytes,
        status: str = "200",
        fields: Sequence[Header] = (),
        trailers: Sequence[Header] | None = None,
        end: bool = True,
    ) -> Http2Wire:
        """Send a response."""
        last = end and trailers is None
        self._begin().send_headers(stream, [(":status", status), *fields], end_stream=last and not content)
        for at, data in enumerate(content, 1):
            self.h2.send_data(stream, data, end_stream=last and at == len(content))
        if trailers is not None:
            self.h2.send_headers(stream, trailers, end_stream=True)
        return self.exchange()

    # -- what the origin received

    @property
    def requests(self) -> list[dict[str, str]]:
        """The fields of the requests."""
        return [dict[Any, Any](event.headers) for event in self.events if isinstance(event, RequestReceived)]

    @property
    def streams(self) -> list[int]:
        """The streams of the requests."""
        return [event.stream_id for event in self.events if isinstance(event, RequestReceived)]

    def content(self, stream: int) -> bytes:
        """The content of a request."""
        return b"".join(
            event.data for event in self.events if isinstance(event, DataReceived) and event.stream_id == stream
        )

    def ended(self, stream: int) -> bool:
        """Whether a request has ended."""
        return any(isinstance(event, StreamEnded) and event.stream_id == stream for event in self.events)

    def trailers(self, stream: int) -> list[Any]:
        """The trailers of a request."""
        return [
            field
            for event in self.events
            if isinstance(event, TrailersReceived) and event.stream_id == stream
            for field in event.headers
        ]

    @property
    def resets(self) -> list[tuple[int, int]]:
        """The streams that were reset, with the error codes."""
        return [(event.stream_id, int(event.error_code)) for event in self.events if isinstance(event, StreamReset)]
