"""The response timeout of gRPC calls: a stream can be silent for as long as a tunnel, or until its deadline."""

from __future__ import annotations

from egress.config.model import Limits
from egress.grpc.call import kind_of_request
from egress.grpc.timeout import timeout_of
from egress.http.events import RequestHead


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
