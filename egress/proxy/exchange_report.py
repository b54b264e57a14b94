"""The report of an exchange that has ended."""

from __future__ import annotations

from egress.http.events import RequestHead
from egress.model.decision import Headers
from egress.model.errors import EgressError
from egress.proxy.forwarder import Forwarder
from egress.proxy.grpc_outcome import response_status
from egress.proxy.request_body import RequestBody
from egress.proxy.transaction import Transaction


def report_exchange(
    transaction: Transaction,
    head: RequestHead,
    content: RequestBody,
    forwarder: Forwarder | None,
    result: EgressError | None,
) -> None:
    """End the transaction of an exchange, with the status and the bytes that the client received.

    @param transaction: the transaction.
    @param head: the head of the request.
    @param content: the content of the request.
    @param forwarder: the forwarder, if the request was forwarded. It has stopped.
    @param result: the error; C{None} if the exchange succeeded.
    """
    status: int | None = None
    received = 0
    headers: Headers = ()
    trailers: Headers = ()
    if forwarder is not None:
        status, received = forwarder.status, forwarder.received
        headers, trailers = forwarder.headers, forwarder.trailers
    if status is None and result is not None:
        status = response_status(result, head.method, head.headers)
    transaction.report(result, status, content.sent, received, headers, trailers=trailers)
