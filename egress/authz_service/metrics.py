"""The Prometheus metrics of an authorization service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from zope.interface import implementer

from egress.interfaces import IAuditSink
from egress.model.decision import Verdict
from egress.model.record import ExchangeRecord
from egress.model.statistics import PolicyInUse, PolicyReloadStats
from egress.observability.collectors import PolicyReloadCollector, SourceCounter
from egress.observability.exchange_counters import Distribution
from egress.observability.metrics import process_registry
from egress.observability.rule_counters import RuleCounters

# The range is from one rule lookup to a large policy; the upper buckets are for the authorizers of applications.
_BUCKETS: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0)

# Counted from zero, so that the first request of each verdict changes a rate.
_VERDICTS: Final = (*(verdict.value for verdict in Verdict), "unavailable")


class _RequestCounters(Collector):
    def __init__(self) -> None:
        self.requests: Counter[str] = Counter(dict.fromkeys(_VERDICTS, 0))
        self.rejected: Counter[str] = Counter()
        self.seconds = Distribution(_BUCKETS)

    def collect(self) -> Iterator[Metric]:
        """Return the counts as metrics (C{Collector.collect})."""
        for name, text, label, counts in (
            ("egressauthz_requests", "Authorization requests with a response, by verdict.", "verdict", self.requests),
            ("egressauthz_rejected", "Rejected requests and connections, by kind.", "kind", self.rejected),
        ):
            family = CounterMetricFamily(name, text, labels=[label])
            for kind, number in counts.items():
                family.add_metric([kind], number)
            yield family
        yield HistogramMetricFamily(
            "egressauthz_decision_seconds",
            "Duration of a decision.",
            buckets=self.seconds.buckets(),
            sum_value=self.seconds.sum,
        )


@implementer(IAuditSink)
class AuthzServiceMetrics:
    """Counts authorization requests.

    @ivar registry: a registry of its own.
    """

    def __init__(self) -> None:
        self.registry = process_registry()
        self._counters = _RequestCounters()
        self._rules = RuleCounters()
        self.registry.register(self._counters)
        self.registry.register(self._rules)
        self._connections = Gauge("egressauthz_connections", "Open connections of callers.", registry=self.registry)
        text = "Audit log lines that could not be written."
        self._lost = SourceCounter("egress_audit_lines_lost", text, registry=self.registry)

    def set_connections_source(self, source: Callable[[], float]) -> None:
        """Set the source of the number of open connections."""
        self._connections.set_function(source)

    def set_audit_lost_source(self, source: Callable[[], float]) -> None:
        """Set the source of the number of lost audit records."""
        self._lost.source = source

    def set_policy_source(self, source: Callable[[], PolicyReloadStats], policy: Callable[[], PolicyInUse]) -> None:
        """Set the sources of the statistics of policy reloads, and of the policy in use."""
        self.registry.register(PolicyReloadCollector(source, policy))
        self._rules.set_policy_source(policy)

    def write(self, record: ExchangeRecord) -> None:
        """Count one authorization request (L{IAuditSink.write})."""
        if record.verdict != "rejected":
            self._counters.requests[record.verdict] += 1
            self._rules.count(record)
        if record.decision_seconds is not None:
            self._counters.seconds.observe(record.decision_seconds)

    def reject(self, kind: str) -> None:
        """Count a request that is not a valid authorization request.

        @param kind: one of a few values.
        """
        self._counters.rejected[kind] += 1

    def close(self) -> None:
        """Do nothing: there are no open files (L{IAuditSink.close})."""

    def render(self) -> tuple[bytes, str]:
        """Write all metrics in the Prometheus text format.

        @return: the text and its content type.
        """
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4
