"""A small keep-alive HTTP client for one server: the C{IAgent} of authorization requests.

C{twisted.web.client.Agent} costs several times as much per call, and most of its functions are not needed here.  There
is one authority, responses are small, and there are no proxies and no redirects.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener, IProtocol, IReactorTime, ITCPTransport
from twisted.internet.interfaces import IStreamClientEndpoint as IEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import classImplements

from egress.authz.remote.messages import Gather, PendingRequest, Response, encode_head, encode_request
from egress.http.events import End, ResponseHead
from egress.http.heads import HeadLimits
from egress.http.readers import ResponseReader
from egress.model.errors import EgressError, OriginProtocolError

MAX_HEAD: Final = 16 * 1024
MAX_BODY: Final = 64 * 1024
MAX_CONNECTIONS: Final = 256
# A firewall can drop an idle connection without notice.  A request on such a connection would reach its timeout.
MAX_IDLE_SECONDS: Final = 60.0
MAX_WAITING: Final = 1024
_LIMITS: Final = HeadLimits(head=MAX_HEAD, fields=100, target=0)


class ResponseTooLarge(EgressError):
    """The response is larger than the agent accepts."""


class MalformedResponse(EgressError):
    """The response is not valid HTTP, or not one that the request permits."""


class TruncatedResponse(EgressError):
    """The connection closed before the response was complete."""


class TooManyRequests(EgressError):
    """The queue for a connection is full."""


class AgentRequest(PendingRequest):
    """A request for a caller of C{IAgent}.

    @ivar result: fires with the response.  Cancelling it calls C{on_cancel}.
    """

    def __init__(self, method: str, data: bytes) -> None:
        super().__init__(method, data)
        self.result: Deferred[IResponse] = Deferred(self._cancel)

    def _cancel(self, _: object) -> None:
        self.on_cancel()

    def succeed(self, head: ResponseHead, content: bytes) -> None:
        response: Any = Response(head, content)
        self.result.callback(response)

    def fail(self, failure: Failure) -> None:
        self.result.errback(failure)


class _Connection:
    """One connection, with one request at a time: an C{IProtocol} without the base class of Twisted, so that it is
    compiled.

    @ivar ready: fires when a request may be sent.  Over TLS this is only after the handshake, so that no token is sent
        to a server that fails the verification.
    @ivar idle_since: the time at which the last response was complete.
    """

    def __init__(self, agent: KeepAliveAgent) -> None:
        self.transport: Any = None
        self.ready: Deferred[_Connection] = Deferred(self._cancel)
        self.idle_since = 0.0
        self._agent = agent
        self._reader = ResponseReader(_LIMITS, repeats=True)
        self._pending: PendingRequest | None = None
        self._head: ResponseHead | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._no_response_byte = True
        self._reused = False
        self._lost = False

    def _cancel(self, _: object) -> None:
        self.drop()

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        if not self._agent.over_tls:
            self.ready.callback(self)

    def handshakeCompleted(self) -> None:
        # Twisted also reports the handshake when the certificate was rejected and the connection aborted.
        if not self.ready.called and not self.transport.disconnecting:
            self.ready.callback(self)

    def send(self, pending: PendingRequest) -> None:
        self._pending = pending
        pending.on_cancel = self.drop
        self._no_response_byte = True
        self._reader.expect(pending.method)
        self.transport.write(pending.data)

    def dataReceived(self, data: bytes) -> None:
        if not self._is_busy():
            self.drop()
            return
        self._no_response_byte = False
        self._reader.receive(data)
        try:
            while self._is_busy():
                event = self._reader.next_event()
                if event is None:
                    return
                self._take(event)
        except EgressError as error:
            # The message of the reader is about origins.
            malformed = isinstance(error, OriginProtocolError)
            self._fail(MalformedResponse("the response is not valid HTTP/1") if malformed else error)

    def _is_busy(self) -> bool:
        # Compiled code would not see that a call inside of a condition on the attribute changes it.
        return self._pending is not None

    def _take(self, event: ResponseHead | bytes | End) -> None:
        if isinstance(event, bytes):
            self._size += len(event)
            self._check(self._size)
            self._body.append(event)
        elif isinstance(event, ResponseHead):
            if event.status == 101:
                raise MalformedResponse("the response is 101 Switching Protocols, which was not requested")
            if event.status >= 200:
                self._check(event.framing.length)
                if any(name.lower() == b"content-encoding" for name, _ in event.headers):
                    raise MalformedResponse("the response is compressed")
                self._head = event
        else:
            self._complete()

    def _check(self, size: int) -> None:
        limit = self._agent.max_body
        if size > limit:
            raise ResponseTooLarge(f"the response is over {limit} bytes")

    def _complete(self) -> None:
        head, pending = self._head, self._pending
        assert head is not None
        assert pending is not None
        content = b"".join(self._body)
        self._pending = self._head = None
        self._body.clear()
        self._size = 0
        if not self._lost:
            if head.keep_alive and not self._reader.buffered:
                self._reused = True
                self._agent.release(self)
            else:
                self.close()
        pending.succeed(head, content)

    def close(self) -> None:
        """Close the connection.  No request is in progress."""
        if self._agent.over_tls:
            # An orderly end of TLS waits for the peer, without a timeout.
            self.drop()
        else:
            self._agent.forget(self)
            self.transport.loseConnection()

    def drop(self) -> None:
        """Close the connection immediately, even during a request."""
        self._pending = None
        self._agent.forget(self)
        self.transport.abortConnection()

    def _fail(self, error: EgressError) -> None:
        pending = self._pending
        assert pending is not None
        self.drop()
        pending.fail(Failure(error))  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        pending = self._pending
        if not self.ready.called:
            self.ready.errback(reason)
        elif pending is not None and self._completes_response(reason):
            self._complete()
        elif pending is not None:
            self._pending = None
            if self._no_response_byte and self._reused:
                self._agent.send_again(pending)
            elif isinstance(reason.value, (ConnectionDone, ConnectionLost)):
                error = TruncatedResponse("it closed the connection before its response was complete")
                pending.fail(Failure(error))  # type: ignore[no-untyped-call]
            else:
                pending.fail(reason)
        self._agent.forget(self)

    def _completes_response(self, reason: Failure) -> bool:
        clean = self._head is not None and isinstance(reason.value, ConnectionDone)
        return clean and self._reader.receive_eof() is not None


class _Factory(Factory):
    noisy = False

    def __init__(self, agent: KeepAliveAgent) -> None:
        self._agent = agent

    def buildProtocol(self, addr: object) -> Any:
        return _Connection(self._agent)


# A decorator would keep the compiler from making the class a native one.
classImplements(_Connection, IProtocol, IHandshakeListener)


class KeepAliveAgent:
    """Sends requests to one server over persistent connections.

    The number of connections is limited; one more can exist to check whether the server can be reached.  Requests
    beyond the limit wait for a connection; when L{MAX_WAITING} requests wait, the next request fails immediately.  No
    request waits forever: the timeout of the caller cancels it.

    If a reused connection closes without a byte of a response, its request is sent again, once, over a new connection.
    Most likely, the server had already closed the old connection, and a second authorization request does no harm. No
    other request is sent twice: neither after a timeout, nor on a new connection, nor once a response has begun.

    @param endpoint: connects to the server, with TLS if needed.
    @param over_tls: whether the endpoint uses TLS, so that a connection is ready only after the handshake.
    @param connections: the maximum number of connections.
    @ivar max_body: the maximum size of a response.
    @ivar retries: the number of requests that were sent again.
    """

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IEndpoint,
        over_tls: bool = False,
        connections: int = MAX_CONNECTIONS,
        max_body: int = MAX_BODY,
    ) -> None:
        self.over_tls = over_tls
        self.max_body = max_body
        self.retries = 0
        self._max_connections = connections
        self._clock = clock
        self._endpoint = endpoint
        self._factory = _Factory(self)
        self._connections: set[_Connection] = set()
        self._connecting = 0
        self._idle: deque[_Connection] = deque()
        self._waiting: deque[PendingRequest] = deque()
        self._draining = False
        self._closed = False

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """Send a request; see C{IAgent.request}.

        @return: fires with a complete response.  Cancelling it drops the connection.
        """
        body = b""
        if bodyProducer is not None:
            gather = Gather()
            bodyProducer.startProducing(gather)  # type: ignore[no-untyped-call]
            body = b"".join(gather.pieces)
        pending = AgentRequest(
            method.decode("ascii"), encode_request(encode_head(method, uri, headers or Headers()), body)
        )
        self.send(pending)
        return pending.result

    def send(self, pending: PendingRequest) -> None:
        """Send a request, or queue it.  Its C{on_cancel} drops its connection, or removes it from the queue."""
        connection = self._idle_connection()
        if connection is not None:
            connection.send(pending)
        elif self._can_connect():
            self.connect_and_send(pending)
        elif len(self._waiting) < MAX_WAITING:
            pending.on_cancel = partial(self._waiting.remove, pending)
            self._waiting.append(pending)
        else:
            error = TooManyRequests(f"the limit of {MAX_WAITING} queued requests is reached")
            pending.fail(Failure(error))  # type: ignore[no-untyped-call]

    def _can_connect(self) -> bool:
        return len(self._connections) + self._connecting < self._max_connections

    def _idle_connection(self) -> _Connection | None:
        """Take the idle connection that was used last, unless it was idle for too long."""
        while self._idle:
            if self._clock.seconds() - self._idle[-1].idle_since < MAX_IDLE_SECONDS:
                return self._idle.pop()
            self._idle[-1].close()
        return None

    def connect_and_send(self, pending: PendingRequest) -> None:
        """Send a request over a new connection."""
        connecting = self._connect()
        pending.on_cancel = connecting.cancel
        connecting.addCallbacks(_send, pending.fail, callbackArgs=(pending,))

    def send_again(self, pending: PendingRequest) -> None:
        """Send a request again, over a new connection, because the reused one was closed."""
        self.retries += 1
        self.connect_and_send(pending)

    def _connect(self) -> Deferred[_Connection]:
        connecting: Deferred[Any] = self._endpoint.connect(self._factory)
        self._connecting += 1
        return connecting.addCallback(_ready).addBoth(self._connected)

    def _connected(self, result: _Connection | Failure) -> _Connection | Failure:
        self._connecting -= 1
        if isinstance(result, _Connection):
            self._connections.add(result)
        else:
            self._drain_queue()
        return result

    def _drain_queue(self) -> None:
        """Open new connections for requests in the queue, up to the limit."""
        # An endpoint that fails immediately calls this method from inside the loop.
        if not self._draining:
            self._draining = True
            try:
                while self._waiting and self._can_connect():
                    self.connect_and_send(self._waiting.popleft())
            finally:
                self._draining = False

    def probe(self) -> Deferred[None]:
        """Check whether the server can be connected to.  The connection stays open for the next request."""
        connection = self._idle_connection()
        if connection is not None:
            self._idle.append(connection)
            return succeed(None)
        return self._connect().addCallback(self.release)

    def release(self, connection: _Connection) -> None:
        """Use a free connection for a request in the queue, or make it idle."""
        if self._waiting:
            connection.send(self._waiting.popleft())
        elif self._closed:
            connection.close()
        else:
            connection.idle_since = self._clock.seconds()
            self._idle.append(connection)

    def forget(self, connection: _Connection) -> None:
        """Remove a connection that is closed or closing."""
        if connection in self._connections:
            self._connections.remove(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._drain_queue()

    def close(self) -> None:
        """Close idle connections, and keep none from now on."""
        self._closed = True
        while self._idle:
            self._idle[-1].close()


def _ready(connection: _Connection) -> Deferred[_Connection]:
    return connection.ready


def _send(connection: _Connection, pending: PendingRequest) -> None:
    connection.send(pending)


classImplements(KeepAliveAgent, IAgent)
