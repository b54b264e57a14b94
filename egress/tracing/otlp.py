"""The exporters of the OpenTelemetry SDK, which send OTLP over HTTP.

This is the only module that imports the SDK, and only L{egress.tracing.telemetry} imports it, if there is something to
export.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any, Final

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from opentelemetry.trace import SpanKind as SdkKind
from opentelemetry.trace.span import TraceState
from opentelemetry.trace.status import Status, StatusCode

from egress import __version__
from egress.model.record import ExchangeRecord
from egress.model.trace import ExchangeTrace
from egress.observability.audit_log import audit_fields
from egress.tracing.deltas import Deltas
from egress.tracing.export_queue import ExportFailed
from egress.tracing.metric_points import Family, HistogramPoint, Kind, NumberPoint, families
from egress.tracing.spans import Span, SpanKind

_SCOPE: Final = InstrumentationScope("egressproxy", __version__)
_KINDS: Final = {
    SpanKind.SERVER: SdkKind.SERVER,
    SpanKind.CLIENT: SdkKind.CLIENT,
    SpanKind.INTERNAL: SdkKind.INTERNAL,
}
_SEVERITIES: Final = {
    "allow": SeverityNumber.INFO,
    "deny": SeverityNumber.WARN,
    "rejected": SeverityNumber.WARN,
}


class _LastMessage(logging.Handler):
    """Remembers the last message of the exporters in each thread, instead of writing it to standard error."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        self._thread.text = record.getMessage()

    def take(self) -> str:
        """Return the last message of this thread."""
        text: str = getattr(self._thread, "text", "")
        self._thread.text = ""
        return text


def _resource() -> Resource:
    """Return the attributes of this process.  The variables of the environment take precedence."""
    given = OTELResourceDetector().detect().attributes
    own = {
        "service.name": "egressproxy",
        "service.version": __version__,
        "service.instance.id": str(uuid.uuid4()),
        "process.pid": os.getpid(),
    }
    return Resource.create({**own, **given})


class Otlp:
    """Exports spans, log records and metrics.  Its methods block, and raise L{ExportFailed}.

    @param delta: whether counters and histograms have their changes since the last export.
    """

    def __init__(self, delta: bool = False) -> None:
        self._messages = _LastMessage()
        logging.getLogger("opentelemetry").addHandler(self._messages)
        self._started = time.time_ns()
        self._deltas = Deltas(self._started) if delta else None
        self._made: dict[type, Any] = {}
        self._lock = threading.Lock()
        self._resource: Resource | None = None

    def _exporter(self, kind: type) -> Any:
        with self._lock:
            exporter = self._made.get(kind)
            if exporter is None:
                exporter = self._made[kind] = kind()
            return exporter

    @property
    def resource(self) -> Resource:
        """The attributes of this process; not before it has forked."""
        with self._lock:
            if self._resource is None:
                self._resource = _resource()
            return self._resource

    def _send(self, kind: type, batch: object) -> None:
        if self._exporter(kind).export(batch).name != "SUCCESS":
            raise ExportFailed(self._messages.take() or "the collector did not accept the data")

    def export_spans(self, spans: Sequence[tuple[Span, ExchangeTrace]]) -> None:
        """Export spans."""
        self._send(OTLPSpanExporter, [_readable(span, trace, self.resource) for span, trace in spans])

    def export_logs(self, records: Sequence[ExchangeRecord]) -> None:
        """Export the audit records of exchanges."""
        self._send(OTLPLogExporter, [_log_record(record, self.resource) for record in records])

    def export_metrics(self, samples: Sequence[Any]) -> None:
        """Export metrics.

        @param samples: the families of a registry of C{prometheus_client}.
        """
        now = time.time_ns()
        deltas = self._deltas
        if deltas is None:
            metrics = [_metric(family, self._started, now) for family in families(samples)]
        else:
            changed = deltas.changes(families(samples))
            metrics = [_metric(family, deltas.since, now, AggregationTemporality.DELTA) for family in changed]
        scope = ScopeMetrics(scope=_SCOPE, metrics=metrics, schema_url="")
        self._send(
            OTLPMetricExporter,
            MetricsData([ResourceMetrics(resource=self.resource, scope_metrics=[scope], schema_url="")]),
        )
        if deltas is not None:
            deltas.exported(now)

    def shutdown(self) -> None:
        """End the waits between two attempts of the exporters."""
        with self._lock:
            made = list(self._made.values())
        for exporter in made:
            exporter.shutdown()


def _span_context(trace: ExchangeTrace, span_id: str, *, remote: bool = False) -> SpanContext:
    state = "" if trace.parent is None else trace.parent.state
    return SpanContext(
        int(trace.trace_id, 16),
        int(span_id, 16),
        is_remote=remote,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT),
        trace_state=TraceState.from_header([state]) if state else TraceState(),
    )


def _readable(span: Span, trace: ExchangeTrace, resource: Resource) -> ReadableSpan:
    parent = None
    if span.parent_id is not None:
        parent = _span_context(trace, span.parent_id, remote=span.span_id == trace.span_id)
    return ReadableSpan(
        name=span.name,
        context=_span_context(trace, span.span_id),
        parent=parent,
        resource=resource,
        attributes=span.attributes,
        kind=_KINDS[span.kind],
        status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error),
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=_SCOPE,
    )


def _log_record(record: ExchangeRecord, resource: Resource) -> ReadableLogRecord:
    trace = record.trace
    context = Context()
    if trace is not None:
        context = set_span_in_context(NonRecordingSpan(_span_context(trace, trace.span_id)), context)
    severity = _SEVERITIES.get(record.verdict, SeverityNumber.ERROR)
    return ReadableLogRecord(
        LogRecord(
            timestamp=round((record.time + record.duration) * 1_000_000) * 1000,
            observed_timestamp=time.time_ns(),
            context=context,
            severity_number=severity,
            severity_text=severity.name,
            # A null would be a value without a type.
            body={name: value for name, value in audit_fields(record).items() if value is not None},
            event_name="egress.exchange",
        ),
        resource,
        _SCOPE,
    )


def _metric(
    family: Family,
    started: int,
    now: int,
    temporality: AggregationTemporality = AggregationTemporality.CUMULATIVE,
) -> Metric:
    data: Sum | Gauge | Histogram
    points = [_point(point, started, now) for point in family.points]
    if family.kind is Kind.HISTOGRAM:
        data = Histogram(points, temporality)
    elif family.kind is Kind.COUNTER:
        data = Sum(points, temporality, is_monotonic=True)
    else:
        data = Gauge(points)
    return Metric(name=family.name, description=family.description, unit=family.unit, data=data)


def _point(point: NumberPoint | HistogramPoint, started: int, now: int) -> Any:
    if isinstance(point, NumberPoint):
        return NumberDataPoint(
            attributes=point.labels, start_time_unix_nano=started, time_unix_nano=now, value=point.value
        )
    unknown: Any = None
    return HistogramDataPoint(
        attributes=point.labels,
        start_time_unix_nano=started,
        time_unix_nano=now,
        count=point.count,
        sum=point.total,
        bucket_counts=point.buckets,
        explicit_bounds=point.bounds,
        min=unknown,
        max=unknown,
    )
