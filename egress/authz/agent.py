"""A small keep-alive HTTP client for one server: the C{IAgent} under treq, on the way of every decision.

C{twisted.web.client.Agent} costs several times as much per call, and most of what it does is not needed here: one
authority, small answers, no proxies, no redirects.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IProtocol, IStreamClientEndpoint, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from egress.model.errors import EgressError, OriginProtocolError
from egress.wire.body import End
from egress.wire.heads import HeadLimits, ResponseHead
from egress.wire.http1 import ResponseReader

MAX_HEAD: Final = 16 * 1024
MAX_BODY: Final = 64 * 1024
MAX_IDLE: Final = 32
_LIMITS: Final = HeadLimits(head=MAX_HEAD, fields=100, target=0)


class AnswerTooLarge(EgressError):
    """The answer is over the size that the agent reads."""


class AnswerMalformed(EgressError):
    """The answer is not valid HTTP."""


class AnswerCutShort(EgressError):
    """The connection ended before the answer was complete."""


class Stale(EgressError):
    """A reused connection turned out to be closed before a byte of the answer came."""


@implementer(IResponse)
class Response:
    """A complete answer."""

    def __init__(self, head: ResponseHead, body: bytes) -> None:
        self.version = (b"HTTP", 1, 1 if head.http11 else 0)
        self.code = head.status
        self.phrase = head.reason
        self.headers = Headers()
        for name, value in head.headers:
            self.headers.addRawHeader(name, value)
        self.length = len(body)
        self.request = None
        self.previousResponse: IResponse | None = None
        self._body = body

    def deliverBody(self, protocol: IProtocol) -> None:
        """Give the content, all at once."""
        if self._body:
            protocol.dataReceived(self._body)
        protocol.connectionLost(Failure(ResponseDone()))  # type: ignore[no-untyped-call]

    def setPreviousResponse(self, response: IResponse) -> None:
        """See L{IResponse.setPreviousResponse}."""
        self.previousResponse = response


@implementer(IConsumer)
class _Gather:
    """Takes what a body producer writes."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Nothing is held back: questions are small, and in memory already."""

    def unregisterProducer(self) -> None:
        """See C{registerProducer}."""

    def write(self, data: bytes) -> None:
        """Keep a piece."""
        self.pieces.append(data)


class _Connection(Protocol):
    """One connection, asked one thing at a time."""

    def __init__(self, agent: KeepAliveAgent) -> None:
        self._agent = agent
        self._reader = ResponseReader(_LIMITS)
        self._waiting: Deferred[Response] | None = None
        self._head: ResponseHead | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._untouched = True
        self.used = False
        self.lost = False

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)

    def ask(self, method: str, data: bytes) -> Deferred[Response]:
        waiting: Deferred[Response] = Deferred(lambda _: self._abort())
        self._waiting = waiting
        self._head = None
        self._body.clear()
        self._size = 0
        self._untouched = True
        self._reader.expect(method)
        self.transport.write(data)  # type: ignore[union-attr]
        return waiting

    def dataReceived(self, data: bytes) -> None:
        if self._waiting is None:
            self._abort()
            return
        self._untouched = False
        self._reader.receive(data)
        try:
            while self._waiting is not None:
                event = self._reader.next_event()
                if event is None:
                    return
                self._take(event)
        except AnswerTooLarge as error:
            self._fail(error)
        except OriginProtocolError:
            # Its words are about origins.
            self._fail(AnswerMalformed("the answer is not valid HTTP/1"))

    def _take(self, event: ResponseHead | bytes | End) -> None:
        if isinstance(event, bytes):
            self._size += len(event)
            if self._size > MAX_BODY:
                raise AnswerTooLarge(f"the answer is over {MAX_BODY} bytes")
            self._body.append(event)
        elif isinstance(event, ResponseHead):
            if event.status == 101:
                raise OriginProtocolError("it switched protocols unasked")
            if event.status >= 200:
                self._head = event
        else:
            self._complete()

    def _complete(self) -> None:
        head, waiting = self._head, self._waiting
        assert head is not None
        assert waiting is not None
        self._waiting = None
        response = Response(head, b"".join(self._body))
        if self.lost:
            pass
        elif head.keep_alive and not self._reader.buffered:
            self.used = True
            self._agent.rest(self)
        else:
            self.transport.loseConnection()  # type: ignore[union-attr]
        waiting.callback(response)

    def _abort(self) -> None:
        self._waiting = None
        self._agent.forget(self)
        self.transport.abortConnection()  # type: ignore[union-attr]

    def _fail(self, error: Exception) -> None:
        waiting = self._waiting
        self._abort()
        if waiting is not None:
            waiting.errback(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        self._agent.forget(self)
        if self._waiting is None:
            return
        if self._head is not None and isinstance(reason.value, ConnectionDone) and self._reader.receive_eof():
            self._complete()
            return
        waiting, self._waiting = self._waiting, None
        if self._untouched and self.used:
            waiting.errback(Stale("the connection was closed"))
        elif isinstance(reason.value, (ConnectionDone, ConnectionLost)):
            waiting.errback(AnswerCutShort("it closed the connection before its answer was complete"))
        else:
            waiting.errback(reason)


class _Factory(Factory):
    noisy = False

    def __init__(self, agent: KeepAliveAgent) -> None:
        self._agent = agent

    def buildProtocol(self, addr: object) -> _Connection:
        return _Connection(self._agent)


@implementer(IAgent)
class KeepAliveAgent:
    """Asks one server over persistent connections.

    A question that was sent over a reused connection which turns out to be closed is sent once more over a new one: to
    be asked twice does a decision service no harm.

    @param endpoint: connects to the server, with TLS where it is wanted.
    """

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint
        self._factory = _Factory(self)
        self._idle: deque[_Connection] = deque()
        self._closed = False

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """Send a request; see L{IAgent.request}.

        @return: fires with a complete answer.  Cancelling it drops the connection.
        """
        body = b""
        if bodyProducer is not None:
            gather = _Gather()
            bodyProducer.startProducing(gather)  # type: ignore[no-untyped-call]
            body = b"".join(gather.pieces)
        data = _encode(method, uri, headers or Headers(), body)
        text = method.decode("ascii")
        while self._idle:
            connection = self._idle.pop()
            if not connection.lost:
                return connection.ask(text, data).addErrback(self._again, text, data)  # type: ignore[call-overload,no-any-return]
        return self._fresh(text, data)  # type: ignore[return-value]

    def _again(self, failure: Failure, method: str, data: bytes) -> Deferred[Response] | Failure:
        return self._fresh(method, data) if isinstance(failure.value, Stale) else failure

    def _fresh(self, method: str, data: bytes) -> Deferred[Response]:
        return self.connect().addCallback(lambda connection: connection.ask(method, data))

    def connect(self) -> Deferred[_Connection]:
        """Open a connection."""
        connecting: Deferred[_Connection] = self._endpoint.connect(self._factory)  # type: ignore[assignment]
        return connecting

    def reach(self) -> Deferred[None]:
        """Find out whether the server can be connected to; the connection is kept for the next question."""

        def connected(connection: _Connection) -> None:
            self.rest(connection)

        if self._idle:
            return succeed(None)
        return self.connect().addCallback(connected)

    def rest(self, connection: _Connection) -> None:
        """Keep a connection for the next question."""
        if self._closed or len(self._idle) >= MAX_IDLE:
            connection.transport.loseConnection()  # type: ignore[union-attr]
        else:
            self._idle.append(connection)

    def forget(self, connection: _Connection) -> None:
        """A connection is gone."""
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close what is idle, and keep nothing from now on."""
        self._closed = True
        while self._idle:
            self._idle.pop().transport.loseConnection()  # type: ignore[union-attr]


def _encode(method: bytes, uri: bytes, headers: Headers, body: bytes) -> bytes:
    _, _, rest = uri.partition(b"://")
    host, slash, path = rest.partition(b"/")
    lines = [b"%b %b HTTP/1.1" % (method, slash + path or b"/")]
    if not headers.hasHeader(b"host"):
        lines.append(b"Host: " + host)
    lines += [b"%b: %b" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
    lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
