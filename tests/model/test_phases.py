"""Tests for L{egress.model.phases}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.phases import CONNECT, DECISION, READ, durations


class DurationsTests(SynchronousTestCase):
    """Each phase lasts until the next one, and the last one until the end."""

    def test_one_after_the_other(self) -> None:
        marks = [(READ, 50.0), (DECISION, 50.25), (READ, 51.0), (DECISION, 51.5), (CONNECT, 51.5)]
        self.assertEqual(
            durations(marks, 3.0), [(READ, 0.25), (DECISION, 0.75), (READ, 0.5), (DECISION, 0.0), (CONNECT, 1.5)]
        )

    def test_none(self) -> None:
        self.assertEqual(durations((), 3.0), [])

    def test_a_clock_that_was_set_back(self) -> None:
        self.assertEqual(durations([(READ, 50.0), (DECISION, 49.0)], 3.0), [(READ, 0.0), (DECISION, 4.0)])
