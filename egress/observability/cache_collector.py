"""What becomes of decisions that are kept, as numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from egress.model.reuse import Reuse


class ReuseCollector(Collector):
    """Looks when it is asked.

    @param source: tells what there is to tell.
    """

    def __init__(self, source: Callable[[], Reuse]) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        """Give the numbers as metrics (C{Collector.collect})."""
        reuse = self._source()
        counter = CounterMetricFamily(
            "egress_authorizer_cache", "Questions, by where their decision came from.", labels=["result"]
        )
        for result, number in (
            ("hit", reuse.hits),
            ("miss", reuse.misses),
            ("stale", reuse.stale),
            ("shared", reuse.shared),
        ):
            counter.add_metric([result], number)
        yield counter
        yield GaugeMetricFamily(
            "egress_authorizer_cache_entries", "Decisions that are kept for reuse.", value=reuse.entries
        )
