"""The head of an outgoing request, with the obligations of the decision applied."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from egress.grpc.call import Kind, kind_of_request
from egress.http.connection_auth import has_credentials
from egress.http.events import HTTP_2, ForwardedHead, RequestHead
from egress.http.obligations import affected_names, with_obligations
from egress.http.request_target import RequestTarget
from egress.http.upgrade import requested_upgrade
from egress.http.websocket_extensions import with_readable_messages
from egress.http.writers import encode_request, forwarded_fields, forwarded_head
from egress.model.authority import Origin, UpstreamProxy
from egress.model.decision import NO_OBLIGATIONS, ClientIdentity, Headers, Obligations
from egress.model.errors import UnsupportedRequest
from egress.model.route import Route
from egress.model.trace import TRACEPARENT, TRACESTATE
from egress.upstream.origin_connection import PoolKey

# The number of times that a request is sent again because the origin states that it has not read it.
MAX_UNREAD: Final = 3
_TRACE_FIELDS: Final = frozenset({TRACEPARENT, TRACESTATE})


class OutgoingRequest:
    """The head that is sent to the origin.

    @ivar head: the head that the client sent.
    @ivar origin: the destination.
    @ivar fields_for_authorizer: the fields that the authorizer sees.
    @ivar key: identifies the pooled connections that may carry the request.
    @ivar obligations: the obligations that were applied.
    @ivar unread: the number of times that an origin stated that it has not read the request.
    @ivar upgrade: the protocol that the request upgrades to, if any.
    @ivar logs_in: whether it carries credentials that the origin ties to the connection (RFC 4559).
    """

    __slots__ = (
        "_fields",
        "_prepared",
        "_target",
        "fields_for_authorizer",
        "head",
        "key",
        "logs_in",
        "obligations",
        "origin",
        "unread",
        "upgrade",
    )

    def __init__(
        self,
        head: RequestHead,
        client: ClientIdentity,
        origin: Origin,
        target: RequestTarget,
        upgrade_protocols: Collection[str] = (),
    ) -> None:
        """Create it from the client's request.

        @param upgrade_protocols: see L{requested_upgrade}.
        @raise ClientError: if the request needs an unsupported feature; see L{requested_upgrade} and
            L{forwarded_fields}.
        """
        self.head = head
        self.origin = origin
        self.upgrade = upgrade = requested_upgrade(head, upgrade_protocols)
        self._target = target
        self.obligations = NO_OBLIGATIONS
        self.logs_in = head.has_connection_credentials
        self._fields = forwarded_fields(head, origin, upgrade)
        self._prepared: ForwardedHead | None = None
        self.fields_for_authorizer: Headers = tuple(self._fields)
        self.key: PoolKey = (client.pool_key, origin)
        self.unread = 0

    def may_resend(self) -> bool:
        """Count that the origin has not read the request, and tell whether it is sent again."""
        self.unread += 1
        return self.unread <= MAX_UNREAD

    @property
    def permits_http2(self) -> bool:
        """Whether it can be sent over HTTP/2, which has no upgrades, and no authentication of connections."""
        return self.upgrade is None and not self.logs_in

    @property
    def is_grpc(self) -> bool:
        """Whether it is a gRPC call from a client that uses HTTP/2, so that the origin uses HTTP/2 as well."""
        head = self.head
        return head.version == HTTP_2 and kind_of_request(head.method, head.headers) is Kind.GRPC

    def take(self, obligations: Obligations) -> None:
        """Apply the obligations of a decision, always to the fields that the authorizer saw.

        @raise UnsupportedRequest: if the request upgrades to a protocol whose messages cannot be authorized.
        """
        self.obligations = obligations
        self._prepared = None
        self._fields = with_obligations(list(self.fields_for_authorizer), obligations)
        if obligations.messages is not None:
            if self.upgrade is not None and not self.upgrade.is_websocket:
                protocol = self.upgrade.protocol.decode("latin-1")
                raise UnsupportedRequest(f"the messages of {protocol!a} cannot be authorized, as the decision requires")
            self._fields = with_readable_messages(self._fields)
        self.logs_in = has_credentials(self._fields)
        # A header that is set may authenticate the connection, so only requests with the same set headers share it.
        self.key = (*self.key[:2], *obligations.set_headers)

    def propagate(self, trace: Headers) -> None:
        """Send the context of a distributed trace, unless the decision has obligations for these fields.

        @param trace: the header fields with the context, which replace the client's fields; empty: no change.
        """
        if trace and TRACEPARENT not in affected_names(self.obligations):
            self._prepared = None
            self._fields = [field for field in self._fields if field[0].lower() not in _TRACE_FIELDS] + list(trace)

    @property
    def path(self) -> str:
        """Path and query, as they are authorized."""
        return self._target.path

    @property
    def url(self) -> bytes:
        """The requested URL in absolute-form."""
        target = self._target.sent
        return str(self.origin).encode("ascii") + (b"" if target == b"*" else target)

    def forwarded_head(self, upstream: UpstreamProxy | None) -> ForwardedHead:
        """The head that is sent.

        C{Host} has the client's spelling, which a signature may cover. For an upstream proxy it matches the URL,
        because a proxy replaces it (RFC 9112 section 3.2.2).

        @param upstream: the upstream proxy that reads the head; C{None} if the origin reads it.
        """
        if upstream is not None:
            return forwarded_head(self.head, self.url, self._fields, proxy_authorization=upstream.authorization)
        # Not twice: an attempt may change the head.
        prepared, self._prepared = self._prepared, None
        return self._for_origin() if prepared is None else prepared

    def _for_origin(self) -> ForwardedHead:
        fields, host = self._fields, self.head.host
        if host != self.origin.host_field:
            fields = [(b"Host", self.origin.host_as(host)), *fields[1:]]
        return forwarded_head(self.head, self._target.sent, fields)

    def prepare(self, route: Route | None) -> None:
        """Make the head in advance, while an authorizer decides: the client waits for the decision in any case.

        The decision can still change the head.

        @param route: the route of the connection that will probably carry the request; C{None}: that is not known, and
            nothing is made.
        """
        if route is None or route.absolute_form or self.upgrade is not None:
            return
        self._prepared = head = self._for_origin()
        if self.head.version != HTTP_2:
            head.encoded = encode_request(head)
