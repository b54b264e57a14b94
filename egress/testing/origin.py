"""An origin in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from OpenSSL import SSL
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.http.events import End, RequestHead
from egress.http.heads import HeadLimits
from egress.http.readers import RequestReader
from egress.model.decision import Headers
from egress.testing.tls import TlsEnd
from egress.testing.transport import MemoryTransport

_log = Logger()

LIMITS: Final = HeadLimits(head=1 << 20, fields=1000, target=1 << 20)
"""The limits of the messages in memory; the proxy has lower limits."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def field(headers: Headers, name: str) -> str | None:
    """Return the values of a header field, joined by commas; C{None} without the field."""
    wanted = name.lower().encode("ascii")
    values = [value.decode("latin-1") for found, value in headers if found.lower() == wanted]
    return ", ".join(values) if values else None


@attrs.frozen
class OriginRequest:
    """A request that an origin received.

    @ivar method: the method.
    @ivar target: the request-target: path and query.
    @ivar headers: the header fields.
    @ivar body: the content.
    @ivar is_tls: whether the request was inside TLS.
    """

    method: str
    target: str
    headers: Headers
    body: bytes
    is_tls: bool

    def field(self, name: str) -> str | None:
        """Return the values of a header field, joined by commas; C{None} without the field."""
        return field(self.headers, name)


@attrs.frozen
class OriginResponse:
    """The response of an origin.

    @ivar body: the content.
    @ivar status: the status code.
    @ivar headers: the header fields, without the fields that frame the content.
    """

    body: bytes = b""
    status: int = 200
    headers: Headers = ()

    def encoded(self, method: str) -> bytes:
        """Encode the response to a request with a method."""
        lines = [b"HTTP/1.1 %d Status" % self.status, *(name + b": " + value for name, value in self.headers)]
        lines.append(b"Content-Length: %d" % len(self.body))
        body = b"" if method == "HEAD" else self.body
        return b"\r\n".join([*lines, b"", body])


Respond = Callable[[OriginRequest], "OriginResponse | Deferred[OriginResponse]"]


def _hello(request: OriginRequest) -> OriginResponse:
    return OriginResponse(b"hello")


class MemoryOrigin:
    """An origin in memory: it records its requests, and responds to them.

    @ivar requests: the complete requests, in order.
    @ivar connections: the number of connections.
    @ivar respond: makes the response to a request.  If it returns a Deferred, the response is sent when that fires.

    @param respond: by default, each response is C{hello}.
    """

    def __init__(self, respond: Respond = _hello) -> None:
        self.requests: list[OriginRequest] = []
        self.connections = 0
        self.respond = respond

    def accept(self, transport: MemoryTransport, tls: SSL.Context | None = None) -> _Connection:
        """Accept a connection.

        @param transport: the transport of the client.
        @param tls: the context of the server; C{None}: without TLS.
        """
        self.connections += 1
        return _Connection(self, transport, tls)


class _Connection:
    """One connection to an origin."""

    def __init__(self, origin: MemoryOrigin, transport: MemoryTransport, tls: SSL.Context | None) -> None:
        self._origin = origin
        self._transport = transport
        self._tls: TlsEnd | None = None
        self._is_ready = tls is None
        self._is_broken = False
        if tls is not None:
            connection = SSL.Connection(tls, None)
            connection.set_accept_state()
            self._tls = TlsEnd(transport, connection)
        self._stream: MemoryTransport | TlsEnd = self._tls or transport
        self._reader = RequestReader(LIMITS)
        self._head: RequestHead | None = None
        self._body: list[bytes] = []

    def step(self) -> bool:
        """Read the data that arrived, and respond to complete requests."""
        if self._transport.disconnected or self._is_broken:
            return False
        if not self._is_ready and self._tls is not None:
            return self._shake(self._tls)
        data = self._stream.take()
        if not data:
            return False
        self._reader.receive(data)
        while (event := self._reader.next_event()) is not None:
            if isinstance(event, RequestHead):
                self._head, self._body = event, []
                if event.expects_continue:
                    self._stream.feed(_CONTINUE)
                if not event.framing.has_body:
                    self._received(event)
            elif isinstance(event, End):
                assert self._head is not None  # it precedes the content
                self._received(self._head)
            else:
                self._body.append(event)
        return True

    def _shake(self, tls: TlsEnd) -> bool:
        before = tls.moved
        try:
            self._is_ready = tls.try_handshake()
        except SSL.Error:
            # The proxy reports the reason to its client.
            self._is_broken = True
            self._transport.end()
        return self._is_ready or tls.moved != before

    def _received(self, head: RequestHead) -> None:
        target = head.target.decode("latin-1")
        request = OriginRequest(head.method, target, head.headers, b"".join(self._body), self._tls is not None)
        self._origin.requests.append(request)

        def send(response: OriginResponse) -> None:
            if not self._transport.disconnected:
                self._stream.feed(response.encoded(head.method))

        def failed(failure: Failure) -> None:
            _log.failure("the response of an origin in memory failed", failure=failure)
            send(OriginResponse(status=500))

        respond: Callable[[OriginRequest], Any] = self._origin.respond
        responding: Deferred[OriginResponse] = maybeDeferred(respond, request)
        responding.addCallbacks(send, failed)
