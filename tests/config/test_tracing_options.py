"""Tests for L{egress.config.tracing_options}."""

from __future__ import annotations

from egress.config import parsers as values
from egress.config.options import OPTIONS
from egress.config.tracing_options import TRACING_OPTIONS
from egress.model.trace import Otel
from tests.config.test_parsers import ValueTests


class TracingOptionsTests(ValueTests):
    """The options for OpenTelemetry."""

    def test_otel(self) -> None:
        self.accept(values.otel, {"auto": Otel.AUTO, "OFF": Otel.OFF})
        self.refuse(values.otel, dict.fromkeys(["", "on"], "choose auto or off"))

    def test_in_the_table(self) -> None:
        self.assertLessEqual(set(TRACING_OPTIONS), set(OPTIONS))
