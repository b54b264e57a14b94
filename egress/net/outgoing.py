"""The head of a request on its way out, and what a decision makes of it."""

from __future__ import annotations

from egress.model.authority import Origin, UpstreamProxy
from egress.model.decision import NO_TERMS, ClientIdentity, Headers, Terms
from egress.net.origin import PoolKey
from egress.wire.connection_auth import has_credentials
from egress.wire.forward import encode_request, forwarded_fields
from egress.wire.heads import RequestHead
from egress.wire.terms import with_terms


class OutgoingHead:
    """What is sent to the origin before the content.

    @ivar asked: the fields as the authorizer gets to see them.
    @ivar key: which connections may carry it.
    @ivar terms: what was made of it.
    @ivar logs_in: whether it carries credentials that the origin ties to the connection (RFC 4559).
    """

    __slots__ = ("_fields", "_head", "_origin", "_path", "asked", "key", "logs_in", "terms")

    def __init__(self, head: RequestHead, client: ClientIdentity, origin: Origin, path: str) -> None:
        self._head = head
        self._origin = origin
        self._path = path
        self.terms = NO_TERMS
        self.logs_in = head.logs_in
        self._fields = forwarded_fields(head, origin)
        self.asked: Headers = tuple(self._fields)
        self.key: PoolKey = (client.pool_key, origin)

    def take(self, terms: Terms) -> None:
        """Make of it what a decision says; each begins with what the authorizer saw."""
        self.terms = terms
        self._fields = with_terms(list(self.asked), terms)
        self.logs_in = has_credentials(self._fields)
        # What a field has opened at the origin, a connection may keep open: it is for those who get the same.
        self.key = (*self.key[:2], *terms.set_headers)

    @property
    def url(self) -> str:
        """What is asked for, in absolute-form."""
        return f"{self._origin}{'' if self._path == '*' else self._path}"

    def encode(self, upstream: UpstreamProxy | None) -> bytes:
        """Serialize it.

        @param upstream: the proxy that reads it; C{None}: the origin does.
        """
        return encode_request(
            self._head.method,
            self._path if upstream is None else self.url,
            self._fields,
            http11=self._head.http11,
            proxy_authorization=None if upstream is None else upstream.authorization,
        )
