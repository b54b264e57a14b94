"""The messages of the agent: the head of a request, its content, and a complete response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IProtocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from egress.http.events import HTTP_1_1, ResponseHead

_DONE: Final = Failure(ResponseDone())  # type: ignore[no-untyped-call]


def _nothing() -> None:
    pass


class PendingRequest:
    """One request, until its response.  A subclass receives the result.

    @ivar method: the method.
    @ivar data: the whole request.
    @ivar on_cancel: cancels the current step.
    """

    def __init__(self, method: str, data: bytes) -> None:
        self.method = method
        self.data = data
        self.on_cancel: Callable[[], None] = _nothing

    def succeed(self, head: ResponseHead, content: bytes) -> None:
        """Receive the complete response."""
        raise NotImplementedError

    def fail(self, failure: Failure) -> None:
        """Receive an error."""
        raise NotImplementedError


@implementer(IResponse)
class Response:
    """A complete response.

    @ivar head: its head.
    """

    def __init__(self, head: ResponseHead, body: bytes) -> None:
        self.head = head
        self.version = (b"HTTP", 1, 1 if head.version == HTTP_1_1 else 0)
        self.code = head.status
        self.phrase = head.reason
        self.length = len(body)
        self.request = None
        self.previousResponse: IResponse | None = None
        self._body = body
        self._headers: Headers | None = None

    @property
    def headers(self) -> Headers:
        """The fields as Headers.  They are made on demand, because most decisions are in the content only."""
        headers = self._headers
        if headers is None:
            headers = self._headers = Headers()
            for name, value in self.head.headers:
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


@implementer(IBodyProducer)
class BytesProducer:
    """Content in memory."""

    def __init__(self, data: bytes) -> None:
        self.length = len(data)
        self._data = data

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write all of the content."""
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: all content is written already."""

    def resumeProducing(self) -> None:
        """Do nothing: all content is written already."""

    def stopProducing(self) -> None:
        """Do nothing: all content is written already."""


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


def encode_request(head: bytes, content: bytes) -> bytes:
    """Append the length and the content to a head that L{encode_head} wrote."""
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(content), content)
