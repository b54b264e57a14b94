"""The records of requests, and of other input, that a session refuses before there is an exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING

from egress.http.error_response import encode_error_response
from egress.http.events import VERSION_NAMES
from egress.model.decision import Stage
from egress.model.errors import outcome_of
from egress.model.record import ExchangeRecord
from egress.model.recorded_headers import recorded_headers
from egress.proxy.grpc_outcome import response_status
from egress.proxy.tunnel_binding import Binding, TunnelBinding, target_for_log

if TYPE_CHECKING:
    from egress.http.events import RequestHead
    from egress.model.decision import ClientIdentity, Headers
    from egress.model.errors import EgressError
    from egress.proxy.context import AuthzContext, ProxyContext


def fault_response(context: ProxyContext, client: ClientIdentity, error: EgressError) -> bytes:
    """Record input that cannot be parsed.

    @return: the response.
    """
    request_id, date = report_refusal(context.authz, client, error, "", ""), context.date()
    return encode_error_response(error, request_id, accept=None, head_only=False, keep_alive=False, date=date)


def recorded_refusal(
    context: ProxyContext, client: ClientIdentity, binding: Binding | None, head: RequestHead, error: EgressError
) -> str:
    """Record a request that is refused, unless its tunnel was refused, which is recorded already.

    @return: the id of the record.
    """
    if isinstance(binding, TunnelBinding) and error is binding.refusal:
        return binding.refusal_id
    target = target_for_log(binding, head)
    return report_refusal(context.authz, client, error, head.method, target, headers=head.headers, http=head.version)


def report_refusal(
    context: AuthzContext,
    client: ClientIdentity,
    error: EgressError,
    method: str,
    url: str,
    *,
    headers: Headers = (),
    http: bytes | None = None,
) -> str:
    """Record a request that was rejected before authorization.

    @param context: the collaborators for the record.
    @param client: the client.
    @param error: the error.
    @param method: the method, if it is known.
    @param url: the URL, or what the client sent in its place.
    @param headers: the header fields, if they are known.
    @param http: the version of HTTP, if it is known.
    @return: the id of the record.
    """
    outcome, request_id = outcome_of(error), context.new_id()
    context.report(
        ExchangeRecord(
            time=context.wall_clock(),
            request_id=request_id,
            client=client,
            stage=Stage.REQUEST.value,
            method=method,
            url=url,
            verdict=outcome.verdict,
            outcome=outcome.code,
            reason=error.reason,
            decided_by="proxy",
            rule_id=None,
            decision_seconds=None,
            status=response_status(error, method, headers),
            bytes_sent=0,
            bytes_received=0,
            duration=0.0,
            address=None,
            upstream=None,
            observed=None,
            source=None,
            phases=(),
            request_headers=recorded_headers(headers) if context.headers.cover(outcome.verdict) else None,
            response_headers=None,
            trace=None if context.tracer is None else context.tracer.begin(headers),
            grpc=None,
            client_http=None if http is None else VERSION_NAMES[http],
            origin_http=None,
            policy_version=None,
        )
    )
    return request_id
