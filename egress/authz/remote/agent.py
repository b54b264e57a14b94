"""A small keep-alive HTTP client for one server: the C{IAgent} on the way of every decision.

C{twisted.web.client.Agent} costs several times as much per call, and most of what it does is not needed here: one
authority, small answers, no proxies, no redirects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener, IReactorTime, ITCPTransport
from twisted.internet.interfaces import IStreamClientEndpoint as IEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from egress.authz.remote.messages import Gather, Response, encode_head
from egress.http.body import End
from egress.http.heads import HeadLimits, ResponseHead
from egress.http.readers import ResponseReader
from egress.model.errors import EgressError, OriginProtocolError

MAX_HEAD: Final = 16 * 1024
MAX_BODY: Final = 64 * 1024
MAX_CONNECTIONS: Final = 256
# A firewall between forgets a silent connection without a word, and what is sent on it then runs into the deadline.
MAX_IDLE_SECONDS: Final = 60.0
MAX_WAITING: Final = 1024
_LIMITS: Final = HeadLimits(head=MAX_HEAD, fields=100, target=0)


class ResponseTooLarge(EgressError):
    """The answer is over the size that the agent reads."""


class MalformedResponse(EgressError):
    """The answer is not valid HTTP, or not what was asked for."""


class TruncatedResponse(EgressError):
    """The connection ended before the answer was complete."""


class TooManyRequests(EgressError):
    """As many questions wait for a connection as may."""


class _PendingRequest:
    """One request, from being asked until its answer.

    @ivar answer: fires with the answer.  Cancelling it gives up whatever is under way for it.
    @ivar give_up: how that is done.
    """

    def __init__(self, method: str, data: bytes) -> None:
        self.method = method
        self.data = data
        self.give_up: Callable[[], None] = lambda: None
        self.answer: Deferred[IResponse] = Deferred(lambda _: self.give_up())


@implementer(IHandshakeListener)
class _Connection(Protocol):
    """One connection, asked one thing at a time.

    @ivar ready: fires when something may be asked: over TLS not before the handshake, or a token would be on its way
        to a server that then turns out not to be the one.
    @ivar idle_since: when the last answer was over.
    """

    def __init__(self, agent: KeepAliveAgent) -> None:
        self.ready: Deferred[_Connection] = Deferred(lambda _: self.drop())
        self.idle_since = 0.0
        self._agent = agent
        self._reader = ResponseReader(_LIMITS)
        self._question: _PendingRequest | None = None
        self._head: ResponseHead | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._untouched = True
        self._used = False
        self._lost = False

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        if not self._agent.over_tls:
            self.ready.callback(self)

    def handshakeCompleted(self) -> None:
        # Twisted reports the handshake also when the certificate was turned down, with the connection aborted.
        if not self.ready.called and not self.transport.disconnecting:  # type: ignore[union-attr]
            self.ready.callback(self)

    def ask(self, question: _PendingRequest) -> None:
        self._question = question
        question.give_up = self.drop
        self._untouched = True
        self._reader.expect(question.method)
        self.transport.write(question.data)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        if self._question is None:
            self.drop()
            return
        self._untouched = False
        self._reader.receive(data)
        try:
            while self._question is not None:
                event = self._reader.next_event()
                if event is None:
                    return
                self._take(event)
        except (ResponseTooLarge, MalformedResponse) as error:
            self._fail(error)
        except OriginProtocolError:
            self._fail(MalformedResponse("the answer is not valid HTTP/1"))  # the reader's words are about origins

    def _take(self, event: ResponseHead | bytes | End) -> None:
        if isinstance(event, bytes):
            self._size += len(event)
            self._check(self._size)
            self._body.append(event)
        elif isinstance(event, ResponseHead):
            if event.status == 101:
                raise MalformedResponse("it switched protocols unasked")
            if event.status >= 200:
                self._check(event.framing.length)
                if any(name.lower() == b"content-encoding" for name, _ in event.headers):
                    raise MalformedResponse("the answer is compressed, which was not asked for")
                self._head = event
        else:
            self._complete()

    def _check(self, size: int) -> None:
        if size > MAX_BODY:
            raise ResponseTooLarge(f"the answer is over {MAX_BODY} bytes")

    def _complete(self) -> None:
        head, question = self._head, self._question
        assert head is not None
        assert question is not None
        response = Response(head, b"".join(self._body))
        self._question = self._head = None
        self._body.clear()
        self._size = 0
        if not self._lost:
            if head.keep_alive and not self._reader.buffered:
                self._used = True
                self._agent.release(self)
            else:
                self.close()
        question.answer.callback(response)

    def close(self) -> None:
        """Close; nothing is under way."""
        if self._agent.over_tls:
            # The orderly end of TLS waits for the other side, without a deadline.
            self.drop()
        else:
            self._agent.forget(self)
            self.transport.loseConnection()  # type: ignore[union-attr]

    def drop(self) -> None:
        """Close at once, whatever is under way."""
        self._question = None
        self._agent.forget(self)
        self.transport.abortConnection()  # type: ignore[union-attr]

    def _fail(self, error: EgressError) -> None:
        question = self._question
        assert question is not None
        self.drop()
        question.answer.errback(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        question = self._question
        if not self.ready.called:
            self.ready.errback(reason)
        elif question is not None and self._ends_the_answer(reason):
            self._complete()
        elif question is not None:
            self._question = None
            if self._untouched and self._used:
                self._agent.send_again(question)
            elif isinstance(reason.value, (ConnectionDone, ConnectionLost)):
                question.answer.errback(TruncatedResponse("it closed the connection before its answer was complete"))
            else:
                question.answer.errback(reason)
        self._agent.forget(self)

    def _ends_the_answer(self, reason: Failure) -> bool:
        clean = self._head is not None and isinstance(reason.value, ConnectionDone)
        return clean and self._reader.receive_eof() is not None


class _Factory(Factory):
    noisy = False

    def __init__(self, agent: KeepAliveAgent) -> None:
        self._agent = agent

    def buildProtocol(self, addr: object) -> _Connection:
        return _Connection(self._agent)


@implementer(IAgent)
class KeepAliveAgent:
    """Asks one server over persistent connections.

    There are at most so many, and one more to find out whether the server can be reached; more questions wait for one
    to become free, and beyond L{MAX_WAITING} of them the next fails at once.  Nothing waits for ever: the deadline of
    who asks cancels it.

    A question that was sent over a kept connection which ends without a byte of an answer is sent once more over a new
    one: the server most likely closed it before, and to be asked twice does a decision service no harm.  Nothing else
    is sent twice: neither after silence, nor on a new connection, nor once an answer has begun.

    @param endpoint: connects to the server, with TLS where it is wanted.
    @param over_tls: whether it does so with TLS, so that a connection is ready only after the handshake.
    @param connections: how many there are at most.
    @ivar retries: how many questions were sent once more.
    """

    def __init__(
        self, clock: IReactorTime, endpoint: IEndpoint, over_tls: bool = False, connections: int = MAX_CONNECTIONS
    ) -> None:
        self.over_tls = over_tls
        self.retries = 0
        self._most = connections
        self._clock = clock
        self._endpoint = endpoint
        self._factory = _Factory(self)
        self._connections: set[_Connection] = set()
        self._connecting = 0
        self._idle: deque[_Connection] = deque()
        self._waiting: deque[_PendingRequest] = deque()
        # The last head but for its length: most often the next one is the same.
        self._asked: tuple[bytes, bytes, Headers] | None = None
        self._head = b""
        self._going_on = False
        self._closed = False

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """Send a request; see L{IAgent.request}.

        @return: fires with a complete answer.  Cancelling it drops the connection.
        """
        body = b""
        if bodyProducer is not None:
            gather = Gather()
            bodyProducer.startProducing(gather)  # type: ignore[no-untyped-call]
            body = b"".join(gather.pieces)
        headers = headers or Headers()
        if self._asked != (method, uri, headers):
            self._asked = (method, uri, headers.copy())
            self._head = encode_head(method, uri, headers)
        data = b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body)
        question = _PendingRequest(method.decode("ascii"), data)
        connection = self._idle_connection()
        if connection is not None:
            connection.ask(question)
        elif self._has_room():
            self.connect_and_send(question)
        elif len(self._waiting) < MAX_WAITING:
            question.give_up = lambda: self._waiting.remove(question)
            self._waiting.append(question)
        else:
            return fail(TooManyRequests(f"{MAX_WAITING} questions wait for it already"))
        return question.answer

    def _has_room(self) -> bool:
        return len(self._connections) + self._connecting < self._most

    def _idle_connection(self) -> _Connection | None:
        """Take the idle connection that was used last, unless it is too old to be trusted."""
        while self._idle:
            if self._clock.seconds() - self._idle[-1].idle_since < MAX_IDLE_SECONDS:
                return self._idle.pop()
            self._idle[-1].close()
        return None

    def connect_and_send(self, question: _PendingRequest) -> None:
        """Ask over a new connection."""
        connecting = self._connect()
        question.give_up = connecting.cancel
        connecting.addCallbacks(lambda connection: connection.ask(question), question.answer.errback)

    def send_again(self, question: _PendingRequest) -> None:
        """Ask once more, over a new connection: the kept one was closed."""
        self.retries += 1
        self.connect_and_send(question)

    def _connect(self) -> Deferred[_Connection]:
        def over(result: _Connection | Failure) -> _Connection | Failure:
            self._connecting -= 1
            if isinstance(result, _Connection):
                self._connections.add(result)
            else:
                self._go_on()
            return result

        connecting: Deferred[_Connection] = self._endpoint.connect(self._factory)  # type: ignore[assignment]
        self._connecting += 1
        return connecting.addCallback(lambda connection: connection.ready).addBoth(over)

    def _go_on(self) -> None:
        """There is room for a new connection: use it for those who wait."""
        # An endpoint that fails at once comes here from the loop itself.
        if not self._going_on:
            self._going_on = True
            try:
                while self._waiting and self._has_room():
                    self.connect_and_send(self._waiting.popleft())
            finally:
                self._going_on = False

    def probe(self) -> Deferred[None]:
        """Find out whether the server can be connected to; the connection is kept for the next question."""
        connection = self._idle_connection()
        if connection is not None:
            self._idle.append(connection)
            return succeed(None)
        return self._connect().addCallback(self.release)

    def release(self, connection: _Connection) -> None:
        """A connection is free: for a question that waits, or the next one."""
        if self._waiting:
            connection.ask(self._waiting.popleft())
        elif self._closed:
            connection.close()
        else:
            connection.idle_since = self._clock.seconds()
            self._idle.append(connection)

    def forget(self, connection: _Connection) -> None:
        """A connection is gone, or as good as gone."""
        if connection in self._connections:
            self._connections.remove(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._go_on()

    def close(self) -> None:
        """Close what is idle, and keep nothing from now on."""
        self._closed = True
        while self._idle:
            self._idle[-1].close()
