"""gRPC calls as streams: their timeout, and content that may have no end before the response."""

from __future__ import annotations

from typing import Final

from egress.config.model import Limits
from egress.grpc.call import Kind, kind_of_request
from egress.grpc.timeout import timeout_of
from egress.http.events import BodyKind, RequestHead

# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_DELIMITED: Final = BodyKind.DELIMITED


def response_timeout(head: RequestHead, limits: Limits) -> float:
    """Return the time in seconds for which an exchange may be silent.

    A gRPC stream without messages is not a fault, so it has the timeout of tunnels. With a deadline of the client
    (C{grpc-timeout}), the call ends at that time, if that is later than the timeout of other responses.
    """
    if kind_of_request(head.method, head.headers) is None:
        return limits.response_timeout
    longest = max(limits.tunnel_timeout, limits.response_timeout)
    deadline = timeout_of(head.headers)
    return longest if deadline is None else min(max(deadline, limits.response_timeout), longest)


def may_stream(head: RequestHead) -> bool:
    """Whether the client of a gRPC call may send messages after it has read messages of the response.

    Such content cannot be collected before the decision: it does not end before the call is forwarded.
    """
    return head.framing.kind is _DELIMITED and kind_of_request(head.method, head.headers) is Kind.GRPC
