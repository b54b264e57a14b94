"""The requests of an HTTP/2 connection to a listener: each one names its destination, or opens a tunnel.

They have the same meaning as the absolute-form and C{CONNECT} of HTTP/1.1 (RFC 9113 sections 8.3.1 and 8.5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs
from h2.errors import ErrorCodes
from h2.events import RequestReceived
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.http.events import End, RequestHead
from egress.http.request_target import RequestTarget, TargetForm, parse_request_target
from egress.http2.engine import Engine
from egress.model.errors import BadRequest, EgressError
from egress.proxy.client_auth import ClientAuthentication, ClientAuthPolicy, ConnectionIdentity
from egress.proxy.connect_stream import ConnectStream
from egress.proxy.connect_tunnel import Tunnel
from egress.proxy.http2_requests import NewRequest, RequestStreams
from egress.proxy.http2_session import Http2Session
from egress.proxy.interfaces import IHttp2ClientStream, IHttp2Connection, IHttp2Requests
from egress.proxy.tunnel_binding import named_origin

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext
    from egress.proxy.revocations import Cutoff

_ENDS_AUTHORITY: Final = re.compile(rb"[/?]")


@implementer(IHttp2ClientStream)
class _Arrival:
    """A request whose client is being authenticated.

    Meanwhile, it stores at most a window of content, joined, because many small frames would take much more memory.

    @param owner: accepts the request after the authentication.
    @param request: the request.
    """

    def __init__(self, owner: Http2ProxyRequests, request: NewRequest) -> None:
        self.deadline: float | None = None
        self.takes_trailers = request.head.method != "CONNECT"
        self.request = request
        self._owner = owner
        self._content = bytearray()
        self._end: End | None = None
        self.auth = owner.authentication(self)

    @property
    def transport(self) -> object:
        """See L{egress.proxy.client_auth.AuthenticatedSession}."""
        return self._owner.transport

    def receive(self, event: bytes | End) -> None:
        """See L{IHttp2ClientStream.receive}."""
        if isinstance(event, End):
            self._end = event
        else:
            self._content += event

    def pass_on(self, stream: IHttp2ClientStream) -> None:
        """Pass on the events that were received meanwhile."""
        if self._content:
            stream.receive(bytes(self._content))
        if self._end is not None:
            stream.receive(self._end)

    def sent(self) -> None:
        """Do nothing: there is no data to send."""

    def expired(self) -> None:
        """Do nothing: the authentication has its own timeout."""

    def revoke(self, cutoff: Cutoff) -> None:
        """Do nothing: the request has no decision yet."""

    def lost(self, error: EgressError | None = None) -> None:
        """See L{IHttp2ClientStream.lost}."""
        self.auth.drop(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]

    def admitted(self, head: RequestHead, refusal: EgressError | None) -> None:
        """See L{egress.proxy.client_auth.AuthenticatedSession}."""
        self._owner.admitted(self, refusal)

    def advance(self) -> None:
        """Do nothing: other requests do not wait for this one."""

    def break_off(self) -> None:
        """See L{egress.proxy.client_auth.AuthenticatedSession}."""
        self._owner.break_off(self.request)


@implementer(IHttp2Requests)
class Http2ProxyRequests:
    """Accepts the requests of one connection.

    @param connection: the connection.
    @param engine: the state of the connection.
    @param auth_policy: the client authentication of the listener.
    @param identity: the identity of the connection.
    @param transport: the transport of the connection.
    @ivar transport: the transport of the connection.
    """

    def __init__(
        self,
        connection: IHttp2Connection,
        context: ProxyContext,
        engine: Engine,
        *,
        auth_policy: ClientAuthPolicy,
        identity: ConnectionIdentity,
        transport: object,
    ) -> None:
        client = identity.anonymous
        self.transport = transport
        self._streams = RequestStreams(connection, context, engine, client)
        self.limit_key = self._streams.limit_key
        self._client = client
        self._connection = connection
        self._context = context
        self._engine = engine
        self._auth_policy = auth_policy
        self._identity = identity

    def handshake_completed(self, transport: object) -> None:
        """Do nothing: the handshake precedes the session."""

    def authentication(self, arrival: _Arrival) -> ClientAuthentication:
        """Create the authentication of one request: each stream has its own credentials."""
        return ClientAuthentication(self._context, arrival, self._auth_policy, connection=self._identity)

    def accept(self, event: RequestReceived) -> None:
        """See L{IHttp2Requests.accept}."""
        request = self._streams.parse(event, self._client)
        if request is None:
            return
        if request.scheme:
            try:
                request = attrs.evolve(request, head=_absolute(request))
            except BadRequest as error:
                self._streams.refuse(request, self._client, error)
                return
        arrival = _Arrival(self, request)
        self._connection.add_stream(request.stream_id, arrival)
        arrival.auth.admit(request.head)

    def admitted(self, arrival: _Arrival, refusal: EgressError | None) -> None:
        """Continue with a request after its authentication, which failed if there is a C{refusal}."""
        request, client, streams = arrival.request, arrival.auth.client, self._streams
        stream: IHttp2ClientStream | None
        try:
            if refusal is not None:
                raise refusal
            target = parse_request_target(request.head.method, request.head.target, self._auth_policy.schemes)
            if target.form is TargetForm.AUTHORITY:
                stream = self._open_tunnel(arrival, target)
            else:
                stream = streams.begin(request, client, target, named_origin(target))
        except EgressError as error:
            streams.refuse(request, client, error)
            return
        if stream is not None:
            arrival.pass_on(stream)

    def _open_tunnel(self, arrival: _Arrival, target: RequestTarget) -> IHttp2ClientStream:
        """Open a tunnel in the stream of a CONNECT.

        @raise CertificateNotPermitted: see L{Tunnel}.
        """
        request, client = arrival.request, arrival.auth.client
        assert target.authority is not None
        stream = ConnectStream(
            self._connection, self._context, self._engine, request.stream_id, client, below=self.transport
        )
        tunnel = Tunnel(self._context, stream, target.authority, client, request.head.headers, replies=stream)
        self._connection.add_stream(request.stream_id, stream)
        stream.begin(tunnel)
        return stream

    def break_off(self, request: NewRequest) -> None:
        """Reset a stream after an internal error."""
        self._engine.reset(request.stream_id, ErrorCodes.INTERNAL_ERROR)
        self._connection.write_soon()
        self._connection.stream_over(request.stream_id)


def _absolute(request: NewRequest) -> RequestHead:
    """Write the target of a request as a URL, as HTTP/1.1 does in a request to a proxy (RFC 9112 section 3.2.2).

    @raise BadRequest: if the authority would not be the authority of this URL.
    """
    head = request.head
    assert head.host is not None
    if _ENDS_AUTHORITY.search(head.host):
        raise BadRequest("the authority contains a path or a query")
    path = b"" if head.target == b"*" else head.target
    return attrs.evolve(head, target=b"%b://%b%b" % (request.scheme, head.host, path))


def proxy_session(
    context: ProxyContext, auth_policy: ClientAuthPolicy, identity: ConnectionIdentity, transport: object
) -> Http2Session:
    """Create the HTTP/2 session of a connection to a listener.

    @param auth_policy: the client authentication of the listener.
    @param identity: the identity of the connection.
    @param transport: the transport of the connection.
    """

    def open_requests(connection: IHttp2Connection, engine: Engine) -> IHttp2Requests:
        return Http2ProxyRequests(
            connection, context, engine, auth_policy=auth_policy, identity=identity, transport=transport
        )

    return Http2Session(context, identity.anonymous, open_requests)
