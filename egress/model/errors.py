"""Everything that can go wrong with an exchange, and what each fault is to the client and to the audit log.

The tree says whose fault it was; L{outcome_of} alone says what becomes of it, so that two faults can never be answered
alike by accident.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, Protocol

import attrs

from egress.model.authz_failure import AuthzFailure


class EgressError(Exception):
    """Base of all faults of an exchange.

    @ivar reason: one sentence for the client and the audit log; it never holds a secret.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ClientError(EgressError):
    """The client's fault."""


class BadRequest(ClientError):
    """The request is malformed or ambiguous."""


class InvalidTarget(BadRequest):
    """A request-target, authority or host that cannot be read."""


class RequestTimeout(ClientError):
    """The client did not finish what it began to send."""


class ContentTooLarge(ClientError):
    """The content is over the limit up to which it can be put to the authorizer."""


class ContentMemoryExhausted(EgressError):
    """The contents of other requests take all the memory that there is for contents."""


class TargetTooLong(ClientError):
    """The request-target is over the limit."""


class HeadTooLarge(ClientError):
    """The request head, or its number of fields, is over the limit."""


class MisdirectedRequest(ClientError):
    """The request inside a tunnel is for another authority than the tunnel."""


class ServerNameMismatch(MisdirectedRequest):
    """The TLS server name is another than the authority of the CONNECT."""


class TooManyConnections(ClientError):
    """The client has more connections open than one may have."""


class VersionNotSupported(ClientError):
    """A version of HTTP that this proxy does not speak."""


class UnsupportedRequest(ClientError):
    """Well-formed, but something that this proxy does not do."""


class MaxForwardsReached(ClientError):
    """The request may go no further than to this proxy, which answers it; nothing is wrong with it."""


class ClientUnauthenticated(ClientError):
    """The client has not said who it is, where only clients that are known may send requests."""


class CredentialsRejected(ClientUnauthenticated):
    """The client said who it is, and that is not so."""


class ClientCheckBusy(ClientError):
    """Who the client is cannot be found out now: too many ask for it."""


class TunnelNotUnderstood(ClientError):
    """What came inside a CONNECT is neither TLS nor HTTP; there is no way to answer it."""


class ClientTlsFailed(ClientError):
    """The TLS handshake with the client failed, so that nothing can be answered."""


class ClientLeft(ClientError):
    """The client left a tunnel without having sent a request."""


class ClientGone(ClientError):
    """The client went away before the exchange was over."""


class Denial(Protocol):
    """The part of a L{egress.model.decision.Decision} that L{Denied} reports."""

    @property
    def reason(self) -> str:
        """Why the request is denied."""

    @property
    def rule_id(self) -> str | None:
        """The rule that denies it."""


class Denied(EgressError):
    """The authorizer denies the request.

    @ivar rule_id: the rule that denies it.
    """

    def __init__(self, decision: Denial) -> None:
        super().__init__(decision.reason)
        self.rule_id = decision.rule_id


class AddressForbidden(EgressError):
    """The address guard said no: the destination is an address that nobody may be sent to."""


class PortForbidden(AddressForbidden):
    """The destination's port is none that the operator opened."""


class CertificateNotPermitted(EgressError):
    """The proxy's CA may not sign for this host, so that nothing could be said inside a tunnel to it."""


class AuthorizerUnavailable(EgressError):
    """There is no decision, so nothing is forwarded.

    @ivar kind: what kind of outage it is.
    @ivar retry_after: seconds after which to try again, where they are known.
    """

    def __init__(
        self, reason: str, kind: AuthzFailure = AuthzFailure.CONNECTION, retry_after: int | None = None
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.retry_after = retry_after


class AuditUnavailable(AuthorizerUnavailable):
    """What is decided could not be put on record, so nothing is decided."""


class LimitReached(EgressError):
    """More content would flow than the decision allows."""


class LeaseRevoked(EgressError):
    """The permission ran out, and the authorizer said no to more."""


class LeaseExpired(EgressError):
    """The permission ran out, and there was no decision on more."""


class OriginError(EgressError):
    """The way to the origin, or the origin itself, failed."""


class NameNotResolved(OriginError):
    """The origin's name has no address."""


class ResolutionTimeout(OriginError):
    """The origin's name was not resolved in time."""


class TooManyLookups(ClientError):
    """The client has as many names looked up as one may."""


class ResolverBusy(EgressError):
    """The proxy looks as many names up as it may, and as many wait."""


class DialFailed(OriginError):
    """No address of the origin took a connection."""


class DialTimeout(OriginError):
    """No address of the origin answered in time."""


class OriginTlsFailed(OriginError):
    """The TLS handshake with the origin failed."""


class OriginCertificateInvalid(OriginTlsFailed):
    """The origin's certificate is not to be trusted."""


class OriginProtocolError(OriginError):
    """The origin's answer is not valid HTTP."""


class OriginHttp2Only(OriginProtocolError):
    """The origin speaks HTTP/2 alone, which the proxy does not speak."""


class OriginDisconnected(OriginError):
    """The origin closed the connection before its answer was complete."""


class OriginTimeout(OriginError):
    """The origin did not answer in time."""


class UpstreamError(OriginError):
    """The upstream proxy is at fault, not the origin."""


class UpstreamFailed(UpstreamError):
    """The upstream proxy cannot be reached or does not speak HTTP."""


class UpstreamTimeout(UpstreamError):
    """The upstream proxy did not answer in time."""


class UpstreamRefused(UpstreamError):
    """The upstream proxy answered, and refused.

    @ivar status: the status code with which it did.
    """

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


class Overloaded(EgressError):
    """The proxy serves as many connections as it may already."""


class InternalFault(EgressError):
    """A defect of the proxy itself; what it was stands in the log, not in the answer."""


@attrs.frozen
class Outcome:
    """What a fault becomes.

    @ivar status: the status code of the answer; C{None} when nothing can be answered and the connection is closed.
    @ivar code: a stable name for programs: the C{type} of the problem document, the audit log, the metrics.
    @ivar stage: the step that refused or failed.
    @ivar proxy_error: the error type for C{Proxy-Status} (RFC 9209 section 2.3).
    @ivar verdict: what the audit log says the decision was.
    """

    status: HTTPStatus | None
    code: str
    stage: str
    proxy_error: str
    verdict: str


def _client(status: HTTPStatus | None, code: str, stage: str = "request") -> Outcome:
    return Outcome(status, code, stage, "http_request_error", "refused")


def _origin(status: HTTPStatus, code: str, stage: str, proxy_error: str) -> Outcome:
    return Outcome(status, code, stage, proxy_error, "failed")


_S = HTTPStatus

OUTCOMES: Final[dict[type[EgressError], Outcome]] = {
    BadRequest: _client(_S.BAD_REQUEST, "bad-request"),
    InvalidTarget: _client(_S.BAD_REQUEST, "invalid-target"),
    RequestTimeout: _client(_S.REQUEST_TIMEOUT, "request-timeout"),
    ContentTooLarge: _client(_S.REQUEST_ENTITY_TOO_LARGE, "content-too-large"),
    ContentMemoryExhausted: Outcome(
        _S.SERVICE_UNAVAILABLE, "no-room-for-content", "request", "proxy_internal_error", "refused"
    ),
    TargetTooLong: _client(_S.REQUEST_URI_TOO_LONG, "target-too-long"),
    HeadTooLarge: _client(_S.REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large"),
    MisdirectedRequest: _client(_S.MISDIRECTED_REQUEST, "misdirected-request"),
    ServerNameMismatch: _client(_S.MISDIRECTED_REQUEST, "server-name-mismatch", "sni"),
    TooManyConnections: _client(_S.TOO_MANY_REQUESTS, "too-many-connections", "connection"),
    VersionNotSupported: _client(_S.HTTP_VERSION_NOT_SUPPORTED, "version-not-supported"),
    MaxForwardsReached: _client(_S.OK, "last-hop"),
    UnsupportedRequest: _client(_S.NOT_IMPLEMENTED, "unsupported-request"),
    ClientUnauthenticated: _client(_S.PROXY_AUTHENTICATION_REQUIRED, "client-auth-required", "client-auth"),
    CredentialsRejected: _client(_S.PROXY_AUTHENTICATION_REQUIRED, "client-credentials-rejected", "client-auth"),
    ClientCheckBusy: _client(_S.TOO_MANY_REQUESTS, "client-auth-busy", "client-auth"),
    TunnelNotUnderstood: _client(None, "tunnel-not-understood", "tunnel"),
    ClientTlsFailed: _client(None, "client-tls-failed", "client-tls"),
    ClientLeft: _client(None, "client-left", "client"),
    ClientGone: _client(None, "client-gone", "client"),
    Denied: Outcome(_S.FORBIDDEN, "denied", "authz", "http_request_denied", "deny"),
    AddressForbidden: Outcome(_S.FORBIDDEN, "address-forbidden", "address", "destination_ip_prohibited", "deny"),
    PortForbidden: Outcome(_S.FORBIDDEN, "port-forbidden", "address", "http_request_denied", "deny"),
    CertificateNotPermitted: Outcome(
        _S.FORBIDDEN, "certificate-not-permitted", "certificate", "http_request_denied", "deny"
    ),
    AuthorizerUnavailable: Outcome(
        _S.SERVICE_UNAVAILABLE, "authorizer-unavailable", "authz-unavailable", "proxy_internal_error", "unavailable"
    ),
    AuditUnavailable: Outcome(
        _S.SERVICE_UNAVAILABLE, "audit-unavailable", "audit", "proxy_internal_error", "unavailable"
    ),
    LimitReached: Outcome(_S.FORBIDDEN, "limit-reached", "limit", "http_request_denied", "deny"),
    LeaseRevoked: Outcome(_S.FORBIDDEN, "permission-revoked", "renewal", "http_request_denied", "deny"),
    LeaseExpired: Outcome(
        _S.SERVICE_UNAVAILABLE, "permission-expired", "renewal-unavailable", "proxy_internal_error", "unavailable"
    ),
    NameNotResolved: _origin(_S.BAD_GATEWAY, "name-not-resolved", "dns", "dns_error"),
    ResolutionTimeout: _origin(_S.GATEWAY_TIMEOUT, "resolution-timeout", "dns", "dns_timeout"),
    TooManyLookups: _client(_S.TOO_MANY_REQUESTS, "too-many-lookups", "dns"),
    ResolverBusy: Outcome(_S.SERVICE_UNAVAILABLE, "resolver-busy", "dns", "proxy_internal_error", "refused"),
    DialFailed: _origin(_S.BAD_GATEWAY, "origin-unreachable", "origin", "destination_unavailable"),
    DialTimeout: _origin(_S.GATEWAY_TIMEOUT, "origin-connect-timeout", "origin", "connection_timeout"),
    OriginTlsFailed: _origin(_S.BAD_GATEWAY, "origin-tls-failed", "origin-tls", "tls_protocol_error"),
    OriginCertificateInvalid: _origin(
        _S.BAD_GATEWAY, "origin-certificate-invalid", "origin-tls", "tls_certificate_error"
    ),
    OriginHttp2Only: _origin(_S.BAD_GATEWAY, "origin-http2-only", "origin", "http_protocol_error"),
    OriginProtocolError: _origin(_S.BAD_GATEWAY, "origin-protocol-error", "origin", "http_protocol_error"),
    OriginDisconnected: _origin(_S.BAD_GATEWAY, "origin-disconnected", "origin", "http_response_incomplete"),
    OriginTimeout: _origin(_S.GATEWAY_TIMEOUT, "origin-timeout", "origin", "http_response_timeout"),
    UpstreamFailed: _origin(_S.BAD_GATEWAY, "upstream-unreachable", "upstream", "destination_unavailable"),
    UpstreamTimeout: _origin(_S.GATEWAY_TIMEOUT, "upstream-timeout", "upstream", "connection_timeout"),
    UpstreamRefused: _origin(_S.BAD_GATEWAY, "upstream-refused", "upstream", "proxy_configuration_error"),
    Overloaded: Outcome(_S.SERVICE_UNAVAILABLE, "overloaded", "connection", "proxy_internal_error", "refused"),
    InternalFault: Outcome(_S.INTERNAL_SERVER_ERROR, "internal-fault", "proxy", "proxy_internal_error", "failed"),
}


def outcome_of(error: EgressError) -> Outcome:
    """Say what becomes of an exchange that ended with C{error}.

    @raise KeyError: for an error that has no entry of its own; a test keeps the table complete.
    """
    return OUTCOMES[type(error)]


class WorkerFailed(Exception):
    """A worker ended, or said nothing, before it was ready for the first time."""
