"""The numbers of a proxy, for Prometheus.

They come from the same records as the audit log, so that the two never tell different stories.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import partial
from typing import Final

import twisted
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from zope.interface import implementer

from egress import __version__
from egress.interfaces import IAuditSink
from egress.model.errors import OUTCOMES
from egress.model.record import ExchangeRecord

_DECISION_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_EXCHANGE_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

# Labels come from these alone: a label that a client or an authorizer could choose would grow without bound.
_OTHER: Final = "other"
_VERDICTS: Final = frozenset({"allow", "deny", "unavailable", "refused", "failed"})
_OUTCOMES: Final = frozenset({"forwarded", *(outcome.code for outcome in OUTCOMES.values())})


def process_registry() -> CollectorRegistry:
    """Make a registry with what every process tells of itself."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    Info("egress_build", "The versions that run.", registry=registry).info(
        {"version": __version__, "python": platform.python_version(), "twisted": twisted.__version__}
    )
    return registry


@implementer(IAuditSink)
class Metrics:
    """Counts exchanges.

    @ivar registry: a registry of its own, so that several proxies fit into one process.
    """

    def __init__(self) -> None:
        self.registry = process_registry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self._decisions = counter(
            "egress_decisions_total", "Exchanges, by verdict and by what became of them.", ["verdict", "outcome"]
        )
        self._responses = counter("egress_responses_total", "Answers to clients, by class of status code.", ["status"])
        self._decision_seconds = histogram(
            "egress_decision_seconds", "What the authorizer took to decide.", buckets=_DECISION_BUCKETS
        )
        self._exchange_seconds = histogram(
            "egress_exchange_seconds", "From the request head to the end of the exchange.", buckets=_EXCHANGE_BUCKETS
        )
        self._sent = counter("egress_sent_bytes_total", "Content bytes of clients that went to origins.")
        self._received = counter("egress_received_bytes_total", "Content bytes of origins that went to clients.")
        self._client_connections = gauge("egress_client_connections", "Client connections that are open.")
        self._leaf_contexts = gauge("egress_leaf_contexts", "TLS contexts kept for intercepted hosts.")
        self._audit_lost = gauge("egress_audit_lines_lost", "Audit lines that could not be written, since the start.")
        # Finding a child by its labels costs more than counting: it is done once.
        self._count_decision: dict[tuple[str, str], Callable[[], None]] = {}
        self._count_response: dict[int, Callable[[], None]] = {}

    def watch_connections(self, source: Callable[[], float]) -> None:
        """Say where to look, whenever the numbers are asked for, for the client connections that are open."""
        self._client_connections.set_function(source)

    def watch_leaf_contexts(self, source: Callable[[], float]) -> None:
        """Say where to look for the number of TLS contexts kept."""
        self._leaf_contexts.set_function(source)

    def watch_audit_lost(self, source: Callable[[], float]) -> None:
        """Say where to look for the number of audit lines lost."""
        self._audit_lost.set_function(source)

    def write(self, record: ExchangeRecord) -> None:
        """Count one exchange (L{IAuditSink.write})."""
        labels = (record.verdict, record.outcome)
        (self._count_decision.get(labels) or self._bind_decision(*labels))()
        status = 0 if record.status is None else record.status // 100
        (self._count_response.get(status) or self._bind_response(status))()
        if record.decision_seconds is not None:
            self._decision_seconds.observe(record.decision_seconds)
        self._exchange_seconds.observe(record.duration)
        self._sent.inc(record.bytes_sent)
        self._received.inc(record.bytes_received)

    def close(self) -> None:
        """Nothing is open (L{IAuditSink.close})."""

    def render(self) -> tuple[bytes, str]:
        """Write all numbers in the Prometheus text format.

        @return: the text and its content type.
        """
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4

    def _bind_decision(self, verdict: str, outcome: str) -> Callable[[], None]:
        known = verdict in _VERDICTS and outcome in _OUTCOMES
        child = self._decisions.labels(verdict, outcome) if known else self._decisions.labels(_OTHER, _OTHER)
        if known:
            self._count_decision[verdict, outcome] = child.inc
        return child.inc

    def _bind_response(self, status: int) -> Callable[[], None]:
        known = 0 <= status <= 5
        child = self._responses.labels((f"{status}xx" if status else "none") if known else _OTHER)
        if known:
            self._count_response[status] = child.inc
        return child.inc
