"""The messages of the agent: the head of a request, its content, and a complete response."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from twisted.internet.interfaces import IConsumer, IProtocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from zope.interface import implementer

from egress.http.events import HTTP_1_1, ResponseHead

_DONE: Final = Failure(ResponseDone())  # type: ignore[no-untyped-call]


@implementer(IResponse)
class Response:
    """A complete response.

    @ivar fields: the header fields as received.
    """

    def __init__(self, head: ResponseHead, body: bytes) -> None:
        self.version = (b"HTTP", 1, 1 if head.version == HTTP_1_1 else 0)
        self.code = head.status
        self.phrase = head.reason
        self.fields = head.headers
        self.length = len(body)
        self.request = None
        self.previousResponse: IResponse | None = None
        self._body = body

    @cached_property
    def headers(self) -> Headers:
        """The fields as Headers.  They are made on demand, because most decisions are in the content only."""
        headers = Headers()
        for name, value in self.fields:
            headers.addRawHeader(name, value)
        return headers

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver the whole content."""
        if self._body:
            protocol.dataReceived(self._body)
        protocol.connectionLost(_DONE)

    def setPreviousResponse(self, response: IResponse) -> None:
        """See C{IResponse.setPreviousResponse}."""
        self.previousResponse = response


@implementer(IConsumer)
class Gather:
    """Collects the data that a body producer writes."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Do nothing: authorization requests are small, and already in memory."""

    def unregisterProducer(self) -> None:
        """Do nothing; see C{registerProducer}."""

    def write(self, data: bytes) -> None:
        """Append a piece."""
        self.pieces.append(data)


def encode_head(method: bytes, uri: bytes, headers: Headers) -> bytes:
    """Write the head of a request, without its C{Content-Length} and the empty line."""
    _, _, rest = uri.partition(b"://")
    host, slash, path = rest.partition(b"/")
    lines = [b"%b %b HTTP/1.1" % (method, slash + path or b"/")]
    if not headers.hasHeader(b"host"):
        lines.append(b"Host: " + host)
    fields = [(name, values) for name, values in headers.getAllRawHeaders() if name.lower() != b"accept-encoding"]
    lines += [b"%b: %b" % (name, value) for name, values in fields for value in values]
    # treq would accept gzip, and decompress it without a limit: a few hundred bytes can become gigabytes.
    lines.append(b"Accept-Encoding: identity")
    return b"\r\n".join(lines) + b"\r\n"
