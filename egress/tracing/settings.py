"""The settings of OpenTelemetry: the C{OTEL_} variables of the environment.

The exporters of the SDK read the others themselves: endpoints, headers, certificates, compression and timeouts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from egress.tracing.sampler import DEFAULT, Sampler, sampler

_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_TEMPORALITY: Final = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
_TEMPORALITIES: Final = {"cumulative": False, "delta": True, "lowmemory": True}
_HTTP: Final = "http/protobuf"


@attrs.frozen
class QueueSettings:
    """The settings of the queue of a signal.

    @ivar size: the maximum number of exchanges in the queue.
    @ivar batch: the maximum number of exchanges in one export.
    @ivar delay: the seconds between two exports.
    """

    size: int = 2048
    batch: int = 512
    delay: float = 5.0


@attrs.frozen
class Settings:
    """The settings of OpenTelemetry.

    @ivar traces: the queue for spans; C{None}: no spans are exported.
    @ivar logs: the queue for log records; C{None}: no log records are exported.
    @ivar metrics_interval: the seconds between two exports of metrics; C{None}: no metrics are exported.
    @ivar sampler: which traces are exported.
    @ivar delta: whether counters and histograms are exported as changes since the last export.
    """

    traces: QueueSettings | None = None
    logs: QueueSettings | None = None
    metrics_interval: float | None = None
    sampler: Sampler = attrs.field(factory=Sampler)
    delta: bool = False

    @property
    def enabled(self) -> bool:
        """Whether anything is exported."""
        return self != Settings(sampler=self.sampler, delta=self.delta)


@attrs.frozen
class InvalidVariable:
    """An invalid variable.

    @ivar name: its name.
    @ivar text: the consequence and the fix.
    """

    name: str
    text: str


def read_settings(environ: Mapping[str, str]) -> tuple[Settings, tuple[InvalidVariable, ...]]:
    """Read the settings.

    Spans and metrics are exported if an endpoint for them is set, or if C{OTEL_TRACES_EXPORTER} or
    C{OTEL_METRICS_EXPORTER} is C{otlp}. Log records contain audit records, so they are exported only if
    C{OTEL_LOGS_EXPORTER} is C{otlp}, or if they have an endpoint of their own.
    """
    reader = _Reader(environ)
    if reader.text("OTEL_SDK_DISABLED").lower() == "true":
        return Settings(), ()
    has_endpoint = bool(reader.text(_ENDPOINT))
    settings = Settings(
        traces=reader.queue("BSP", 5000.0) if reader.exports("TRACES", has_endpoint) else None,
        logs=reader.queue("BLRP", 1000.0) if reader.exports("LOGS", False) else None,
        metrics_interval=(
            reader.milliseconds("OTEL_METRIC_EXPORT_INTERVAL", 60_000.0)
            if reader.exports("METRICS", has_endpoint)
            else None
        ),
        sampler=reader.sampler(),
        delta=reader.delta(),
    )
    if not settings.enabled:
        # The variables of other programs are not the concern of this one.
        return settings, ()
    return settings, (*reader.invalid, *_protocols(reader))


def _protocols(reader: _Reader) -> Iterator[InvalidVariable]:
    for signal in ("", "_TRACES", "_METRICS", "_LOGS"):
        name = f"OTEL_EXPORTER_OTLP{signal}_PROTOCOL"
        protocol = reader.text(name)
        if protocol and protocol != _HTTP:
            yield InvalidVariable(name, f"the proxy exports only {_HTTP}: use an endpoint for it, on port 4318")


class _Reader:
    """Reads variables, and collects the invalid ones."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.invalid: list[InvalidVariable] = []

    def text(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def exports(self, signal: str, by_default: bool) -> bool:
        """Whether a signal is exported."""
        name = f"OTEL_{signal}_EXPORTER"
        wanted = {each.strip().lower() for each in self.text(name).split(",")} - {""}
        others = sorted(wanted - {"otlp", "none"})
        if others:
            self.invalid.append(InvalidVariable(name, f"{others[0]} is not supported: use otlp or none"))
        if wanted:
            return "otlp" in wanted
        return by_default or bool(self.text(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))

    def queue(self, prefix: str, delay: float) -> QueueSettings:
        default = QueueSettings()
        size = self._number(f"OTEL_{prefix}_MAX_QUEUE_SIZE", default.size)
        batch = self._number(f"OTEL_{prefix}_MAX_EXPORT_BATCH_SIZE", default.batch)
        return QueueSettings(size, min(batch, size), self.milliseconds(f"OTEL_{prefix}_SCHEDULE_DELAY", delay))

    def milliseconds(self, name: str, default: float) -> float:
        """Return seconds."""
        return self._number(name, int(default)) / 1000

    def _number(self, name: str, default: int) -> int:
        text = self.text(name)
        if not text:
            return default
        # Nine digits are more than any of them needs.
        if len(text) < 10 and text.isascii() and text.isdecimal() and int(text) > 0:
            return int(text)
        self.invalid.append(InvalidVariable(name, f"must be a positive integer: {default} is used"))
        return default

    def delta(self) -> bool:
        preference = self.text(_TEMPORALITY).lower() or "cumulative"
        if preference not in _TEMPORALITIES:
            self.invalid.append(InvalidVariable(_TEMPORALITY, "use cumulative, delta or lowmemory; cumulative is used"))
        return _TEMPORALITIES.get(preference, False)

    def sampler(self) -> Sampler:
        name = self.text("OTEL_TRACES_SAMPLER") or DEFAULT
        try:
            return sampler(name, self.text("OTEL_TRACES_SAMPLER_ARG"))
        except ValueError as error:
            self.invalid.append(InvalidVariable("OTEL_TRACES_SAMPLER", f"{error}; {DEFAULT} is used"))
            return Sampler()
