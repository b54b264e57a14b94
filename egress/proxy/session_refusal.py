"""The records of requests, and of other input, that a session refuses before there is an exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING

from egress.http.error_response import encode_error_response
from egress.proxy.transaction import report_refusal
from egress.proxy.tunnel_binding import Binding, TunnelBinding, target_for_log

if TYPE_CHECKING:
    from egress.http.events import RequestHead
    from egress.model.decision import ClientIdentity
    from egress.model.errors import EgressError
    from egress.proxy.context import ProxyContext


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
