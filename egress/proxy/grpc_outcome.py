"""The end of gRPC calls: errors as trailers of a response that has started, and the results for audit records."""

from __future__ import annotations

from typing import Final

from egress.grpc.call import Kind, call_of, kind_of_request
from egress.grpc.error_status import error_trailers, status_of
from egress.grpc.status import parse_status
from egress.http.events import RequestHead
from egress.model.decision import Headers
from egress.model.errors import ClientDisconnected, EgressError, outcome_of
from egress.model.grpc_result import GrpcResult
from egress.proxy.interfaces import IClientStream

_STATUS: Final = b"grpc-status"
_OK: Final = 200


def break_off(stream: IClientStream, head: RequestHead, error: EgressError, request_id: str) -> None:
    """End a response that has started with an error.

    The client must not treat the partial response as complete. A gRPC client gets the status of the error, if the
    response can end with trailers; all other clients detect that data is missing.

    @param head: the head of the request.
    """
    is_grpc = kind_of_request(head.method, head.headers) is Kind.GRPC and stream.can_send_trailers
    if not is_grpc or isinstance(error, ClientDisconnected):
        stream.reset()
        return
    stream.send_end(tuple(error_trailers(error, request_id)))
    stream.flush()
    stream.finish()


def response_status(error: EgressError, method: str, headers: Headers) -> int | None:
    """Return the status code of the response to a request that failed; C{None} if it has none."""
    status = outcome_of(error).status
    if status is None:
        return None
    return status.value if kind_of_request(method, headers) is None else _OK


def result_of(
    method: str, path: str, headers: Headers, error: EgressError | None = None, response: Headers = ()
) -> GrpcResult | None:
    """Return the gRPC call of a request and its result; C{None} if the request is not gRPC.

    @param method: the HTTP method.
    @param path: path and query.
    @param headers: the header fields of the request.
    @param error: the error that ended the exchange.
    @param response: the header fields of the response, and its trailers.
    """
    call = call_of(method, path, headers)
    if call is None:
        return None
    # The status is in the trailers, or in the head of a response without content.
    found = [parse_status(value) for name, value in response if name.lower() == _STATUS]
    status = status_of(error) if error is not None else found[-1] if found else None
    return GrpcResult(call.service, call.method, None if status is None else status.name)
