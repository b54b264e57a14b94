"""The metrics of the checks of policy URLs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import attrs
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@attrs.frozen
class CheckStats:
    """The checks of one policy.

    @ivar results: the number of checks by result.
    @ivar checked: the time of the last successful check, in seconds since the epoch; C{None}: there was none.
    """

    results: Mapping[str, int]
    checked: float | None


class PolicyCheckMetrics(Collector):
    """The checks of all policies that have a URL.

    @param stats: returns the checks by the label of the policy.
    """

    def __init__(self, stats: Callable[[], Mapping[str, CheckStats]]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """Return the metrics (C{Collector.collect})."""
        checks = CounterMetricFamily(
            "egress_policy_checks", "Checks of policy URLs, by policy and result.", labels=["policy", "result"]
        )
        last = GaugeMetricFamily(
            "egress_policy_last_check_timestamp_seconds",
            "Time of the last successful check of a policy URL.",
            labels=["policy"],
        )
        for label, stats in self._stats().items():
            for result, number in stats.results.items():
                checks.add_metric([label, result], number)
            last.add_metric([label], stats.checked or 0.0)
        yield checks
        yield last
