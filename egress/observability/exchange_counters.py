"""Counters of exchanges with minimal cost per exchange.

The counters of prometheus_client lock and look up at each step, seven times per exchange.  Here they are integers,
which become metrics at each scrape.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from egress.model.errors import OUTCOMES
from egress.model.record import ExchangeRecord

# Without the type, the compiler gives each number of a tuple a variable.
_Bounds = tuple[float, ...]
_DECISION: Final[_Bounds] = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_EXCHANGE: Final[_Bounds] = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

# Only these label values exist: labels that a client or an authorizer chooses would grow without bound.
_OTHER: Final = "other"
_VERDICTS: Final = frozenset({"allow", "deny", "unavailable", "rejected", "failed"})
_OUTCOMES: Final = frozenset({"forwarded", *(outcome.code for outcome in OUTCOMES.values())})
_KNOWN: Final = frozenset((verdict, outcome) for verdict in _VERDICTS for outcome in _OUTCOMES)
# Counted from zero, so that the first exchange of a kind changes a rate.
_INITIAL: Final = (("allow", "forwarded"), *((outcome.verdict, outcome.code) for outcome in OUTCOMES.values()))
_OBSERVED: Final = ("deny", "unavailable")
_CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
_CLIENT_VERSIONS: Final = ("1.0", "1.1", "2")
_ORIGIN_VERSIONS: Final = ("1.1", "2")
_SIDES: Final = ("client", "origin")


class Distribution:
    """A histogram: for each of some bounds, the number of values up to it; and the sum of all values.

    @param bounds: upper bounds, ascending; values above all of them are counted, too.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.sum = 0.0
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return the buckets for Prometheus: for each bound, the number of values up to it."""
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True))


class ExchangeCounters:
    """Counters of exchanges by verdict, outcome and status, with sizes and durations."""

    def __init__(self) -> None:
        self._decisions: defaultdict[tuple[str, str], int] = defaultdict(int, dict.fromkeys(_INITIAL, 0))
        self._responses: defaultdict[str, int] = defaultdict(int, dict.fromkeys(_CLASSES, 0))
        self._decision_seconds = Distribution(_DECISION)
        self._exchange_seconds = Distribution(_EXCHANGE)
        self._observed = dict.fromkeys(_OBSERVED, 0)
        self._versions = {(one, other): 0 for one in (*_CLIENT_VERSIONS, None) for other in (*_ORIGIN_VERSIONS, None)}
        self._sent = 0
        self._received = 0

    def count(self, record: ExchangeRecord) -> None:
        """Count one exchange."""
        what = (record.verdict, record.outcome)
        self._decisions[what if what in _KNOWN else (_OTHER, _OTHER)] += 1
        status = 0 if record.status is None else record.status // 100
        self._responses[_CLASSES[status] if 0 <= status <= 5 else _OTHER] += 1
        if record.observed in self._observed:
            self._observed[record.observed] += 1
        if record.decision_seconds is not None:
            self._decision_seconds.observe(record.decision_seconds)
        self._exchange_seconds.observe(record.duration)
        versions = (record.client_http, record.origin_http)
        if versions in self._versions:
            self._versions[versions] += 1
        self._sent += record.bytes_sent
        self._received += record.bytes_received

    def collect(self) -> Iterator[Metric]:
        """Return the metrics (C{Collector.collect})."""
        decisions = CounterMetricFamily(
            "egress_decisions", "Exchanges, by verdict and outcome.", labels=["verdict", "outcome"]
        )
        for what, number in self._decisions.items():
            decisions.add_metric(what, number)
        yield decisions
        responses = CounterMetricFamily(
            "egress_responses", "Responses to clients, by class of status code.", labels=["status"]
        )
        for status, number in self._responses.items():
            responses.add_metric([status], number)
        yield responses
        observed = CounterMetricFamily(
            "egress_observed",
            "Exchanges that observe mode forwarded, by the verdict that it did not enforce.",
            labels=["verdict"],
        )
        for verdict, number in self._observed.items():
            observed.add_metric([verdict], number)
        yield observed
        versions = CounterMetricFamily(
            "egress_http_exchanges", "Exchanges, by side and version of HTTP.", labels=["side", "version"]
        )
        for side, known in enumerate((_CLIENT_VERSIONS, _ORIGIN_VERSIONS)):
            for version in known:
                number = sum(count for pair, count in self._versions.items() if pair[side] == version)
                versions.add_metric([_SIDES[side], version], number)
        yield versions
        for name, text, distribution in (
            ("egress_decision_seconds", "Duration of a decision.", self._decision_seconds),
            (
                "egress_exchange_seconds",
                "Duration of an exchange, from the request head to the end.",
                self._exchange_seconds,
            ),
        ):
            yield HistogramMetricFamily(name, text, buckets=distribution.buckets(), sum_value=distribution.sum)
        for name, text, size in (
            ("egress_sent_bytes", "Content bytes from clients to origins.", self._sent),
            ("egress_received_bytes", "Content bytes from origins to clients.", self._received),
        ):
            yield CounterMetricFamily(name, text, value=size)
