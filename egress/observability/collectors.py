"""Metrics of the authorizer, its cache, the embedded policy and approvals, read at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from egress.model.message_counts import MessageCounts
from egress.model.statistics import (
    AuthorizerStats,
    BudgetStats,
    CacheStats,
    PolicyInUse,
    PolicyReloadStats,
    SharedCacheStats,
    SpoolStats,
)


class SourceCounter(Collector):
    """A counter whose value another part of the proxy counts.

    @ivar source: returns the value.
    """

    def __init__(self, name: str, text: str, registry: CollectorRegistry) -> None:
        self._name = name
        self._text = text
        self.source: Callable[[], float] = float
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Return the current value as a metric (C{Collector.collect})."""
        yield CounterMetricFamily(self._name, self._text, value=self.source())


class AuthorizerCollector(Collector):
    """Metrics of the authorizer, read at each scrape, so that nothing is counted twice.

    @param source: returns the current statistics.
    @param retries: returns the number of retried authorization requests; C{None}: they are never retried.
    """

    def __init__(self, source: Callable[[], AuthorizerStats], retries: Callable[[], int] | None) -> None:
        self._source = source
        self._retries = retries

    def collect(self) -> Iterator[Metric]:
        """Return the metrics (C{Collector.collect})."""
        stats = self._source()
        yield GaugeMetricFamily(
            "egress_authorizer_requests_in_progress", "Authorization requests in progress.", value=stats.in_flight
        )
        yield GaugeMetricFamily(
            "egress_authorizer_requests_queued", "Queued authorization requests.", value=stats.queued
        )
        # One sample for each state, so that the sum over several processes is the number of processes in each state.
        breaker = GaugeMetricFamily(
            "egress_authorizer_breaker", "Processes whose circuit breaker is in this state.", labels=["state"]
        )
        for state, current in stats.states.items():
            breaker.add_metric([state], int(current))
        yield breaker
        for name, text, label, numbers in (
            ("failures", "Authorization requests without a decision, by kind of failure.", "kind", stats.failures),
            ("rejected", "Authorization requests that were not sent, by reason.", "reason", stats.rejected),
        ):
            counter = CounterMetricFamily(f"egress_authorizer_{name}", text, labels=[label])
            for key, number in numbers.items():
                counter.add_metric([key], number)
            yield counter
        yield CounterMetricFamily(
            "egress_authorizer_breaker_opened", "Number of times that the circuit breaker opened.", value=stats.opened
        )
        if self._retries is not None:
            text = "Authorization requests that were retried because an idle connection had closed."
            yield CounterMetricFamily("egress_authorizer_retries", text, value=self._retries())


class CacheCollector(Collector):
    """Metrics of the decision cache, read at each scrape.

    @param source: returns the current statistics.
    """

    def __init__(self, source: Callable[[], CacheStats]) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        """Return the metrics (C{Collector.collect})."""
        reuse = self._source()
        counter = CounterMetricFamily(
            "egress_authorizer_cache_lookups",
            "Authorization requests, by result of the cache lookup.",
            labels=["result"],
        )
        for result, number in (
            ("hit", reuse.hits),
            ("miss", reuse.misses),
            ("stale", reuse.stale),
            ("shared", reuse.shared),
        ):
            counter.add_metric([result], number)
        yield counter
        yield GaugeMetricFamily("egress_authorizer_cache_entries", "Cached decisions.", value=reuse.entries)


class SharedCollector(Collector):
    """Metrics of the shared state, read at each scrape.

    @param source: returns the current statistics of shared decisions; C{None}: there are none.
    @param reachable: returns whether the engine can be used.
    @param master: returns the master in use, if there is one, and how often it changed; C{None}: there are no
        sentinels.
    """

    def __init__(
        self,
        source: Callable[[], SharedCacheStats] | None,
        reachable: Callable[[], bool],
        master: Callable[[], tuple[str | None, int] | None],
    ) -> None:
        self._source = source
        self._reachable = reachable
        self._master = master

    def collect(self) -> Iterator[Metric]:
        """Return the metrics (C{Collector.collect})."""
        yield GaugeMetricFamily(
            "egress_shared_reachable", "Processes that can use the shared state.", value=int(self._reachable())
        )
        yield from self._of_sentinels()
        if self._source is None:
            return
        stats = self._source()
        counter = CounterMetricFamily(
            "egress_shared_cache_lookups",
            "Authorization requests that no cached decision of this process matched, by result in the shared cache.",
            labels=["result"],
        )
        for result, number in (("hit", stats.hits), ("miss", stats.misses), ("stale", stats.stale)):
            counter.add_metric([result], number)
        yield counter
        for name, text, number in (
            ("waits", "Authorization requests that waited for a call of another replica.", stats.waited),
            ("failures", "Lookups and changes in the shared state that failed.", stats.failed),
            ("rejected", "Values in the shared state that no holder of the key wrote.", stats.rejected),
        ):
            yield CounterMetricFamily(f"egress_shared_{name}", text, value=number)

    def _of_sentinels(self) -> Iterator[Metric]:
        found = self._master()
        if found is None:
            return
        address, changes = found
        gauge = GaugeMetricFamily(
            "egress_shared_master", "Processes that use a master, by its address.", labels=["address"]
        )
        if address is not None:
            gauge.add_metric([address], 1)
        yield gauge
        yield CounterMetricFamily(
            "egress_shared_master_changes", "Times that sentinels named another master.", value=changes
        )


class BudgetCollector(Collector):
    """Metrics of budgets, read at each scrape.

    @param source: returns the current statistics.
    """

    def __init__(self, source: Callable[[], BudgetStats]) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        """Return the metrics (C{Collector.collect})."""
        stats = self._source()
        yield GaugeMetricFamily(
            "egress_budget_buckets", "Budgets of rules, clients and hosts that are counted.", value=stats.buckets
        )
        counter = CounterMetricFamily(
            "egress_budget_refusals", "Requests and transfers that a budget ended, by reason.", labels=["reason"]
        )
        counter.add_metric(["exhausted"], stats.exhausted)
        counter.add_metric(["unavailable"], stats.unavailable)
        yield counter
        for name, text, number in (
            ("alone", "Requests that were counted without the shared state, although there is one.", stats.alone),
            ("failures", "Commands about budgets to the shared state that failed.", stats.failed),
        ):
            yield CounterMetricFamily(f"egress_budget_{name}", text, value=number)


class PolicyReloadCollector(Collector):
    """Metrics of the embedded policy and its reloads, read at each scrape.

    @param source: returns the statistics of the reloads.
    @param policy: returns the policy that is in use.
    """

    def __init__(self, source: Callable[[], PolicyReloadStats], policy: Callable[[], PolicyInUse]) -> None:
        self._source = source
        self._policy = policy

    def collect(self) -> Iterator[Metric]:
        """Return the metrics (C{Collector.collect})."""
        state = self._source()
        policy = self._policy()
        yield InfoMetricFamily("egress_policy", "The SHA-256 of the active policy.", value={"hash": policy.digest})
        yield GaugeMetricFamily(
            "egress_policy_loaded_timestamp_seconds", "Time at which the active policy was loaded.", value=policy.loaded
        )
        yield GaugeMetricFamily("egress_policy_rules", "Rules of the active policy.", value=state.rules)
        yield GaugeMetricFamily(
            "egress_policy_last_reload_successful",
            "1 if the last reload of the policy was successful, otherwise 0.",
            value=state.current,
        )
        yield CounterMetricFamily("egress_policy_reloads", "Successful reloads of the policy.", value=state.reads)
        yield CounterMetricFamily(
            "egress_policy_reload_failures", "Failed reloads of the policy.", value=state.failures
        )


class ApprovalCollector(Collector):
    """Metrics of approvals, read at each scrape.

    @param held: returns the number of pending approvals.
    @param counts: returns the number of finished approvals, by outcome.
    """

    def __init__(self, held: Callable[[], int], counts: Callable[[], Mapping[str, int]]) -> None:
        self._held = held
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Return the metrics (C{Collector.collect})."""
        yield GaugeMetricFamily("egress_approvals_pending", "Requests with a pending approval.", value=self._held())
        text = "Requests that required an approval, by outcome."
        counter = CounterMetricFamily("egress_approvals", text, labels=["outcome"])
        for outcome, number in self._counts().items():
            counter.add_metric([outcome], number)
        yield counter


class RevocationCollector(Collector):
    """The metric of revocations.

    @param counts: returns the number of revocations, by kind.
    """

    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Return the metric (C{Collector.collect})."""
        text = "Revocations of decisions that each process has applied, by kind."
        counter = CounterMetricFamily("egress_revocations", text, labels=["kind"])
        for kind, number in self._counts().items():
            counter.add_metric([kind], number)
        yield counter


class MessageCollector(Collector):
    """The metric of messages that are authorized one by one.

    @param source: the counts.
    """

    def __init__(self, source: MessageCounts) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        """Return the metric (C{Collector.collect})."""
        counter = CounterMetricFamily(
            "egress_messages",
            "Messages that were authorized one by one, by verdict, protocol and sender.",
            labels=["verdict", "kind", "direction"],
        )
        for labels, number in self._source.counts.items():
            counter.add_metric(labels, number)
        yield counter


class SpoolCollector(Collector):
    """Metrics of the spool of an audit store on a server.

    @param source: returns the current state; C{None} without a server.
    """

    def __init__(self, source: Callable[[], SpoolStats | None]) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        """Return the metrics (C{Collector.collect})."""
        stats = self._source()
        if stats is None:
            return
        for name, text, value in (
            ("egress_audit_store_reachable", "1 if the server of the audit store was reached.", float(stats.reached)),
            ("egress_audit_spool_records", "Records that wait in the spool for the audit store.", stats.records),
            ("egress_audit_spool_bytes", "Size of the records that wait in the spool.", stats.size),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        if stats.oldest is not None:
            text = "Time of the oldest record that waits in the spool."
            yield GaugeMetricFamily("egress_audit_spool_oldest_timestamp_seconds", text, value=stats.oldest)


class TelemetryCollector(Collector):
    """The metric of the export of OpenTelemetry data.

    @param source: returns the number of exchanges, and of exports of metrics, that were not exported, by signal.
    """

    def __init__(self, source: Callable[[], Mapping[str, int]]) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        """Return the metric (C{Collector.collect})."""
        text = "Exchanges, and exports of metrics, that OpenTelemetry did not export, by signal."
        counter = CounterMetricFamily("egress_telemetry_dropped", text, labels=["signal"])
        for signal, number in self._source().items():
            counter.add_metric([signal], number)
        yield counter
