"""The options for OpenTelemetry."""

from __future__ import annotations

from typing import Final

from egress.config import parsers as values
from egress.config.option import Option

TRACING_OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        name="otel",
        group="Operation",
        metavar="auto|off",
        help="OpenTelemetry. auto: export spans, metrics and logs as the OTEL_ variables of the environment say, for "
        "example OTEL_EXPORTER_OTLP_ENDPOINT. off: export nothing.",
        default="auto",
        fields=("otel",),
        parse=values.otel,
    ),
    Option(
        name="trace-propagate",
        group="Operation",
        metavar="",
        help="Send the context of the trace to origins, in place of the traceparent and tracestate of the client. "
        "Without this option, origins receive what the client sent.",
        default="false",
        fields=("trace_propagate",),
        parse=values.boolean,
    ),
)
