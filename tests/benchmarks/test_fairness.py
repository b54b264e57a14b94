"""Tests for L{benchmarks.fairness}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.fairness import ATTACKS, LIMIT, Times, passed, table
from egress.config.model import Limits
from egress.http.events import RequestHead
from egress.http.heads import HeadLimits
from egress.http.readers import RequestReader


class FairnessTests(SynchronousTestCase):
    """The benchmark measures what it claims to measure."""

    def test_percentiles(self) -> None:
        times = Times.of([number / 1000 for number in range(200, 0, -1)], [0.5, 0.25])
        self.assertEqual((times.p99, times.longest_health), (0.199, 0.5))
        self.assertAlmostEqual(times.median, 0.1005)
        self.assertEqual(Times.of([0.5], [0.5]).p99, 0.5)

    def test_the_limit(self) -> None:
        alone = Times.of([0.001], [0.001])
        for ratio, good in ((LIMIT - 1, True), (LIMIT + 1, False)):
            self.assertIs(passed({"none": alone, "denied": Times.of([ratio * 0.001], [0.001])}), good)

    def test_table(self) -> None:
        head, _, alone, attacked = table({"none": Times.of([0.001], [0.002]), "chunks": Times.of([0.003], [0.004])})
        self.assertEqual(head.count("|"), attacked.count("|"))
        self.assertEqual(alone, "| none | 1.0 ms | 1.0 ms | 1.0 | 2.0 ms |")
        self.assertEqual(attacked, "| chunks | 3.0 ms | 3.0 ms | 3.0 | 4.0 ms |")

    def test_attackers_send_what_the_proxy_accepts(self) -> None:
        limits = Limits()
        for kind, (first, repeated) in ATTACKS.items():
            with self.subTest(kind):
                reader = RequestReader(HeadLimits(limits.head, limits.fields, limits.target))
                reader.receive((first(80) if first is not None else b"") + repeated(80) * 3)
                self.assertIsInstance(reader.next_event(), RequestHead)
                event = reader.next_event()
                self.assertTrue(event == b"aaa" if first is not None else isinstance(event, RequestHead))
