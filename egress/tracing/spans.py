"""The spans of an exchange, made from its record."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import attrs

from egress.grpc.status import StatusCode
from egress.model import phases
from egress.model.record import ExchangeRecord
from egress.model.redact import redact_url
from egress.model.trace import ExchangeTrace

Value = str | int | bool

_URL: Final = re.compile(r"(https?)://(\[[^\]]*\]|[^:/?#]*)(?::([0-9]+))?")
_PORTS: Final = {"http": 80, "https": 443}
# The methods of the semantic conventions; a client can send any other one, which is no name of a span.
_METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
_OTHER: Final = "_OTHER"
_ORIGIN: Final = frozenset({phases.SEND, phases.WAIT, phases.RECEIVE, phases.RELAY})
_CHILDREN: Final = frozenset({phases.DNS, phases.CONNECT, phases.UPSTREAM_TLS, phases.UPSTREAM_CONNECT, phases.TLS})


class SpanKind(enum.Enum):
    """The kind of a span.

    @cvar SERVER: the proxy served a request of a client.
    @cvar CLIENT: the proxy sent a request to a server.
    @cvar INTERNAL: the proxy did something else.
    """

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


@attrs.frozen(kw_only=True)
class Span:
    """A span.

    @ivar name: its name, one of few.
    @ivar span_id: its id, in hexadecimal digits.
    @ivar parent_id: the id of its parent; C{None} for the first span of a trace.
    @ivar kind: its kind.
    @ivar start: its start, in nanoseconds since the epoch.
    @ivar end: its end, in nanoseconds since the epoch.
    @ivar attributes: its attributes.
    @ivar error: the description of the error, if it ended with one.
    """

    name: str
    span_id: str
    parent_id: str | None
    kind: SpanKind
    start: int
    end: int
    attributes: Mapping[str, Value]
    error: str | None = None


@attrs.define
class _Interval:
    """A part of an exchange that becomes a span.

    @ivar phase: its first phase.
    @ivar start: its start, in nanoseconds since the epoch.
    @ivar end: its end, in nanoseconds since the epoch.
    @ivar responded: whether the origin sent the head of a response in it.
    """

    phase: str
    start: int
    end: int
    responded: bool = False


def spans_of(
    record: ExchangeRecord, trace: ExchangeTrace, new_span_id: Callable[[], str], *, remote: bool
) -> list[Span]:
    """Return the spans of an exchange.  The first of them is the span of the whole exchange.

    @param record: the record of the exchange.
    @param trace: its trace.
    @param new_span_id: makes the ids of spans that have none yet.
    @param remote: whether an authorization service decides.
    """
    start = _nanoseconds(record.time)
    failed = record.outcome != "forwarded"
    server_error = failed and (record.status is None or record.status >= 500)
    root = Span(
        name=_method(record),
        span_id=trace.span_id,
        parent_id=None if trace.parent is None else trace.parent.span_id,
        kind=SpanKind.SERVER,
        start=start,
        end=start + _nanoseconds(record.duration),
        attributes=exchange_attributes(record),
        error=record.reason if server_error else None,
    )
    return [root, *_children(record, trace, new_span_id, start, remote)]


def _children(
    record: ExchangeRecord, trace: ExchangeTrace, new_span_id: Callable[[], str], start: int, remote: bool
) -> Iterator[Span]:
    decisions, attempts = iter(trace.decisions), iter(trace.attempts)
    intervals = list(_intervals(record, start))
    resends = 0
    for number, interval in enumerate(intervals, 1):
        # The last interval is the one in which the exchange failed.
        failed = number == len(intervals) and record.outcome != "forwarded"
        if interval.phase == phases.DECISION:
            kind = SpanKind.CLIENT if remote and record.source is None else SpanKind.INTERNAL
            made, attributes = next(decisions, None), decision_attributes(record)
            # A denial is a result, not a failure.
            failed = failed and record.verdict == "unavailable"
        elif interval.phase in _ORIGIN:
            retried = any(later.phase in _ORIGIN for later in intervals[number:])
            kind, made = SpanKind.CLIENT, next(attempts, None)
            attributes = _origin_attributes(record, interval, resends)
            if retried:
                attributes["error.type"] = "origin-disconnected"
            resends += 1
        else:
            kind, made, attributes = SpanKind.INTERNAL, None, _connection_attributes(record)
        if failed:
            attributes["error.type"] = record.outcome
        yield Span(
            name=_method(record) if interval.phase in _ORIGIN else interval.phase,
            span_id=made or new_span_id(),
            parent_id=trace.span_id,
            kind=kind,
            start=interval.start,
            end=interval.end,
            attributes=attributes,
            error=record.reason if failed else None,
        )


def _intervals(record: ExchangeRecord, start: int) -> Iterator[_Interval]:
    """Return the parts of an exchange that are spans."""
    current: _Interval | None = None
    begin, elapsed = start, 0.0
    last = begin + _nanoseconds(record.duration)
    for phase, seconds in phases.durations(record.phases, record.duration):
        elapsed += seconds
        end = min(begin + _nanoseconds(elapsed), last)
        if current is not None and phase in _ORIGIN and current.phase in _ORIGIN:
            current.end = end
            # A request that is sent again has a phase of another kind before it.
        else:
            if current is not None:
                yield current
            current = None
            if phase in _ORIGIN or phase in _CHILDREN or phase == phases.DECISION:
                current = _Interval(phase, start, end)
        if current is not None and phase in (phases.RECEIVE, phases.RELAY):
            current.responded = True
        start = end
    if current is not None:
        yield current


def _nanoseconds(seconds: float) -> int:
    # A time since the epoch has microseconds: as a float, it has no digits for nanoseconds.
    return round(seconds * 1_000_000) * 1000


def _method(record: ExchangeRecord) -> str:
    """Return the name of the span of a request, which is its method."""
    return record.method if record.method in _METHODS else "HTTP"


def decision_attributes(record: ExchangeRecord) -> dict[str, Value]:
    """Return the attributes about the decision on an exchange."""
    return _present(
        {
            "egress.verdict": record.verdict,
            "egress.reason": record.reason,
            "egress.decided_by": record.decided_by,
            "egress.rule.id": record.rule_id,
            "egress.policy.version": record.policy_version,
            "egress.decision.source": record.source,
            "egress.observed": record.observed,
        }
    )


def exchange_attributes(record: ExchangeRecord) -> dict[str, Value]:
    """Return the attributes of the span of an exchange, by the semantic conventions of OpenTelemetry for HTTP."""
    failed = record.outcome != "forwarded"
    return (
        _request_attributes(record)
        | _present(
            {
                "client.address": record.client.address,
                "client.port": record.client.port,
                "http.response.status_code": record.status,
                "http.request.body.size": record.bytes_sent,
                "http.response.body.size": record.bytes_received,
                "error.type": record.outcome if failed else None,
                "network.protocol.version": record.client_http,
                "egress.request.id": record.request_id,
                "egress.client.identity": record.client.identity,
                "egress.stage": record.stage,
                "egress.outcome": record.outcome,
                "egress.upstream": record.upstream,
            }
        )
        | decision_attributes(record)
        | _call_attributes(record)
    )


def _call_attributes(record: ExchangeRecord) -> dict[str, Value]:
    """Return the attributes of a gRPC call, by the semantic conventions of OpenTelemetry for RPC."""
    call = record.grpc
    if call is None:
        return {}
    return _present(
        {
            "rpc.system": "grpc",
            "rpc.service": call.service,
            "rpc.method": call.method,
            "rpc.grpc.status_code": None if call.status is None else StatusCode[call.status].value,
        }
    )


def _request_attributes(record: ExchangeRecord) -> dict[str, Value]:
    known = record.method in _METHODS
    match = _URL.match(record.url)
    scheme, host, port = match.groups() if match is not None else (None, None, None)
    return _present(
        {
            "http.request.method": record.method if known else _OTHER,
            "http.request.method_original": None if known else record.method or None,
            "url.full": redact_url(record.url) or None,
            "url.scheme": scheme,
            "server.address": None if host is None else host.strip("[]"),
            "server.port": None if scheme is None else int(port or _PORTS[scheme]),
        }
    )


def _connection_attributes(record: ExchangeRecord) -> dict[str, Value]:
    attributes = _request_attributes(record)
    return _present(
        {
            "server.address": attributes.get("server.address"),
            "server.port": attributes.get("server.port"),
            "network.peer.address": record.address,
            "egress.upstream": record.upstream,
        }
    )


def _origin_attributes(record: ExchangeRecord, interval: _Interval, resends: int) -> dict[str, Value]:
    reused = any(name == phases.REUSED for name, _ in record.phases)
    return (
        _request_attributes(record)
        | _connection_attributes(record)
        | _present(
            {
                "http.response.status_code": record.status if interval.responded else None,
                "http.request.resend_count": resends or None,
                "network.protocol.version": record.origin_http,
                "egress.connection.reused": reused and not resends,
            }
        )
    )


def _present(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None}
