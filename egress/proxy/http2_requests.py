"""The requests of one HTTP/2 connection: each becomes an exchange, or gets an error response."""

from __future__ import annotations

import base64
from os import urandom
from typing import TYPE_CHECKING, Final

import attrs
from h2.errors import ErrorCodes
from h2.events import RequestReceived
from zope.interface import classImplements

from egress.http.events import HTTP_2, NO_BODY, RequestHead
from egress.http2.client_fields import ClientRequest, MalformedMessage, parse_request, websocket_head, websocket_key
from egress.http2.engine import Engine
from egress.model.authority import Origin
from egress.model.decision import ClientIdentity
from egress.model.errors import BadRequest, EgressError, MisdirectedRequest, UnsupportedRequest
from egress.model.protocol import WEBSOCKET
from egress.model.quote import quoted
from egress.proxy.exchange import Exchange
from egress.proxy.http2_session import Http2Session
from egress.proxy.http2_stream import Http2Stream
from egress.proxy.interfaces import IHttp2Connection, IHttp2Requests
from egress.proxy.outgoing_request import OutgoingRequest
from egress.proxy.session_refusal import recorded_refusal, report_refusal
from egress.proxy.tunnel_binding import UNKNOWN, Binding, require_other_host, server_name_error

if TYPE_CHECKING:
    from egress.http.request_target import RequestTarget
    from egress.proxy.context import ProxyContext

# The request of a stream whose fields exceed a limit.
_NO_HEAD: Final = RequestHead("", b"", HTTP_2, (), NO_BODY, None, True, frozenset(), None, False, None, None)


@attrs.frozen(slots=False)
class NewRequest:
    """A request that was received.

    @ivar stream_id: the identifier of its stream.
    @ivar head: its head.
    @ivar scheme: its scheme; empty for a C{CONNECT} without a protocol.
    @ivar ended: whether it has no content.
    @ivar websocket_key: the key of the client, if it opens a WebSocket and has sent one.
    """

    stream_id: int
    head: RequestHead
    scheme: bytes
    ended: bool
    websocket_key: bytes | None


class RequestStreams:
    """Creates the streams of the requests of one connection.

    @param connection: the connection.
    @param engine: the state of the connection.
    @param binding: what binds its requests to a destination; C{None} on a listener.
    @ivar limit_key: the client's key for per-client limits; empty if nothing is known about the client.
    """

    def __init__(
        self,
        connection: IHttp2Connection,
        context: ProxyContext,
        engine: Engine,
        client: ClientIdentity,
        binding: Binding | None = None,
    ) -> None:
        self._connection = connection
        self._context = context
        self._engine = engine
        self._binding = binding
        # As for connections: clients about which nothing is known have no limit of their own.
        self.limit_key = "" if client.address == UNKNOWN else client.limit_key

    def parse(self, event: RequestReceived, client: ClientIdentity) -> NewRequest | None:
        """Parse a request, and check the limits of its client.

        @return: C{None} if it was refused.
        """
        stream_id, ended = event.stream_id, event.stream_ended is not None
        head: RequestHead | None = None
        try:
            request = parse_request(event.headers, self._context.head_limits, ended=ended)
            head = request.head if request.protocol is None else _upgrading(request)
            if self._connection.busy:
                refusal = self._context.sessions.refusal(self.limit_key, self._context.limits)
                if refusal is not None:
                    raise refusal
        except MalformedMessage as malformed:
            report_refusal(self._context.authz, client, BadRequest(str(malformed)), "", "", http=HTTP_2)
            self._engine.refuse(stream_id, ErrorCodes.PROTOCOL_ERROR)
            return None
        except EgressError as error:
            self._fail(stream_id, head, client, error, ended=ended)
            return None
        key = None if request.protocol is None else websocket_key(request.head)
        return NewRequest(stream_id, head, request.scheme, ended, key)

    def begin(
        self, request: NewRequest, client: ClientIdentity, target: RequestTarget, origin: Origin
    ) -> Http2Stream | None:
        """Begin the exchange of a request.

        @return: its stream; C{None} if it was refused.
        """
        head = request.head
        try:
            require_other_host(origin)
            outgoing = OutgoingRequest(head, client, origin, target, self._context.upgrade_protocols)
        except EgressError as error:
            self.refuse(request, client, error)
            return None
        if outgoing.logs_in:
            # Several streams share the connections to origins (RFC 9113 section 7). Clients repeat it with HTTP/1.1.
            self._report(
                head, client, UnsupportedRequest("these credentials are for a connection, which needs HTTP/1.1")
            )
            self._engine.reset(request.stream_id, ErrorCodes.HTTP_1_1_REQUIRED)
            self._connection.stream_over(request.stream_id)
            return None
        stream = self._stream(request.stream_id, head, ended=request.ended)
        stream.websocket_key = request.websocket_key
        stream.exchange = exchange = Exchange(self._context, stream, client, outgoing)
        exchange.start()
        return stream

    def refuse(self, request: NewRequest, client: ClientIdentity, error: EgressError) -> None:
        """Respond with an error."""
        self._fail(request.stream_id, request.head, client, error, ended=request.ended)

    def _fail(
        self, stream_id: int, head: RequestHead | None, client: ClientIdentity, error: EgressError, *, ended: bool
    ) -> None:
        stream = self._stream(stream_id, head or _NO_HEAD, ended=ended)
        stream.fail(error, self._report(head, client, error))

    def _stream(self, stream_id: int, head: RequestHead, *, ended: bool) -> Http2Stream:
        stream = Http2Stream(self._connection, self._context, self._engine, stream_id, head, request_over=ended)
        self._connection.add_stream(stream_id, stream)
        return stream

    def _report(self, head: RequestHead | None, client: ClientIdentity, error: EgressError) -> str:
        """Record a request that did not become an exchange; return the id of the record."""
        if head is None:
            return report_refusal(self._context.authz, client, error, "", "", http=HTTP_2)
        return recorded_refusal(self._context, client, self._binding, head, error)


def _upgrading(request: ClientRequest) -> RequestHead:
    """Translate an extended C{CONNECT} (RFC 8441)."""
    if request.protocol != WEBSOCKET:
        raise UnsupportedRequest("the only protocol of an extended CONNECT that the proxy relays is websocket")
    return websocket_head(request.head, base64.b64encode(urandom(16)))


class Http2Requests:
    """Accepts the requests of one connection that is bound to a destination.

    @param connection: the connection.
    @param engine: the state of the connection.
    @param binding: what binds its requests to a destination.
    """

    def __init__(self, connection: IHttp2Connection, context: ProxyContext, engine: Engine, binding: Binding) -> None:
        self._binding = binding
        self._streams = RequestStreams(connection, context, engine, binding.client, binding)
        self._sni_error: EgressError | None = None
        self.limit_key = self._streams.limit_key

    def handshake_completed(self, transport: object) -> None:
        """Compare the TLS server name with the tunnel's authority (RFC 6066 section 3)."""
        self._sni_error = server_name_error(transport, self._binding.origin.authority)

    def accept(self, event: RequestReceived) -> None:
        """See L{IHttp2Requests.accept}."""
        streams, client = self._streams, self._binding.client
        request = streams.parse(event, client)
        if request is None:
            return
        try:
            target, origin = self._destination(request)
        except EgressError as error:
            streams.refuse(request, client, error)
            return
        streams.begin(request, client, target, origin)

    def _destination(self, request: NewRequest) -> tuple[RequestTarget, Origin]:
        if self._sni_error is not None:
            raise self._sni_error.with_traceback(None)
        binding, scheme = self._binding, request.scheme.decode("latin-1")
        if scheme and scheme != binding.origin.scheme:
            named = quoted(scheme)
            raise MisdirectedRequest(f"the request is for {named}, but the tunnel carries {binding.origin.scheme}")
        return binding.destination_of(request.head)


# The decorator C{implementer} would make it an interpreted class.
classImplements(Http2Requests, IHttp2Requests)


def bound_session(context: ProxyContext, binding: Binding) -> Http2Session:
    """Create an HTTP/2 session whose requests are bound to a destination."""
    return Http2Session(
        context, binding.client, lambda connection, engine: Http2Requests(connection, context, engine, binding)
    )
