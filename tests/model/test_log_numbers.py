"""Tests for L{egress.model.log_numbers}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.log_numbers import milliseconds, written_time


class FormatTests(SynchronousTestCase):
    """Times are in UTC, and durations are rounded."""

    def test_written_time(self) -> None:
        self.assertEqual(written_time(1_700_000_000.1239), "2023-11-14T22:13:20.123Z")
        self.assertEqual(written_time(0), "1970-01-01T00:00:00.000Z")

    def test_milliseconds(self) -> None:
        self.assertEqual([milliseconds(each) for each in (0, 0.0012345, 2.0000006)], [0.0, 1.235, 2000.001])
