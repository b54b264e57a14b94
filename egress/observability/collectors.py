"""What becomes of the questions to an authorizer, as numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from egress.model.authz_failure import Questions


class QuestionsCollector(Collector):
    """Looks when it is asked: nothing is counted twice.

    @param source: tells what there is to tell.
    @param retries: tells how many questions were sent once more; C{None}: none ever are.
    """

    def __init__(self, source: Callable[[], Questions], retries: Callable[[], int] | None) -> None:
        self._source = source
        self._retries = retries

    def collect(self) -> Iterator[Metric]:
        """Give the numbers as metrics (C{Collector.collect})."""
        questions = self._source()
        yield GaugeMetricFamily(
            "egress_authorizer_questions", "Questions that are with the authorizer.", value=questions.under_way
        )
        yield GaugeMetricFamily(
            "egress_authorizer_waiting", "Questions that wait for their turn.", value=questions.waiting
        )
        # One line for each state, so that several processes add up to how many are in which.
        breaker = GaugeMetricFamily(
            "egress_authorizer_breaker", "Processes whose circuit breaker is in a state.", labels=["state"]
        )
        for state, current in questions.states.items():
            breaker.add_metric([state], int(current))
        yield breaker
        for name, text, label, numbers in (
            ("outages", "Questions that had no decision, by what was wrong.", "kind", questions.outages),
            ("refused", "Questions that were not put, by why.", "reason", questions.refused),
        ):
            counter = CounterMetricFamily(f"egress_authorizer_{name}", text, labels=[label])
            for key, number in numbers.items():
                counter.add_metric([key], number)
            yield counter
        yield CounterMetricFamily(
            "egress_authorizer_breaker_opened", "How often the circuit breaker opened.", value=questions.opened
        )
        if self._retries is not None:
            text = "Questions that were sent once more, since a kept connection was closed."
            yield CounterMetricFamily("egress_authorizer_retries", text, value=self._retries())
