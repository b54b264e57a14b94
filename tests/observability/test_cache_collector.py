"""Tests for L{egress.observability.cache_collector}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.reuse import Reuse
from egress.observability.metrics import Metrics


class ReuseCollectorTests(SynchronousTestCase):
    """Decisions that are kept, as numbers."""

    def test_numbers(self) -> None:
        metrics = Metrics()
        metrics.watch_reuse(lambda: Reuse(hits=1, misses=2, stale=3, shared=4, entries=5))
        text = metrics.render()[0].decode()
        for line in (
            'egress_authorizer_cache_total{result="hit"} 1.0',
            'egress_authorizer_cache_total{result="miss"} 2.0',
            'egress_authorizer_cache_total{result="stale"} 3.0',
            'egress_authorizer_cache_total{result="shared"} 4.0',
            "egress_authorizer_cache_entries 5.0",
        ):
            with self.subTest(line):
                self.assertIn(f"\n{line}\n", text)
