"""Tests for L{egress.tracing.otlp}; C{tests.integration.test_opentelemetry} sends data to a collector."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Any
from unittest import mock

import attrs
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from twisted.trial.unittest import SynchronousTestCase

from egress import __version__
from egress.model.trace import ExchangeTrace, TraceContext
from egress.observability.metrics import Metrics
from egress.tracing import otlp
from egress.tracing.export_queue import ExportFailed
from egress.tracing.spans import spans_of
from tests.observability.records import ALLOWED, REFUSED

SUCCESS, FAILURE = mock.Mock(), mock.Mock()
SUCCESS.name, FAILURE.name = "SUCCESS", "FAILURE"


class Exporter:
    """An exporter of the SDK that sends nothing."""

    sent: list[Any]
    result = SUCCESS
    message = ""
    closed = 0

    def export(self, batch: Any) -> Any:
        self.sent.append(batch)
        if self.message:
            logging.getLogger("opentelemetry.exporter.otlp.proto.http").error(self.message)
        return self.result

    def shutdown(self) -> None:
        type(self).closed += 1


def trace(parent: TraceContext | None = None) -> ExchangeTrace:
    return ExchangeTrace(parent, "a" * 32, lambda: "c" * 16, sampled=True, propagates=False)


class OtlpTests(SynchronousTestCase):
    """The data in the types of the SDK, which its own encoders accept."""

    def setUp(self) -> None:
        self.sent: list[Any] = []
        self.exporter: Any = type("Made", (Exporter,), {"sent": self.sent})
        for name in ("OTLPSpanExporter", "OTLPLogExporter", "OTLPMetricExporter"):
            self.patch(otlp, name, self.exporter)
        self.otlp = otlp.Otlp()
        self.addCleanup(lambda: logging.getLogger("opentelemetry").handlers.clear())

    def test_spans(self) -> None:
        made = trace(TraceContext("a" * 32, "b" * 16, True, "vendor=1"))
        record = attrs.evolve(ALLOWED, outcome="origin-timeout", reason="late", status=504)
        self.otlp.export_spans([(span, made) for span in spans_of(record, made, lambda: "d" * 16, remote=True)])
        (batch,) = self.sent
        (resource,) = encode_spans(batch).resource_spans
        spans = resource.scope_spans[0].spans
        self.assertEqual([span.name for span in spans], ["POST", "decision", "POST"])
        server, decision, _ = spans
        self.assertEqual((server.trace_id.hex(), server.span_id.hex()), ("a" * 32, "c" * 16))
        self.assertEqual((server.parent_span_id.hex(), server.trace_state), ("b" * 16, "vendor=1"))
        self.assertEqual((server.status.code, server.status.message), (2, "late"))
        self.assertEqual(server.start_time_unix_nano, 1_700_000_000_250_000_000)
        self.assertEqual((decision.parent_span_id, decision.kind), (server.span_id, 3))
        self.assertEqual(resource.scope_spans[0].scope.name, "egressproxy")

    def test_logs(self) -> None:
        records = [attrs.evolve(ALLOWED, trace=trace()), REFUSED, attrs.evolve(ALLOWED, verdict="unavailable")]
        self.otlp.export_logs(records)
        (resource,) = encode_logs(self.sent[0]).resource_logs
        first, second, third = resource.scope_logs[0].log_records
        self.assertEqual((first.trace_id.hex(), first.span_id.hex()), ("a" * 32, "c" * 16))
        self.assertEqual((second.trace_id, second.span_id), (b"", b""))
        self.assertEqual([each.severity_text for each in (first, second, third)], ["INFO", "WARN", "ERROR"])
        self.assertEqual(first.time_unix_nano, 1_700_000_000_350_000_000)
        body = {each.key: each.value for each in first.body.kvlist_value.values}
        self.assertEqual(body["url"].string_value, "https://api.example.com/v1/items?page=2&token=REDACTED")
        self.assertEqual(len(body["phases"].array_value.values), 5)
        self.assertNotIn("upstream", body)

    def test_metrics(self) -> None:
        metrics = Metrics()
        metrics.write(ALLOWED)
        self.otlp.export_metrics(list(metrics.registry.collect()))
        (resource,) = encode_metrics(self.sent[0]).resource_metrics
        found = {each.name: each for each in resource.scope_metrics[0].metrics}
        self.assertTrue(found["egress_decisions"].sum.is_monotonic)
        self.assertEqual(found["egress_exchange_seconds"].histogram.data_points[0].count, 1)
        self.assertEqual(found["egress_client_connections"].gauge.data_points[0].as_double, 0)

    def test_deltas(self) -> None:
        """With this preference, counters and histograms have their changes since the last export that succeeded."""
        metrics = Metrics()
        self.otlp = otlp.Otlp(delta=True)
        counts, starts, fails = [], [], [False, True, False]
        for failing in fails:
            metrics.write(ALLOWED)
            self.exporter.result = FAILURE if failing else SUCCESS
            with contextlib.suppress(ExportFailed):
                self.otlp.export_metrics(list(metrics.registry.collect()))
            (resource,) = encode_metrics(self.sent[-1]).resource_metrics
            found = {each.name: each for each in resource.scope_metrics[0].metrics}
            self.assertEqual(found["egress_decisions"].sum.aggregation_temporality, 1)
            (point,) = found["egress_exchange_seconds"].histogram.data_points
            counts.append(point.count)
            starts.append(point.start_time_unix_nano)
        self.assertEqual(counts, [1, 1, 2])
        self.assertEqual((len(set(starts)), starts[1]), (2, starts[2]))

    def test_resource(self) -> None:
        """The variables of the environment take precedence."""
        attributes = self.otlp.resource.attributes
        self.assertEqual((attributes["service.name"], attributes["service.version"]), ("egressproxy", __version__))
        self.assertEqual(attributes["process.pid"], os.getpid())
        self.assertIs(self.otlp.resource, self.otlp.resource)
        self.assertNotEqual(otlp.Otlp().resource.attributes["service.instance.id"], attributes["service.instance.id"])
        given = {"OTEL_SERVICE_NAME": "build", "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=i,team=x"}
        with mock.patch.dict(os.environ, given):
            attributes = otlp.Otlp().resource.attributes
        found = [attributes[name] for name in ("service.name", "service.instance.id", "team")]
        self.assertEqual(found, ["build", "i", "x"])

    def test_failures(self) -> None:
        """The message of the exporter is the reason, and is not written to standard error."""
        self.exporter.result = FAILURE
        error = self.assertRaises(ExportFailed, self.otlp.export_logs, [ALLOWED])
        self.assertEqual(str(error), "the collector did not accept the data")
        self.exporter.message = "Failed to export logs batch code: 404"
        with mock.patch("sys.stderr") as stderr:
            error = self.assertRaises(ExportFailed, self.otlp.export_logs, [ALLOWED])
        self.assertEqual((str(error), stderr.write.called), ("Failed to export logs batch code: 404", False))

    def test_shutdown(self) -> None:
        self.otlp.shutdown()
        self.assertEqual(self.exporter.closed, 0)
        self.otlp.export_logs([ALLOWED])
        self.otlp.export_logs([ALLOWED])
        self.otlp.shutdown()
        self.assertEqual(self.exporter.closed, 1)
