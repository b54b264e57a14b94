"""The gRPC status of each error of the proxy, and the response that carries it."""

from __future__ import annotations

import base64
from typing import Final

from egress.grpc.call import Kind
from egress.grpc.details import ErrorInfo, encode_binary, encode_status
from egress.grpc.framing import Frame
from egress.grpc.status import StatusCode, encode_message
from egress.model import errors
from egress.model.decision import Header
from egress.model.errors import BudgetExhausted, Denied, EgressError, outcome_of

_S = StatusCode

STATUSES: Final[dict[type[EgressError], StatusCode]] = {
    errors.BadRequest: _S.INVALID_ARGUMENT,
    errors.InvalidTarget: _S.INVALID_ARGUMENT,
    errors.RequestTimeout: _S.DEADLINE_EXCEEDED,
    errors.ContentTooLarge: _S.RESOURCE_EXHAUSTED,
    errors.ContentMemoryExhausted: _S.RESOURCE_EXHAUSTED,
    errors.TargetTooLong: _S.RESOURCE_EXHAUSTED,
    errors.HeadTooLarge: _S.RESOURCE_EXHAUSTED,
    errors.MisdirectedRequest: _S.INVALID_ARGUMENT,
    errors.ServerNameMismatch: _S.INVALID_ARGUMENT,
    errors.TooManyConnections: _S.RESOURCE_EXHAUSTED,
    errors.VersionNotSupported: _S.UNIMPLEMENTED,
    errors.UnsupportedRequest: _S.UNIMPLEMENTED,
    errors.MaxForwardsReached: _S.UNIMPLEMENTED,
    errors.ProxyAddressed: _S.UNIMPLEMENTED,
    errors.ClientAuthRequired: _S.UNAUTHENTICATED,
    errors.ClientCredentialsRejected: _S.UNAUTHENTICATED,
    errors.ClientAuthBusy: _S.RESOURCE_EXHAUSTED,
    errors.ClientAuthUnavailable: _S.UNAVAILABLE,
    # These four have no response; the audit record has the status.
    errors.TunnelProtocolUnknown: _S.INVALID_ARGUMENT,
    errors.ClientTlsFailed: _S.UNAVAILABLE,
    errors.TunnelWithoutRequest: _S.CANCELLED,
    errors.ClientDisconnected: _S.CANCELLED,
    errors.Denied: _S.PERMISSION_DENIED,
    errors.AddressForbidden: _S.PERMISSION_DENIED,
    errors.PortForbidden: _S.PERMISSION_DENIED,
    errors.CertificateNotPermitted: _S.PERMISSION_DENIED,
    errors.AuthorizerUnavailable: _S.UNAVAILABLE,
    errors.AuditUnavailable: _S.UNAVAILABLE,
    errors.LimitReached: _S.RESOURCE_EXHAUSTED,
    errors.BudgetExhausted: _S.RESOURCE_EXHAUSTED,
    errors.BudgetUnavailable: _S.UNAVAILABLE,
    errors.LeaseRevoked: _S.PERMISSION_DENIED,
    errors.Revoked: _S.PERMISSION_DENIED,
    errors.LeaseExpired: _S.UNAVAILABLE,
    errors.MessageDenied: _S.PERMISSION_DENIED,
    errors.MessageInvalid: _S.INTERNAL,
    errors.MessageTooLarge: _S.RESOURCE_EXHAUSTED,
    errors.NameNotResolved: _S.UNAVAILABLE,
    errors.ResolutionTimeout: _S.DEADLINE_EXCEEDED,
    errors.TooManyLookups: _S.RESOURCE_EXHAUSTED,
    errors.ResolverBusy: _S.RESOURCE_EXHAUSTED,
    errors.OriginUnreachable: _S.UNAVAILABLE,
    errors.OriginConnectTimeout: _S.DEADLINE_EXCEEDED,
    errors.OriginTlsFailed: _S.UNAVAILABLE,
    errors.OriginCertificateInvalid: _S.UNAVAILABLE,
    errors.OriginHttp2Only: _S.UNAVAILABLE,
    errors.OriginProtocolError: _S.INTERNAL,
    errors.OriginDisconnected: _S.UNAVAILABLE,
    errors.OriginTimeout: _S.DEADLINE_EXCEEDED,
    errors.UpstreamUnreachable: _S.UNAVAILABLE,
    errors.UpstreamTimeout: _S.DEADLINE_EXCEEDED,
    errors.UpstreamRefused: _S.UNAVAILABLE,
    errors.Overloaded: _S.RESOURCE_EXHAUSTED,
    errors.InternalError: _S.INTERNAL,
}


def status_of(error: EgressError) -> StatusCode:
    """Return the gRPC status of an error.

    @raise KeyError: if the error has no entry of its own; a test keeps the table complete.
    """
    return STATUSES[type(error)]


def error_trailers(error: EgressError, request_id: str) -> list[Header]:
    """Return the trailers that end a call with an error.

    @param request_id: the key into the audit log.
    """
    outcome = outcome_of(error)
    metadata = {"requestId": request_id, "stage": outcome.stage}
    if isinstance(error, (Denied, BudgetExhausted)) and error.rule_id is not None:
        metadata["ruleId"] = error.rule_id
    if isinstance(error, BudgetExhausted) and error.budget is not None:
        metadata["budget"] = error.budget
    code = status_of(error)
    info = ErrorInfo(outcome.code.upper().replace("-", "_"), metadata)
    return [
        (b"grpc-status", b"%d" % code),
        (b"grpc-message", encode_message(error.reason)),
        (b"grpc-status-details-bin", encode_binary(encode_status(code, error.reason, info))),
    ]


def web_trailers(trailers: list[Header], kind: Kind) -> bytes:
    """Return trailers as content of gRPC-Web."""
    frame = Frame(b"".join(b"%b: %b\r\n" % field for field in trailers), is_trailers=True).encode()
    return base64.b64encode(frame) if kind is Kind.WEB_TEXT else frame


def error_response(error: EgressError, request_id: str, kind: Kind) -> tuple[list[Header], bytes]:
    """Return the fields and the content of the response to a call that failed; its status code is 200.

    For gRPC, the response has no content, and its fields are the trailers ("Trailers-Only").

    @param request_id: the key into the audit log.
    @param kind: the kind of the request.
    """
    fields = [(b"Content-Type", kind.value.encode("ascii"))]
    trailers = error_trailers(error, request_id)
    if kind is Kind.GRPC:
        return fields + trailers, b""
    return fields, web_trailers(trailers, kind)
