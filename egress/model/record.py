"""What the audit log and the metrics learn of an exchange: exactly one record for each, on every way out."""

from __future__ import annotations

import attrs

from egress.model.decision import ClientIdentity


# Made for each request; a frozen class with slots takes twice as long to make.
@attrs.frozen(slots=False)
class ExchangeRecord:
    """One finished exchange: a request, or a tunnel.

    @ivar time: seconds since the epoch at which the request head was complete.
    @ivar request_id: the same id as in the answer to the client and in the question to the authorizer.
    @ivar stage: C{"request"} or C{"tunnel"}.
    @ivar method: the request's method; C{""} when none could be read.
    @ivar url: what was asked for, not yet redacted: sinks do that.
    @ivar verdict: C{"allow"}, C{"deny"}, C{"unavailable"} (no decision), C{"refused"} (by the proxy,
        nobody was asked) or C{"failed"} (something broke before anybody could be asked).  What was allowed stays
        C{"allow"} whatever becomes of it on the way; C{outcome} tells.
    @ivar outcome: C{"forwarded"}, or the code of the fault (L{egress.model.errors.CaseResult.code}).
    @ivar reason: the decision's reason, or the fault's.
    @ivar decided_by: which authorizer decided, C{"proxy"} where it was the proxy itself.
    @ivar observed: what the verdict would have been, where observe mode let it pass: C{"deny"} or C{"unavailable"}.
    @ivar source: where the decision came from, if not from an answer to this question (L{Decision.source}).
    @ivar decision_seconds: how long the decision took; C{None} when nobody was asked.
    @ivar status: the status code that the client got; C{None} when it got none.
    @ivar bytes_sent: content bytes to the origin.
    @ivar bytes_received: content bytes to the client.
    @ivar duration: seconds from C{time} to the end.
    @ivar address: the origin's IP address that was connected to; C{None} when none was, and through an upstream
        proxy, which resolves the name itself.
    @ivar upstream: host and port of the upstream proxy through which it left.
    """

    time: float
    request_id: str
    client: ClientIdentity
    stage: str
    method: str
    url: str
    verdict: str
    outcome: str
    reason: str
    decided_by: str
    rule_id: str | None
    decision_seconds: float | None
    status: int | None
    bytes_sent: int
    bytes_received: int
    duration: float
    address: str | None
    upstream: str | None
    observed: str | None
    source: str | None
