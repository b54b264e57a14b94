"""Tests for L{egress.console.formats}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.console import formats


class FormatTests(SynchronousTestCase):
    """Numbers have units, and a readable number of digits."""

    def test_numbers(self) -> None:
        table: tuple[tuple[Any, Any, str], ...] = (
            (formats.number, 999, "999"),
            (formats.number, 1234567, "1\u202f234\u202f567"),
            (formats.size, 0, "0 B"),
            (formats.size, 999, "999 B"),
            (formats.size, 1000, "1.0 kB"),
            (formats.size, 99_949, "99.9 kB"),
            (formats.size, 999_499, "999 kB"),
            (formats.size, 999_500, "1.0 MB"),
            (formats.size, 5 * 10**18, "5000 PB"),
            (formats.milliseconds, None, "\u2013"),
            (formats.milliseconds, 0.25, "0.25 ms"),
            (formats.milliseconds, 0.9996, "1.0 ms"),
            (formats.milliseconds, 9.96, "10 ms"),
            (formats.milliseconds, 999.6, "1.0 s"),
            (formats.seconds, 9.96, "10 s"),
            (formats.seconds, 120, "2 min"),
            (formats.seconds, 7200, "2 h"),
            (formats.seconds, 172_800, "2 d"),
            (formats.moment, 0, "1970-01-01 00:00:00 UTC"),
            (formats.clock_time, "2027-01-15T08:00:00.125Z", "08:00:00.125"),
            (formats.day, "2027-01-15T08:00:00.125Z", "2027-01-15"),
        )
        for function, value, expected in table:
            with self.subTest((function.__name__, value)):
                self.assertEqual(function(value), expected)

    def test_ago(self) -> None:
        self.assertEqual(formats.ago(40, 100), "60 s ago")
        self.assertEqual(formats.ago(101, 100), "0.0 s ago")
