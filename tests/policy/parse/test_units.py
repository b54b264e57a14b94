"""Tests for L{egress.policy.parse.units}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.parse.units import duration, ports, size


class QuantityTests(SynchronousTestCase):
    """Sizes, durations and ports."""

    def test_sizes(self) -> None:
        for value, expected in (
            (0, 0),
            (7, 7),
            ("7", 7),
            ("7B", 7),
            ("64KiB", 65536),
            ("10 MB", 10_000_000),
            ("1GiB", 1 << 30),
        ):
            self.assertEqual(size(value), expected)
        for wrong in (-1, True, 1.5, "", "KiB", "1kib", "1 parsec", "-1", None, "9" * 16):
            with self.subTest(wrong):
                self.assertRaises(ValueError, size, wrong)

    def test_durations(self) -> None:
        for value, expected in (
            (1, 1.0),
            (0.5, 0.5),
            ("1.5s", 1.5),
            ("250ms", 0.25),
            ("2 m", 120.0),
            ("8h", 28800.0),
            ("1d", 86400.0),
        ):
            self.assertEqual(duration(value), expected)
        for wrong in (0, -1, True, "0s", "5", "s", "1w", "9000d", float("nan"), float("inf"), 10**400, None):
            with self.subTest(wrong):
                self.assertRaises(ValueError, duration, wrong)

    def test_ports(self) -> None:
        self.assertEqual(ports(80), range(80, 81))
        self.assertEqual(ports("8000-8999"), range(8000, 9000))
        for wrong in (0, 65536, True, "80", "9-8", "0-5", "1-65536", 1.0):
            with self.subTest(wrong):
                self.assertRaises(ValueError, ports, wrong)
