"""Tests for L{egress.tracing.telemetry}."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import attrs
from prometheus_client import CollectorRegistry, Gauge
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.interfaces import IAuditSink
from egress.model.record import ExchangeRecord
from egress.tracing import export_queue, telemetry
from egress.tracing.export_queue import ExportFailed
from egress.tracing.settings import QueueSettings, Settings
from egress.tracing.telemetry import CLOSE_SECONDS, Telemetry, configured_exporter, sdk_installed
from tests.observability.records import ALLOWED


class Exporter:
    """An exporter that remembers what it exports."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.logs: list[ExchangeRecord] = []
        self.metrics: list[Any] = []
        self.error: Exception | None = None
        self.closed = 0

    def export_spans(self, spans: Sequence[Any]) -> None:
        if self.error is not None:
            raise self.error
        self.spans += spans

    def export_logs(self, records: Sequence[ExchangeRecord]) -> None:
        self.logs += records

    def export_metrics(self, samples: Sequence[Any]) -> None:
        self.metrics.append(samples)

    def shutdown(self) -> None:
        self.closed += 1


class ThreadClock(Clock):
    """A clock that is also a reactor for threads, which the test runs."""

    def callFromThread(self, call: Callable[..., object], *arguments: object) -> None:
        self.callLater(0, call, *arguments)


class TelemetryTests(SynchronousTestCase):
    """Records are queued, exported in threads, and metrics read at an interval."""

    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.exporter = Exporter()
        self.threads: list[Callable[[], None]] = []
        self.registry = CollectorRegistry()
        Gauge("level", "Level.", registry=self.registry).set(7)
        self.patch(export_queue, "start_daemon", lambda target, name: self.threads.append(target))

    def telemetry(self, **settings: Any) -> Telemetry:
        exporter: Any = self.exporter if settings else None
        return Telemetry(
            self.clock, Settings(**settings), exporter, registry=self.registry, remote=False, propagates=True
        )

    def record(self, made: Telemetry, flags: str = "01") -> ExchangeRecord:
        assert made.tracer is not None
        parent = f"00-{'a' * 32}-{'b' * 16}-{flags}".encode()
        return attrs.evolve(ALLOWED, trace=made.tracer.begin(((b"traceparent", parent),)))

    def run_threads(self) -> None:
        threads, self.threads = self.threads, []
        for thread in threads:
            thread()
        self.clock.advance(0)

    def test_spans(self) -> None:
        made = self.telemetry(traces=QueueSettings())
        verifyObject(IAuditSink, made)
        self.assertIs(made.sink, made)
        made.write(self.record(made))
        made.write(self.record(made, "00"))
        made.write(ALLOWED)
        stopped = made.stop()
        self.assertNoResult(stopped)
        self.run_threads()
        self.successResultOf(stopped)
        self.assertEqual([span.name for span, _ in self.exporter.spans], ["POST", "decision", "POST"])
        self.assertEqual((self.exporter.closed, self.clock.getDelayedCalls()), (1, []))
        self.assertEqual(made.dropped(), {"traces": 0})

    def test_logs(self) -> None:
        made = self.telemetry(logs=QueueSettings())
        self.assertIsNone(made.tracer)
        made.write(ALLOWED)
        stopped = made.stop()
        self.run_threads()
        self.successResultOf(stopped)
        self.assertEqual(self.exporter.logs, [ALLOWED])

    def test_metrics(self) -> None:
        made = self.telemetry(metrics_interval=60.0)
        self.assertIsNone(made.sink)
        made.start()
        made.start()
        self.clock.advance(59)
        self.assertEqual(self.threads, [])
        self.clock.advance(1)
        stopped = made.stop()
        self.run_threads()
        self.successResultOf(stopped)
        (samples,) = self.exporter.metrics
        self.assertEqual([metric.name for metric in samples], ["level"])
        # The last values did not fit: the thread had not taken those before.
        self.assertEqual(made.dropped(), {"metrics": 1})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_last_metrics(self) -> None:
        made = self.telemetry(metrics_interval=60.0)
        made.start()
        stopped = made.stop()
        self.run_threads()
        self.successResultOf(stopped)
        self.assertEqual(len(self.exporter.metrics), 1)

    def test_an_export_that_hangs(self) -> None:
        """The end waits only for a time."""
        made = self.telemetry(traces=QueueSettings())
        made.write(self.record(made))
        stopped = made.stop()
        self.clock.advance(CLOSE_SECONDS - 0.1)
        self.assertNoResult(stopped)
        self.clock.advance(0.1)
        self.successResultOf(stopped)
        self.assertEqual(self.exporter.closed, 1)
        self.run_threads()

    def test_failures(self) -> None:
        """They are logged once a minute, without a traceback."""
        made = self.telemetry(traces=QueueSettings(batch=1))
        self.exporter.error = ExportFailed("no collector")
        for _ in range(2):
            made.write(self.record(made))
        stopped = made.stop()
        with capturedLogs() as events:
            self.run_threads()
        self.successResultOf(stopped)
        (event,) = events
        self.assertEqual((event["signal"], event["dropped"], event["reason"]), ("traces", 2, "no collector"))
        self.assertNotIn("log_failure", event)

    def test_nothing(self) -> None:
        made = self.telemetry()
        self.assertIsNone(made.sink)
        self.assertIsNone(made.tracer)
        made.start()
        made.close()
        self.successResultOf(made.stop())
        self.assertEqual((made.dropped(), self.clock.getDelayedCalls()), ({}, []))


class ExporterTests(SynchronousTestCase):
    """The SDK is imported only if there is something to export."""

    def test_nothing_to_export(self) -> None:
        self.assertIsNone(configured_exporter(Settings()))

    def test_not_installed(self) -> None:
        self.patch(telemetry, "find_spec", mock.Mock(side_effect=ModuleNotFoundError("opentelemetry")))
        self.assertFalse(sdk_installed())
        self.patch(telemetry, "find_spec", lambda name: None)
        self.assertFalse(sdk_installed())
        self.assertIsNone(configured_exporter(Settings(traces=QueueSettings())))

    def test_installed(self) -> None:
        self.assertTrue(sdk_installed())
        self.assertIsNotNone(configured_exporter(Settings(traces=QueueSettings())))
