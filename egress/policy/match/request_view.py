"""The attributes of a request that rules evaluate, each computed at most once."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Final

from egress.grpc.call import call_of, may_be_call
from egress.model.address_classes import embedded
from egress.model.authority import IPAddress
from egress.model.decision import DecisionRequest
from egress.policy.match.content import RequestContent
from egress.policy.match.header_fields import Fields, read_fields
from egress.policy.match.paths import readings
from egress.policy.match.query import Query, read_query
from egress.policy.match.work_budget import WorkBudget

UNCERTAIN: Final = object()
"""A sentinel for a request that some servers may read as a gRPC call."""

# The value of attributes that were not read yet, and can be None.
_UNREAD: Final = object()

LONG: Final = 512
"""Characters of a path in all its interpretations; for longer paths, the work of a comparison is estimated first."""


class RequestView:
    """One request, and the time of the decision.

    @ivar now: seconds since the epoch; C{None} if unknown.
    @ivar descriptors: the L{egress.grpc.descriptors.Descriptors} of gRPC messages; C{None} if there are none.
    @ivar grpc_document: the message of a gRPC call (L{egress.policy.match.grpc_fields}); C{None} until a rule needs it.
    """

    def __init__(self, request: DecisionRequest, now: float | None, descriptors: object = None) -> None:
        self.request = request
        self.now = now
        self.descriptors = descriptors
        self.grpc_document: Any = None
        self.work = WorkBudget()
        self.has_long_paths = False
        self._paths: tuple[str, ...] | None = None
        self._query: Any = _UNREAD
        self._fields: Fields | None = None
        self._grpc: Any = _UNREAD
        self._content: RequestContent | None = None
        self._client: Any = _UNREAD

    @property
    def paths(self) -> tuple[str, ...]:
        """The interpretations of the path.

        @raise TooMuchWork: if there are too many.
        """
        found = self._paths
        if found is None:
            found = self._paths = readings(self.request.path, self.work)
            self.has_long_paths = sum(map(len, found)) > LONG
        return found

    @property
    def query(self) -> Query | None:
        """The parameters of the query; C{None} if they cannot be determined.

        @raise TooMuchWork: if there are too many.
        """
        if self._query is _UNREAD:
            self._query = read_query(self.request.path, self.work)
        found: Query | None = self._query
        return found

    @property
    def fields(self) -> Fields:
        """The header fields."""
        found = self._fields
        if found is None:
            found = self._fields = read_fields(self.request.headers)
        return found

    @property
    def grpc(self) -> Any:
        """The gRPC call: a L{egress.grpc.call.Call}, C{None}, or C{UNCERTAIN}."""
        if self._grpc is _UNREAD:
            request = self.request
            call = call_of(request.method, request.path, request.headers)
            self._grpc = UNCERTAIN if call is None and may_be_call(request.headers) else call
        return self._grpc

    @property
    def content(self) -> RequestContent:
        """The content, decoded and parsed on demand."""
        found = self._content
        if found is None:
            found = self._content = RequestContent(self.request, self.fields, self.work)
        return found

    @property
    def client(self) -> IPAddress | None:
        """The address of the client; C{None} if it has none."""
        if self._client is _UNREAD:
            try:
                self._client = embedded(ip_address(self.request.client.address))
            except ValueError:
                self._client = None
        found: IPAddress | None = self._client
        return found

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """The addresses of the host; empty if unknown."""
        literal = self.request.authority.ip
        return (literal,) if literal is not None else self.request.addresses or ()
