"""Tests for L{egress.tracing.settings}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.tracing.sampler import Sampler
from egress.tracing.settings import InvalidVariable, QueueSettings, Settings, read_settings

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
TRACES, METRICS, LOGS = QueueSettings(), 60.0, QueueSettings(delay=1.0)


class SignalTests(SynchronousTestCase):
    """The signals that are exported."""

    def test_table(self) -> None:
        for environ, expected in (
            ({}, Settings()),
            ({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_off"}, Settings(sampler=Sampler(False, 0.0))),
            (ENDPOINT, Settings(TRACES, None, METRICS)),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, Settings()),
            ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/"}, Settings(TRACES)),
            ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c/"}, Settings(None, None, METRICS)),
            ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://c/"}, Settings(None, LOGS)),
            ({**ENDPOINT, "OTEL_LOGS_EXPORTER": "otlp"}, Settings(TRACES, LOGS, METRICS)),
            ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, Settings(None, None, METRICS)),
            ({**ENDPOINT, "OTEL_METRICS_EXPORTER": "none"}, Settings(TRACES)),
            ({"OTEL_TRACES_EXPORTER": "OTLP"}, Settings(TRACES)),
            ({**ENDPOINT, "OTEL_SDK_DISABLED": "True"}, Settings()),
            ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, Settings(TRACES, None, METRICS)),
        ):
            with self.subTest(environ):
                settings, invalid = read_settings(environ)
                self.assertEqual((settings, invalid), (expected, ()))
                self.assertEqual(settings.enabled, settings not in (Settings(), Settings(sampler=Sampler(False, 0.0))))

    def test_temporality(self) -> None:
        name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
        for text, delta, count in (("", False, 0), ("Delta", True, 0), ("lowmemory", True, 0), ("x", False, 1)):
            settings, invalid = read_settings({**ENDPOINT, name: text})
            self.assertEqual((settings.delta, [each.name for each in invalid]), (delta, [name] * count))
        # The variables of other programs export nothing.
        self.assertFalse(read_settings({name: "delta"})[0].enabled)

    def test_queues(self) -> None:
        settings, _ = read_settings(
            {
                **ENDPOINT,
                "OTEL_LOGS_EXPORTER": "otlp",
                "OTEL_BSP_SCHEDULE_DELAY": "250",
                "OTEL_BSP_MAX_QUEUE_SIZE": "100",
                "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "7",
                "OTEL_METRIC_EXPORT_INTERVAL": "1500",
            }
        )
        self.assertEqual(settings.traces, QueueSettings(100, 100, 0.25))
        self.assertEqual(settings.logs, QueueSettings(2048, 7, 1.0))
        self.assertEqual(settings.metrics_interval, 1.5)


class InvalidTests(SynchronousTestCase):
    """Invalid variables are reported, and have no effect."""

    def test_table(self) -> None:
        for name, value, text in (
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "must be a positive integer: 2048 is used"),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1", "must be a positive integer: 5000 is used"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1s", "must be a positive integer: 60000 is used"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1000000000", "must be a positive integer: 60000 is used"),
            (
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "grpc",
                "the proxy exports only http/protobuf: use an endpoint for it, on port 4318",
            ),
            (
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
                "http/json",
                "the proxy exports only http/protobuf: use an endpoint for it, on port 4318",
            ),
        ):
            with self.subTest(name, value=value):
                settings, invalid = read_settings({**ENDPOINT, name: value})
                self.assertEqual((settings, invalid), (Settings(TRACES, None, METRICS), (InvalidVariable(name, text),)))

    def test_exporters(self) -> None:
        settings, invalid = read_settings({**ENDPOINT, "OTEL_TRACES_EXPORTER": "zipkin"})
        self.assertIsNone(settings.traces)
        self.assertEqual(
            invalid, (InvalidVariable("OTEL_TRACES_EXPORTER", "zipkin is not supported: use otlp or none"),)
        )
        self.assertEqual(read_settings({**ENDPOINT, "OTEL_TRACES_EXPORTER": "console,otlp"})[0].traces, TRACES)

    def test_sampler(self) -> None:
        settings, (invalid,) = read_settings({**ENDPOINT, "OTEL_TRACES_SAMPLER": "xray"})
        self.assertEqual((settings.sampler, invalid.name), (Sampler(), "OTEL_TRACES_SAMPLER"))
        self.assertIn("; parentbased_always_on is used", invalid.text)

    def test_of_other_programs(self) -> None:
        """A proxy that exports nothing does not complain."""
        self.assertEqual(read_settings({"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_TRACES_SAMPLER": "xray"})[1], ())
        self.assertEqual(read_settings({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})[1], ())

    def test_protocol(self) -> None:
        self.assertEqual(read_settings({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})[1], ())
