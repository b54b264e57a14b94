"""The head of a request on its way out, and what a decision makes of it."""

from __future__ import annotations

from collections.abc import Collection

from egress.http.connection_auth import has_credentials
from egress.http.heads import RequestHead
from egress.http.obligations import with_obligations
from egress.http.request_target import RequestTarget
from egress.http.upgrade import requested_upgrade
from egress.http.writers import encode_request, forwarded_fields
from egress.model.authority import Origin, UpstreamProxy
from egress.model.decision import NO_OBLIGATIONS, ClientIdentity, Headers, Obligations
from egress.upstream.origin_connection import PoolKey


class OutgoingRequest:
    """What is sent to the origin before the content.

    @ivar head: as the client sent it.
    @ivar origin: where it goes.
    @ivar asked: the fields as the authorizer gets to see them.
    @ivar key: which connections may carry it.
    @ivar terms: what was made of it.
    @ivar upgrade: the protocol to which the origin is asked to switch; C{None}: to none.
    @ivar logs_in: whether it carries credentials that the origin ties to the connection (RFC 4559).
    """

    __slots__ = ("_fields", "_target", "asked", "head", "key", "logs_in", "obligations", "origin", "upgrade")

    def __init__(
        self,
        head: RequestHead,
        client: ClientIdentity,
        origin: Origin,
        target: RequestTarget,
        upgrade_protocols: Collection[str] = (),
    ) -> None:
        """Read what a request asks for.

        @param upgrade_protocols: see L{requested_upgrade}.
        @raise ClientError: when it asks for what is not done; see there, and L{forwarded_fields}.
        """
        self.head = head
        self.origin = origin
        self.upgrade = upgrade = requested_upgrade(head, upgrade_protocols)
        self._target = target
        self.obligations = NO_OBLIGATIONS
        self.logs_in = head.has_connection_credentials
        self._fields = forwarded_fields(head, origin, upgrade)
        self.asked: Headers = tuple(self._fields)
        self.key: PoolKey = (client.pool_key, origin)

    def take(self, terms: Obligations) -> None:
        """Make of it what a decision says; each begins with what the authorizer saw."""
        self.obligations = terms
        self._fields = with_obligations(list(self.asked), terms)
        self.logs_in = has_credentials(self._fields)
        # What a field has opened at the origin, a connection may keep open: it is for those who get the same.
        self.key = (*self.key[:2], *terms.set_headers)

    @property
    def path(self) -> str:
        """Path and query, as they are decided on."""
        return self._target.path

    @property
    def url(self) -> bytes:
        """What is asked for, in absolute-form."""
        sent = self._target.sent
        return str(self.origin).encode("ascii") + (b"" if sent == b"*" else sent)

    def encode(self, upstream: UpstreamProxy | None) -> bytes:
        """Serialize it.

        C{Host} stands in the client's spelling, which a signature may cover, and for the upstream proxy as in the URL,
        since a proxy takes it from there (RFC 9112 section 3.2.2).

        @param upstream: the proxy that reads it; C{None}: the origin does.
        """
        fields, host = self._fields, self.head.host
        if upstream is None and host != self.origin.host_field:
            fields = [(b"Host", self.origin.host_as(host)), *fields[1:]]
        return encode_request(
            self.head.method,
            self._target.sent if upstream is None else self.url,
            fields,
            http11=self.head.http11,
            proxy_authorization=None if upstream is None else upstream.authorization,
        )
