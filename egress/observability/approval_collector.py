"""What becomes of requests that a person is asked about, as numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class ApprovalsCollector(Collector):
    """Looks when it is asked.

    @param held: tells how many requests wait for a person.
    @param counts: tells what became of the others, by outcome.
    """

    def __init__(self, held: Callable[[], int], counts: Callable[[], Mapping[str, int]]) -> None:
        self._held = held
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Give the numbers as metrics (C{Collector.collect})."""
        yield GaugeMetricFamily("egress_approvals_held", "Requests that wait for a person.", value=self._held())
        text = "Requests that a person was to be asked about, by what became of them."
        counter = CounterMetricFamily("egress_approvals", text, labels=["outcome"])
        for outcome, number in self._counts().items():
            counter.add_metric([outcome], number)
        yield counter
