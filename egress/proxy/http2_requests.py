"""The requests of one HTTP/2 connection: each becomes an exchange, or gets an error response."""

from __future__ import annotations

import base64
from os import urandom
from typing import TYPE_CHECKING, Final

from h2.errors import ErrorCodes
from h2.events import RequestReceived

from egress.http.events import HTTP_2, NO_BODY, RequestHead
from egress.http2.client_fields import ClientRequest, MalformedMessage, parse_request, websocket_head, websocket_key
from egress.http2.engine import Engine
from egress.model.authority import PROXY_HOST
from egress.model.errors import BadRequest, EgressError, MisdirectedRequest, ProxyAddressed, UnsupportedRequest
from egress.model.protocol import WEBSOCKET
from egress.model.quote import quoted
from egress.proxy.exchange import Exchange
from egress.proxy.http2_stream import Http2Stream
from egress.proxy.interfaces import IHttp2Connection
from egress.proxy.outgoing_request import OutgoingRequest
from egress.proxy.transaction import report_refusal
from egress.proxy.tunnel_binding import UNKNOWN, TunnelBinding, target_for_log

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext

# The request of a stream whose fields exceed a limit.
_NO_HEAD: Final = RequestHead("", b"", HTTP_2, (), NO_BODY, None, True, frozenset(), None, False, None, None)


class Http2Requests:
    """Accepts the requests of one connection.

    @param connection: the connection.
    @param engine: the state of the connection.
    @param binding: the binding of the tunnel.
    @ivar limit_key: the client's key for per-client limits; empty if nothing is known about the client.
    @ivar sni_error: the error of every request, if the TLS server name is not the authority of the tunnel.
    """

    def __init__(
        self, connection: IHttp2Connection, context: ProxyContext, engine: Engine, binding: TunnelBinding
    ) -> None:
        self.sni_error: EgressError | None = None
        self._connection = connection
        self._context = context
        self._engine = engine
        self._binding = binding
        self._client = binding.client
        # As for connections: clients about which nothing is known have no limit of their own.
        self.limit_key = "" if binding.client.address == UNKNOWN else binding.client.limit_key

    def accept(self, event: RequestReceived, streams: dict[int, Http2Stream]) -> None:
        """Process a request.

        @param streams: the streams of the connection, to which the new one is added.
        """
        stream_id, ended = event.stream_id, event.stream_ended is not None
        head: RequestHead | None = None
        try:
            request = parse_request(event.headers, self._context.head_limits, ended=ended)
            head = request.head if request.protocol is None else self._upgrading(request)
            if streams:
                refusal = self._context.sessions.refusal(self.limit_key, self._context.limits)
                if refusal is not None:
                    raise refusal
            outgoing = self._outgoing(head, request.scheme)
        except MalformedMessage as error:
            report_refusal(self._context.authz, self._client, BadRequest(str(error)), "", "")
            self._engine.refuse(stream_id, ErrorCodes.PROTOCOL_ERROR)
            return
        except EgressError as error:
            stream = streams[stream_id] = self._stream(stream_id, head or _NO_HEAD, ended)
            stream.fail(error, self._report(head, error))
            return
        if outgoing.logs_in:
            # Several streams share the connections to origins (RFC 9113 section 7). Clients repeat it with HTTP/1.1.
            self._report(head, UnsupportedRequest("these credentials are for a connection, which needs HTTP/1.1"))
            self._engine.reset(stream_id, ErrorCodes.HTTP_1_1_REQUIRED)
            return
        stream = streams[stream_id] = self._stream(stream_id, head, ended)
        stream.websocket_key = None if request.protocol is None else websocket_key(request.head)
        stream.exchange = exchange = Exchange(self._context, stream, self._client, outgoing)
        exchange.start()

    def _upgrading(self, request: ClientRequest) -> RequestHead:
        """Translate an extended C{CONNECT} (RFC 8441)."""
        if request.protocol != WEBSOCKET:
            raise UnsupportedRequest("the only protocol of an extended CONNECT that the proxy relays is websocket")
        return websocket_head(request.head, base64.b64encode(urandom(16)))

    def _stream(self, stream_id: int, head: RequestHead, ended: bool) -> Http2Stream:
        return Http2Stream(self._connection, self._context, self._engine, stream_id, head, request_over=ended)

    def _outgoing(self, head: RequestHead, scheme: bytes) -> OutgoingRequest:
        if self.sni_error is not None:
            raise self.sni_error.with_traceback(None)
        binding = self._binding
        if scheme and scheme.decode("latin-1") != binding.origin.scheme:
            named = quoted(scheme.decode("latin-1"))
            raise MisdirectedRequest(f"the request is for {named}, but the tunnel carries {binding.origin.scheme}")
        target, origin = binding.destination_of(head)
        if origin.authority.host == PROXY_HOST:
            raise ProxyAddressed(f"the request went through egressproxy, which responds to {PROXY_HOST} itself")
        return OutgoingRequest(head, self._client, origin, target, self._context.upgrade_protocols)

    def _report(self, head: RequestHead | None, error: EgressError) -> str:
        """Record a request that did not become an exchange; return the id of the record."""
        binding, authz, client = self._binding, self._context.authz, self._client
        if error is binding.refusal:
            # Already recorded: the decision of the tunnel.
            return binding.refusal_id
        if head is None:
            return report_refusal(authz, client, error, "", "")
        return report_refusal(authz, client, error, head.method, target_for_log(binding, head), headers=head.headers)
