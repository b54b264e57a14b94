"""Counters of decisions by rule, with a limited number of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from prometheus_client.core import CounterMetricFamily, Metric

from egress.model.record import ExchangeRecord
from egress.model.statistics import PolicyInUse

MOST_RULES: Final = 1000
"""The maximum number of combinations of rule and verdict; an authorization service can return any rule id."""

OTHER: Final = "other"
"""The value of the label for rules beyond this number."""

_LONGEST: Final = 128


class RuleCounters:
    """Counts the decisions of each rule.

    The rules of the embedded policy are counted from zero.  Therefore, a rate includes the first match of a rule, and a
    rule that never matched is visible.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._policy: Callable[[], PolicyInUse] | None = None

    def set_policy_source(self, source: Callable[[], PolicyInUse]) -> None:
        """Set the function that returns the embedded policy."""
        self._policy = source

    def count(self, record: ExchangeRecord) -> None:
        """Count one exchange, if a rule decided."""
        rule = record.rule_id
        if rule is None:
            return
        key = rule, record.verdict
        counts = self._counts
        if key not in counts:
            key = rule[:_LONGEST], record.verdict
            if key not in counts and len(counts) >= MOST_RULES:
                key = OTHER, record.verdict
        counts[key] = counts.get(key, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """Return the metrics (C{Collector.collect})."""
        found = dict(self._counts)
        if self._policy is not None:
            more = ((rule[:_LONGEST], verdict) for rule, verdict in self._policy().rules)
            new = (key for key in more if key not in found)
            found.update(dict.fromkeys(islice(new, max(0, MOST_RULES - len(found))), 0))
        counter = CounterMetricFamily(
            "egress_rule_matches", "Decisions, by rule and verdict.", labels=["rule", "verdict"]
        )
        for key, number in found.items():
            counter.add_metric(key, number)
        yield counter
