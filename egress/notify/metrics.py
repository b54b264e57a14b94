"""The metrics of notifications."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import product

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from egress.config.notify import NotifyEvent
from egress.notify.backoff import Result


class NotificationMetrics(Collector):
    """Counts the messages by event and result, for each target.

    @param events: the events that are notified.
    @param waiting: returns the number of messages in the queues.
    """

    def __init__(self, events: Iterable[NotifyEvent], waiting: Callable[[], int]) -> None:
        self._counts = Counter(dict.fromkeys(product(events, Result), 0))
        self._waiting = waiting

    def count(self, event: NotifyEvent, result: Result) -> None:
        """Count the result of one message."""
        self._counts[event, result] += 1

    def collect(self) -> Iterator[Metric]:
        """Return the metrics (C{Collector.collect})."""
        counter = CounterMetricFamily(
            "egress_notifications", "Notifications for each webhook, by event and result.", labels=["event", "result"]
        )
        for (event, result), number in self._counts.items():
            counter.add_metric([event.value, result.value], number)
        yield counter
        yield GaugeMetricFamily(
            "egress_notifications_queued", "Notifications that are not delivered yet.", value=self._waiting()
        )
