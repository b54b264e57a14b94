"""The audit record of an exchange: the audit log and the metrics receive exactly one per exchange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attr

from egress.model.decision import ClientIdentity
from egress.model.grpc_result import GrpcResult
from egress.model.phases import Mark
from egress.model.recorded_headers import RecordedHeaders
from egress.model.trace import ExchangeTrace


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class ExchangeRecord:
    """One finished exchange: a request, or a tunnel.

    @ivar time: seconds since the epoch at which the request head was complete.
    @ivar request_id: the same identifier as in the response to the client and in the authorization request.
    @ivar client: the client that sent the request.
    @ivar stage: C{"request"} or C{"tunnel"}.
    @ivar method: the request's method; C{""} if it could not be parsed.
    @ivar url: the requested URL, not yet redacted: the sinks redact it.
    @ivar verdict: C{"allow"}, C{"deny"}, C{"unavailable"} (no decision), C{"rejected"} (by the proxy without an
        authorization request) or C{"failed"} (a failure before the authorization request).  An allowed request keeps
        C{"allow"} if it fails later; C{outcome} has the failure.
    @ivar outcome: C{"forwarded"}, or the code of the error (L{egress.model.outcome.Outcome.code}).
    @ivar reason: the reason of the decision or of the error.
    @ivar decided_by: the name of the authorizer; C{"proxy"} if the proxy itself decided.
    @ivar rule_id: the rule that decided, if the authorizer names one.
    @ivar observed: the original verdict, if observe mode allowed the request: C{"deny"} or C{"unavailable"}.
    @ivar source: the source of the decision, if it is not a response to this request (L{Decision.source}).
    @ivar decision_seconds: the duration of the decision; C{None} if no authorizer was queried.
    @ivar status: the status code that the client received; C{None} if it received none.
    @ivar bytes_sent: content bytes to the origin.
    @ivar bytes_received: content bytes to the client.
    @ivar duration: seconds from C{time} to the end.
    @ivar address: the IP address of the origin connection; C{None} without a connection, and with an upstream proxy,
        which resolves the name itself.
    @ivar upstream: host and port of the upstream proxy that the request used.
    @ivar phases: the beginning of each phase; the first phase began at C{time}.  See L{egress.model.phases}.
    @ivar request_headers: the header fields of the request, redacted; C{None} if they are not recorded.
    @ivar response_headers: the header fields of the origin's response, redacted; C{None} if they are not recorded.
    @ivar trace: the part of a distributed trace that is this exchange, if traces are exported.
    @ivar grpc: the gRPC call, if the request is one.
    @ivar client_http: the version of HTTP of the request; C{None} for a tunnel or a message, and for a client that sent
        no request.
    @ivar origin_http: the version of HTTP of the connection to the origin; C{None} without a connection, or if the
        proxy relays bytes that it does not read.
    @ivar policy_version: the version of the policy that decided (L{Decision.policy_version}); C{None} without a
        decision.
    """

    time: Final[float]
    request_id: Final[str]
    client: Final[ClientIdentity]
    stage: Final[str]
    method: Final[str]
    url: Final[str]
    verdict: Final[str]
    outcome: Final[str]
    reason: Final[str]
    decided_by: Final[str]
    rule_id: Final[str | None]
    decision_seconds: Final[float | None]
    status: Final[int | None]
    bytes_sent: Final[int]
    bytes_received: Final[int]
    duration: Final[float]
    address: Final[str | None]
    upstream: Final[str | None]
    observed: Final[str | None]
    source: Final[str | None]
    phases: Final[Sequence[Mark]]
    request_headers: Final[RecordedHeaders | None]
    response_headers: Final[RecordedHeaders | None]
    trace: Final[ExchangeTrace | None]
    grpc: Final[GrpcResult | None]
    client_http: Final[str | None]
    origin_http: Final[str | None]
    policy_version: Final[str | None]

    def __init__(
        self,
        time: float,
        request_id: str,
        client: ClientIdentity,
        stage: str,
        method: str,
        url: str,
        verdict: str,
        outcome: str,
        reason: str,
        decided_by: str,
        rule_id: str | None,
        decision_seconds: float | None,
        status: int | None,
        bytes_sent: int,
        bytes_received: int,
        duration: float,
        address: str | None,
        upstream: str | None,
        observed: str | None,
        source: str | None,
        phases: Sequence[Mark],
        request_headers: RecordedHeaders | None,
        response_headers: RecordedHeaders | None,
        trace: ExchangeTrace | None,
        grpc: GrpcResult | None,
        client_http: str | None,
        origin_http: str | None,
        policy_version: str | None,
    ) -> None:
        self.time = time
        self.request_id = request_id
        self.client = client
        self.stage = stage
        self.method = method
        self.url = url
        self.verdict = verdict
        self.outcome = outcome
        self.reason = reason
        self.decided_by = decided_by
        self.rule_id = rule_id
        self.decision_seconds = decision_seconds
        self.status = status
        self.bytes_sent = bytes_sent
        self.bytes_received = bytes_received
        self.duration = duration
        self.address = address
        self.upstream = upstream
        self.observed = observed
        self.source = source
        self.phases = phases
        self.request_headers = request_headers
        self.response_headers = response_headers
        self.trace = trace
        self.grpc = grpc
        self.client_http = client_http
        self.origin_http = origin_http
        self.policy_version = policy_version
