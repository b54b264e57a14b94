"""The export of OpenTelemetry data: spans and log records of each exchange, and metrics at an interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from egress.interfaces import IAuditSink
from egress.model.record import ExchangeRecord
from egress.model.trace import ExchangeTrace
from egress.tracing.export_queue import ExportQueue
from egress.tracing.settings import QueueSettings, Settings
from egress.tracing.spans import Span, spans_of
from egress.tracing.tracer import Tracer

if TYPE_CHECKING:
    from egress.tracing.otlp import Otlp

CLOSE_SECONDS: Final = 3.0
"""The time for which a stopping proxy waits for its last exports."""

_LOG_EVERY: Final = 60.0
_SDK: Final = "opentelemetry.exporter.otlp.proto.http"

_log = Logger()


def sdk_installed() -> bool:
    """Whether the SDK and its exporter can be imported."""
    try:
        return find_spec(_SDK) is not None and find_spec("opentelemetry.sdk") is not None
    except ImportError:
        return False


@implementer(IAuditSink)
class Telemetry:
    """Exports OpenTelemetry data.

    @param reactor: provides the time, and C{IReactorFromThreads}.
    @param settings: the settings of the export.
    @param exporter: sends the data; its methods block.  C{None}: nothing is exported.
    @param registry: the metrics.
    @param remote: whether an authorization service decides.
    @param propagates: whether origins receive the context of traces.
    @ivar tracer: begins traces; C{None} if no spans are exported.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        exporter: Otlp | None,
        *,
        registry: CollectorRegistry,
        remote: bool,
        propagates: bool,
    ) -> None:
        self._reactor = reactor
        self._exporter = exporter
        self._registry = registry
        self._remote = remote
        self._logged: float | None = None
        self._queues: dict[str, ExportQueue[Any]] = {}
        self.tracer: Tracer | None = None
        self._traces: ExportQueue[ExchangeRecord] | None = None
        self._logs: ExportQueue[ExchangeRecord] | None = None
        self._metrics: ExportQueue[Sequence[Any]] | None = None
        self._reading: LoopingCall | None = None
        if exporter is None:
            return
        if settings.traces is not None:
            self.tracer = Tracer(settings.sampler, propagates=propagates)
            self._traces = self._queue(
                "traces", settings.traces, lambda records: exporter.export_spans(list(self._spans(records)))
            )
        if settings.logs is not None:
            self._logs = self._queue("logs", settings.logs, exporter.export_logs)
        if settings.metrics_interval is not None:
            # While an export hangs, one more waits: later values of metrics include the earlier ones.
            self._metrics = self._queue(
                "metrics", QueueSettings(1, 1, 0.0), lambda batch: exporter.export_metrics(batch[-1])
            )
            self._reading = LoopingCall(self._read_metrics)
            self._reading.clock = reactor
            self._interval = settings.metrics_interval

    def _queue(
        self, signal: str, settings: QueueSettings, export: Callable[[Sequence[Any]], object]
    ) -> ExportQueue[Any]:
        def failed(reason: str) -> None:
            self._reactor.callFromThread(self._failed, signal, reason)

        queue = self._queues[signal] = ExportQueue(f"otlp-{signal}", settings, export, failed)
        return queue

    @property
    def sink(self) -> IAuditSink | None:
        """The sink for audit records; C{None} if they are not exported."""
        return None if self._traces is self._logs is None else self

    def dropped(self) -> Mapping[str, int]:
        """Return the number of exchanges, and of exports of metrics, that were not exported, by signal."""
        return {signal: queue.dropped for signal, queue in self._queues.items()}

    def start(self) -> None:
        """Export metrics from now on."""
        if self._reading is not None and not self._reading.running:
            self._reading.start(self._interval, now=False)

    def write(self, record: ExchangeRecord) -> None:
        """Queue the record of an exchange (L{IAuditSink.write})."""
        trace = record.trace
        if self._traces is not None and trace is not None and trace.sampled:
            self._traces.put(record)
        if self._logs is not None:
            self._logs.put(record)

    def _read_metrics(self) -> None:
        # In the reactor's thread, whose state the metrics show.
        assert self._metrics is not None
        self._metrics.put(list(self._registry.collect()))

    def stop(self) -> Deferred[None]:
        """Export the content of the queues, for at most L{CLOSE_SECONDS}.

        @return: fires when everything is exported or the time is over; it never fails.
        """
        if self._reading is not None and self._reading.running:
            self._reading.stop()
            self._read_metrics()
        exporter = self._exporter
        if exporter is None:
            return succeed(None)
        closing = DeferredList([self._closed(queue) for queue in self._queues.values()])
        done: Deferred[None] = Deferred()
        timer = self._reactor.callLater(CLOSE_SECONDS, done.callback, None)

        def closed(_: object) -> None:
            if timer.active():
                timer.cancel()
                done.callback(None)

        closing.addCallback(closed)
        return done.addCallback(lambda _: exporter.shutdown())

    def _closed(self, queue: ExportQueue[Any]) -> Deferred[None]:
        closed: Deferred[None] = Deferred()
        queue.close(lambda: self._reactor.callFromThread(closed.callback, None))
        return closed

    def close(self) -> None:
        """Do nothing: L{stop} waits for the queues (L{IAuditSink.close})."""

    def _failed(self, signal: str, reason: str) -> None:
        now = self._reactor.seconds()
        if self._logged is not None and now - self._logged < _LOG_EVERY:
            return
        self._logged = now
        _log.error(
            "OpenTelemetry: {signal} were not exported ({dropped} in total): {reason}",
            signal=signal,
            dropped=self._queues[signal].dropped,
            reason=reason,
        )

    def _spans(self, records: Iterable[ExchangeRecord]) -> Iterable[tuple[Span, ExchangeTrace]]:
        assert self.tracer is not None
        for record in records:
            trace = record.trace
            assert trace is not None
            for span in spans_of(record, trace, self.tracer.new_span_id, remote=self._remote):
                yield span, trace


def configured_exporter(settings: Settings) -> Otlp | None:
    """Return the exporter for the data.

    @return: C{None} if nothing is exported, or if the SDK is not installed.
    """
    if not settings.enabled or not sdk_installed():
        return None
    from egress.tracing.otlp import Otlp  # noqa: PLC0415 - a proxy that exports nothing does not import the SDK

    return Otlp(settings.delta)
