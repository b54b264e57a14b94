"""The metrics of a proxy, for Prometheus.

They are computed from the same records as the audit log, so that the two always agree.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import twisted
from prometheus_client import CollectorRegistry, Gauge, Info, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from zope.interface import implementer

from egress import __version__
from egress.interfaces import IAuditSink
from egress.model.decision import Stage
from egress.model.message_counts import MessageCounts
from egress.model.record import ExchangeRecord
from egress.model.statistics import (
    AuthorizerStats,
    BudgetStats,
    CacheStats,
    PolicyInUse,
    PolicyReloadStats,
    SharedCacheStats,
    SpoolStats,
)
from egress.observability.collectors import (
    ApprovalCollector,
    AuthorizerCollector,
    BudgetCollector,
    CacheCollector,
    MessageCollector,
    PolicyReloadCollector,
    RevocationCollector,
    SharedCollector,
    SourceCounter,
    SpoolCollector,
    TelemetryCollector,
)
from egress.observability.exchange_counters import ExchangeCounters
from egress.observability.rule_counters import RuleCounters
from egress.runtime.build import build_name

_MESSAGE: Final = Stage.MESSAGE.value


def process_registry() -> CollectorRegistry:
    """Make a registry with the metrics of a process: its resources and its versions."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    versions = {"version": __version__, "python": platform.python_version(), "twisted": twisted.__version__}
    Info("egress_build", "Versions of the program, of Python and of Twisted, and the build.", registry=registry).info(
        {**versions, "build": build_name()}
    )
    return registry


@implementer(IAuditSink)
class Metrics:
    """The metrics of one proxy, which count its exchanges.

    @ivar registry: a separate registry, so that several proxies can run in one process.
    """

    def __init__(self) -> None:
        self.registry = process_registry()
        gauge = partial(Gauge, registry=self.registry)
        counter = partial(SourceCounter, registry=self.registry)
        self._exchanges = ExchangeCounters()
        self._rules = RuleCounters()
        self.registry.register(self._exchanges)
        self.registry.register(self._rules)
        self._client_connections = gauge("egress_client_connections", "Open client connections.")
        self._rejected = counter(
            "egress_client_connections_rejected",
            "Client connections rejected at a limit, or by the PROXY protocol.",
        )
        self._http2_faults = counter(
            "egress_http2_client_errors", "HTTP/2 client connections closed because of an error of the client."
        )
        self._lookups = gauge("egress_dns_lookups_in_progress", "DNS lookups in progress.")
        self._lookups_queued = gauge("egress_dns_lookups_queued", "Queued DNS lookups.")
        self._body_memory = gauge("egress_body_memory_bytes", "Memory for request bodies that the authorizer inspects.")
        self._bodies_queued = gauge("egress_bodies_queued", "Requests whose bodies wait for memory.")
        self._host_contexts = gauge("egress_host_contexts", "Cached TLS contexts of intercepted hosts.")
        self._ca_expiry = gauge("egress_ca_not_after_timestamp_seconds", "Expiry of the CA certificate.")
        self._observing = gauge("egress_observe_mode", "1 in observe mode, which enforces no decision; otherwise 0.")
        self._audit_lost = counter(
            "egress_audit_lines_lost", "Audit log lines and audit store records that could not be written."
        )

    def set_connections_source(self, source: Callable[[], float]) -> None:
        """Set the function that returns the number of open client connections at each scrape."""
        self._client_connections.set_function(source)

    def set_rejected_source(self, source: Callable[[], float]) -> None:
        """Set the function that returns the number of rejected client connections."""
        self._rejected.source = source

    def set_http2_faults_source(self, source: Callable[[], float]) -> None:
        """Set the function that returns the number of HTTP/2 connections closed because of an error of the client."""
        self._http2_faults.source = source

    def set_lookups_source(self, in_progress: Callable[[], float], queued: Callable[[], float]) -> None:
        """Set the functions that return the number of DNS lookups in progress, and of queued lookups."""
        self._lookups.set_function(in_progress)
        self._lookups_queued.set_function(queued)

    def set_body_memory_source(self, held: Callable[[], float], queued: Callable[[], float]) -> None:
        """Set the functions that return the memory of buffered bodies and the number of bodies that wait for it."""
        self._body_memory.set_function(held)
        self._bodies_queued.set_function(queued)

    def set_host_contexts_source(self, source: Callable[[], float]) -> None:
        """Set the function that returns the number of cached TLS contexts."""
        self._host_contexts.set_function(source)

    def set_ca_expiry_source(self, source: Callable[[], float]) -> None:
        """Set the function that returns the expiry of the CA."""
        self._ca_expiry.set_function(source)

    def set_authorizer_source(self, source: Callable[[], AuthorizerStats], retries: Callable[[], int] | None) -> None:
        """Set the function that returns the statistics of authorization requests.

        @param source: returns the statistics.
        @param retries: returns the number of retried authorization requests; C{None}: they are never retried.
        """
        self.registry.register(AuthorizerCollector(source, retries))

    def set_cache_source(self, source: Callable[[], CacheStats]) -> None:
        """Set the function that returns the statistics of cached decisions."""
        self.registry.register(CacheCollector(source))

    def set_shared_source(
        self,
        source: Callable[[], SharedCacheStats] | None,
        reachable: Callable[[], bool],
        master: Callable[[], tuple[str | None, int] | None],
    ) -> None:
        """Set the functions that return the statistics of shared decisions, if there are any, whether the shared state
        can be used, and the master that sentinels named.
        """
        self.registry.register(SharedCollector(source, reachable, master))

    def set_budget_source(self, source: Callable[[], BudgetStats]) -> None:
        """Set the function that returns the statistics of budgets."""
        self.registry.register(BudgetCollector(source))

    def set_policy_source(self, source: Callable[[], PolicyReloadStats], policy: Callable[[], PolicyInUse]) -> None:
        """Set the functions that return the statistics of reloads of the embedded policy, and the policy in use."""
        self.registry.register(PolicyReloadCollector(source, policy))
        self._rules.set_policy_source(policy)

    def set_approvals_source(self, held: Callable[[], int], counts: Callable[[], Mapping[str, int]]) -> None:
        """Set the functions that return the pending approvals and the finished ones."""
        self.registry.register(ApprovalCollector(held, counts))

    def set_revocations_source(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Set the function that returns the number of revocations, by kind."""
        self.registry.register(RevocationCollector(counts))

    def set_messages_source(self, counts: MessageCounts) -> None:
        """Set the counts of messages that were authorized one by one."""
        self.registry.register(MessageCollector(counts))

    def set_observing(self, observing: bool) -> None:
        """Set whether observe mode is on, in which decisions are only recorded."""
        self._observing.set(int(observing))

    def set_store_queue_source(self, source: Callable[[], float]) -> None:
        """Set the function that returns the number of records that wait to be written to the audit store."""
        text = "Records that wait to be written to the audit store."
        Gauge("egress_audit_store_queued", text, registry=self.registry).set_function(source)

    def set_spool_source(self, source: Callable[[], SpoolStats | None]) -> None:
        """Set the function that returns the state of the spool of an audit store on a server."""
        self.registry.register(SpoolCollector(source))

    def set_telemetry_source(self, source: Callable[[], Mapping[str, int]]) -> None:
        """Set the function that returns how much OpenTelemetry data was not exported, by signal."""
        self.registry.register(TelemetryCollector(source))

    def set_audit_lost_source(self, source: Callable[[], float]) -> None:
        """Set the function that returns the number of audit lines and records lost."""
        self._audit_lost.source = source

    def write(self, record: ExchangeRecord) -> None:
        """Count one exchange (L{IAuditSink.write}).  A message is not an exchange."""
        if record.stage != _MESSAGE:
            self._exchanges.count(record)
        self._rules.count(record)

    def close(self) -> None:
        """Do nothing: nothing is open (L{IAuditSink.close})."""

    def render(self) -> tuple[bytes, str]:
        """Render all metrics in the Prometheus text format.

        @return: the text and its content type.
        """
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4
