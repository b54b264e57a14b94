"""The errors that can end an exchange, and the outcome of each for the client and the audit log.

The class tree says which party is at fault.  Only L{outcome_of} maps an error to its outcome, so each error has an
entry of its own.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, Protocol

from egress.model.authz_failure import AuthzFailure
from egress.model.outcome import Outcome, failed, rejected, unavailable


class EgressError(Exception):
    """The base class of all errors that end an exchange.

    @ivar reason: one sentence for the client and the audit log; it never contains a secret.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ClientError(EgressError):
    """An error that the client caused."""


class BadRequest(ClientError):
    """The request is malformed or ambiguous."""


class InvalidTarget(BadRequest):
    """A request-target, authority or host that cannot be parsed."""


class RequestTimeout(ClientError):
    """The client did not complete its request in time."""


class ContentTooLarge(ClientError):
    """The content exceeds the limit for content that is sent to the authorizer."""


class ContentMemoryExhausted(EgressError):
    """Other requests use all the memory that is reserved for request content."""


class TargetTooLong(ClientError):
    """The request-target exceeds the limit."""


class HeadTooLarge(ClientError):
    """The request head, or its number of header fields, exceeds the limit."""


class MisdirectedRequest(ClientError):
    """The authority of a request inside a tunnel differs from the authority of the tunnel."""


class ServerNameMismatch(MisdirectedRequest):
    """The TLS server name differs from the authority of the CONNECT."""


class TooManyConnections(ClientError):
    """The client exceeds its limit of open connections."""


class VersionNotSupported(ClientError):
    """The proxy does not support the HTTP version."""


class UnsupportedRequest(ClientError):
    """The request is well-formed, but the proxy does not support it."""


class MaxForwardsReached(ClientError):
    """Max-Forwards is zero: the proxy responds to the request itself.  This is not a fault."""


class ProxyAddressed(ClientError):
    """The request is for the proxy itself, which responds to it.  This is not a fault."""


class ClientAuthRequired(ClientError):
    """The client did not authenticate, and the listener requires authentication."""


class ClientCredentialsRejected(ClientAuthRequired):
    """The client's credentials are not valid."""


class ClientAuthBusy(ClientError):
    """The client cannot be authenticated now because too many authentications are in progress."""


class ClientAuthUnavailable(EgressError):
    """The client cannot be authenticated now because the keys of the issuer of its token are not known."""


class TunnelProtocolUnknown(ClientError):
    """The bytes inside a CONNECT tunnel are neither TLS nor HTTP, so no response is possible."""


class ClientTlsFailed(ClientError):
    """The TLS handshake with the client failed, so no response is possible."""


class TunnelWithoutRequest(ClientError):
    """The client closed a tunnel without sending a request."""


class ClientDisconnected(ClientError):
    """The client disconnected before the exchange was complete."""


class Denial(Protocol):
    """The part of a L{egress.model.decision.Decision} that L{Denied} reports."""

    @property
    def reason(self) -> str:
        """Why the request is denied."""

    @property
    def rule_id(self) -> str | None:
        """The rule that denies the request."""


class Denied(EgressError):
    """The authorizer denies the request.

    @ivar rule_id: the rule that denies the request.
    """

    def __init__(self, decision: Denial) -> None:
        super().__init__(decision.reason)
        self.rule_id = decision.rule_id


class AddressForbidden(EgressError):
    """The address guard denied the request: the destination address is forbidden."""


class PortForbidden(AddressForbidden):
    """The operator did not permit the destination's port."""


class CertificateNotPermitted(EgressError):
    """The name constraints of the proxy's CA exclude this host, so the proxy cannot intercept TLS for it."""


class AuthorizerUnavailable(EgressError):
    """There is no decision, so the request is not forwarded.

    @ivar kind: the kind of failure.
    @ivar retry_after: seconds after which the client can retry, if known.
    """

    def __init__(
        self, reason: str, kind: AuthzFailure = AuthzFailure.CONNECTION, retry_after: int | None = None
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.retry_after = retry_after


class AuditUnavailable(AuthorizerUnavailable):
    """The decision cannot be recorded in the audit log, so there is no decision."""


class LimitReached(EgressError):
    """The content exceeds the number of bytes that the decision allows."""


class BudgetExhausted(EgressError):
    """A rule permits no more requests or bytes for now.

    @ivar rule_id: the rule.
    @ivar budget: the name of its budget (L{egress.model.budget.Budget.name}).
    @ivar retry_after: seconds after which the client can retry; C{None}: the content is larger than the whole budget.
    """

    def __init__(
        self, reason: str, rule_id: str | None = None, budget: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(reason)
        self.rule_id = rule_id
        self.budget = budget
        self.retry_after = retry_after


class BudgetUnavailable(AuthorizerUnavailable):
    """A budget cannot be counted now."""


class LeaseRevoked(EgressError):
    """The lease expired, and the authorizer denied its renewal."""


class LeaseExpired(EgressError):
    """The lease expired, and there was no decision on its renewal."""


class Revoked(EgressError):
    """An administrator revoked the decision on a request or a tunnel."""


class MessageDenied(Denied):
    """The authorizer denies a message of an allowed exchange."""


class MessageInvalid(EgressError):
    """A message cannot be authorized because its bytes do not conform to the protocol.

    @ivar not_text: whether the only fault is text that is not valid.
    """

    def __init__(self, reason: str, *, not_text: bool = False) -> None:
        super().__init__(reason)
        self.not_text = not_text


class MessageTooLarge(EgressError):
    """A message exceeds the size up to which messages are authorized."""


class OriginError(EgressError):
    """The origin, or the connection to it, failed."""


class NameNotResolved(OriginError):
    """The origin's name has no address."""


class ResolutionTimeout(OriginError):
    """The origin's name was not resolved in time."""


class TooManyLookups(ClientError):
    """The client exceeds its limit of concurrent name lookups."""


class ResolverBusy(EgressError):
    """The proxy has reached its limit of concurrent and queued name lookups."""


class OriginUnreachable(OriginError):
    """No address of the origin accepted a connection."""


class OriginConnectTimeout(OriginError):
    """No address of the origin accepted a connection in time."""


class OriginTlsFailed(OriginError):
    """The TLS handshake with the origin failed."""


class OriginCertificateInvalid(OriginTlsFailed):
    """The origin's certificate is not trusted."""


class OriginProtocolError(OriginError):
    """The origin's response is not valid HTTP."""


class OriginHttp2Only(OriginProtocolError):
    """The origin supports only HTTP/2, which the proxy does not use for the request."""


class OriginDisconnected(OriginError):
    """The origin closed the connection before its response was complete."""


class OriginTimeout(OriginError):
    """The origin did not respond in time."""


class UpstreamError(OriginError):
    """An error of the upstream proxy, not of the origin."""


class UpstreamUnreachable(UpstreamError):
    """The upstream proxy cannot be reached or does not respond with valid HTTP."""


class UpstreamTimeout(UpstreamError):
    """The upstream proxy did not respond in time."""


class UpstreamRefused(UpstreamError):
    """The upstream proxy rejected the request.

    @ivar status: the status code of its response; C{None} if it does not speak HTTP.
    @ivar other_address: whether another address of the same host may work.
    """

    def __init__(self, reason: str, status: int | None = None, *, other_address: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.other_address = other_address


class Overloaded(EgressError):
    """The proxy has reached its limit of connections."""


class InternalError(EgressError):
    """A defect of the proxy itself; the log has the details, the response does not."""


_S = HTTPStatus

OUTCOMES: Final[dict[type[EgressError], Outcome]] = {
    BadRequest: rejected(_S.BAD_REQUEST, "bad-request"),
    InvalidTarget: rejected(_S.BAD_REQUEST, "invalid-target"),
    RequestTimeout: rejected(_S.REQUEST_TIMEOUT, "request-timeout"),
    ContentTooLarge: rejected(_S.REQUEST_ENTITY_TOO_LARGE, "content-too-large"),
    ContentMemoryExhausted: unavailable("content-memory-exhausted", "request", "rejected"),
    TargetTooLong: rejected(_S.REQUEST_URI_TOO_LONG, "target-too-long"),
    HeadTooLarge: rejected(_S.REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large"),
    MisdirectedRequest: rejected(_S.MISDIRECTED_REQUEST, "misdirected-request"),
    ServerNameMismatch: rejected(_S.MISDIRECTED_REQUEST, "server-name-mismatch", "sni"),
    TooManyConnections: rejected(_S.TOO_MANY_REQUESTS, "too-many-connections", "connection"),
    VersionNotSupported: rejected(_S.HTTP_VERSION_NOT_SUPPORTED, "version-not-supported"),
    MaxForwardsReached: rejected(_S.OK, "max-forwards-reached"),
    ProxyAddressed: rejected(_S.OK, "proxy-addressed"),
    UnsupportedRequest: rejected(_S.NOT_IMPLEMENTED, "unsupported-request"),
    ClientAuthRequired: rejected(_S.PROXY_AUTHENTICATION_REQUIRED, "client-auth-required", "client-auth"),
    ClientCredentialsRejected: rejected(_S.PROXY_AUTHENTICATION_REQUIRED, "client-credentials-rejected", "client-auth"),
    ClientAuthBusy: rejected(_S.TOO_MANY_REQUESTS, "client-auth-busy", "client-auth"),
    ClientAuthUnavailable: unavailable("client-auth-unavailable", "client-auth", "rejected"),
    TunnelProtocolUnknown: rejected(None, "tunnel-protocol-unknown", "tunnel"),
    ClientTlsFailed: rejected(None, "client-tls-failed", "client-tls"),
    TunnelWithoutRequest: rejected(None, "tunnel-without-request", "client"),
    ClientDisconnected: rejected(None, "client-disconnected", "client"),
    Denied: Outcome(_S.FORBIDDEN, "denied", "authz", "http_request_denied", "deny"),
    AddressForbidden: Outcome(_S.FORBIDDEN, "address-forbidden", "address", "destination_ip_prohibited", "deny"),
    PortForbidden: Outcome(_S.FORBIDDEN, "port-forbidden", "address", "http_request_denied", "deny"),
    CertificateNotPermitted: Outcome(
        _S.FORBIDDEN, "certificate-not-permitted", "certificate", "http_request_denied", "deny"
    ),
    AuthorizerUnavailable: unavailable("authorizer-unavailable", "authz-unavailable"),
    AuditUnavailable: unavailable("audit-unavailable", "audit"),
    LimitReached: Outcome(_S.FORBIDDEN, "limit-reached", "limit", "http_request_denied", "deny"),
    BudgetExhausted: Outcome(_S.TOO_MANY_REQUESTS, "budget-exhausted", "budget", "http_request_denied", "deny"),
    BudgetUnavailable: unavailable("budget-unavailable", "budget-unavailable"),
    LeaseRevoked: Outcome(_S.FORBIDDEN, "lease-revoked", "renewal", "http_request_denied", "deny"),
    LeaseExpired: unavailable("lease-expired", "renewal-unavailable"),
    Revoked: Outcome(_S.FORBIDDEN, "revoked", "revocation", "http_request_denied", "deny"),
    MessageDenied: Outcome(_S.FORBIDDEN, "message-denied", "message", "http_request_denied", "deny"),
    MessageInvalid: Outcome(_S.BAD_REQUEST, "message-invalid", "message", "http_protocol_error", "rejected"),
    MessageTooLarge: Outcome(
        _S.REQUEST_ENTITY_TOO_LARGE, "message-too-large", "message", "http_protocol_error", "rejected"
    ),
    NameNotResolved: failed(_S.BAD_GATEWAY, "name-not-resolved", "dns", "dns_error"),
    ResolutionTimeout: failed(_S.GATEWAY_TIMEOUT, "resolution-timeout", "dns", "dns_timeout"),
    TooManyLookups: rejected(_S.TOO_MANY_REQUESTS, "too-many-lookups", "dns"),
    ResolverBusy: unavailable("resolver-busy", "dns", "rejected"),
    OriginUnreachable: failed(_S.BAD_GATEWAY, "origin-unreachable", "origin", "destination_unavailable"),
    OriginConnectTimeout: failed(_S.GATEWAY_TIMEOUT, "origin-connect-timeout", "origin", "connection_timeout"),
    OriginTlsFailed: failed(_S.BAD_GATEWAY, "origin-tls-failed", "origin-tls", "tls_protocol_error"),
    OriginCertificateInvalid: failed(
        _S.BAD_GATEWAY, "origin-certificate-invalid", "origin-tls", "tls_certificate_error"
    ),
    OriginHttp2Only: failed(_S.BAD_GATEWAY, "origin-http2-only", "origin", "http_protocol_error"),
    OriginProtocolError: failed(_S.BAD_GATEWAY, "origin-protocol-error", "origin", "http_protocol_error"),
    OriginDisconnected: failed(_S.BAD_GATEWAY, "origin-disconnected", "origin", "http_response_incomplete"),
    OriginTimeout: failed(_S.GATEWAY_TIMEOUT, "origin-timeout", "origin", "http_response_timeout"),
    UpstreamUnreachable: failed(_S.BAD_GATEWAY, "upstream-unreachable", "upstream", "destination_unavailable"),
    UpstreamTimeout: failed(_S.GATEWAY_TIMEOUT, "upstream-timeout", "upstream", "connection_timeout"),
    UpstreamRefused: failed(_S.BAD_GATEWAY, "upstream-refused", "upstream", "proxy_configuration_error"),
    Overloaded: unavailable("overloaded", "connection", "rejected"),
    InternalError: Outcome(_S.INTERNAL_SERVER_ERROR, "internal-error", "proxy", "proxy_internal_error", "failed"),
}


def outcome_of(error: EgressError) -> Outcome:
    """Return the outcome of an exchange that ended with C{error}.

    @raise KeyError: if the error has no entry of its own; a test keeps the table complete.
    """
    return OUTCOMES[type(error)]


class WorkerFailed(Exception):
    """A worker exited, or reported nothing, before it was ready for the first time."""
