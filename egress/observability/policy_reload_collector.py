"""A policy that is read again whenever its files change, as numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from egress.model.policy_reads import PolicyReads


class PolicyCollector(Collector):
    """Looks at a policy whenever the numbers are asked for."""

    def __init__(self, source: Callable[[], PolicyReads]) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        """Give the numbers as metrics (C{Collector.collect})."""
        state = self._source()
        yield GaugeMetricFamily("egress_policy_rules", "Rules of the policy in use.", value=state.rules)
        yield GaugeMetricFamily(
            "egress_policy_current",
            "1 while the policy in use is the one in its files, 0 while that cannot be used.",
            value=state.current,
        )
        yield CounterMetricFamily("egress_policy_reads", "How often the policy was read again.", value=state.reads)
        yield CounterMetricFamily(
            "egress_policy_failures", "How often what was in its files could not be used.", value=state.failures
        )
