"""Tests for L{egress.observability.rule_counters}."""

from __future__ import annotations

import attrs
from prometheus_client import CollectorRegistry
from twisted.trial.unittest import SynchronousTestCase

from egress.model.statistics import PolicyInUse
from egress.observability.rule_counters import MOST_RULES, OTHER, RuleCounters
from tests.observability.records import ALLOWED, REFUSED


class RuleCountersTests(SynchronousTestCase):
    """Decisions are counted by rule."""

    def setUp(self) -> None:
        self.counters = RuleCounters()
        self.registry = CollectorRegistry()
        self.registry.register(self.counters)

    def value(self, rule: str, verdict: str = "allow") -> float | None:
        return self.registry.get_sample_value("egress_rule_matches_total", {"rule": rule, "verdict": verdict})

    def samples(self) -> int:
        (metric,) = self.registry.collect()
        return len(metric.samples)

    def test_records_are_counted(self) -> None:
        for record in (ALLOWED, ALLOWED, attrs.evolve(ALLOWED, verdict="deny"), REFUSED):
            self.counters.count(record)
        self.assertEqual(self.value("items-write"), 2)
        self.assertEqual(self.value("items-write", "deny"), 1)
        self.assertEqual(self.samples(), 2, "a request without a rule is not counted")

    def test_rules_of_the_policy_are_counted_from_zero(self) -> None:
        """After a reload, the counts of rules that no longer exist remain: a counter never disappears."""
        policy = PolicyInUse("", 0.0, (("items-write", "allow"), ("never", "deny")))
        self.counters.set_policy_source(lambda: policy)
        self.counters.count(ALLOWED)
        self.assertEqual((self.value("items-write"), self.value("never", "deny")), (1, 0))
        policy = PolicyInUse("", 0.0, (("new", "deny"),))
        self.assertEqual((self.value("items-write"), self.value("new", "deny")), (1, 0))
        self.assertIsNone(self.value("never", "deny"))

    def test_the_number_of_rules_is_limited(self) -> None:
        """An authorization service can return another rule id for each request."""
        for number in range(MOST_RULES + 7):
            self.counters.count(attrs.evolve(ALLOWED, rule_id=f"rule {number}"))
        self.counters.count(attrs.evolve(ALLOWED, rule_id="rule 0"))
        self.assertEqual((self.value("rule 0"), self.value(OTHER)), (2, 7))
        self.assertEqual(self.samples(), MOST_RULES + 1)

    def test_the_rules_of_a_policy_are_limited(self) -> None:
        rules = tuple((f"rule {number}", "allow") for number in range(2 * MOST_RULES))
        self.counters.set_policy_source(lambda: PolicyInUse("", 0.0, rules))
        self.assertEqual(self.samples(), MOST_RULES)

    def test_long_ids_are_shortened(self) -> None:
        for _ in range(2):
            self.counters.count(attrs.evolve(ALLOWED, rule_id="x" * 1000))
        self.assertEqual(self.value("x" * 128), 2)
