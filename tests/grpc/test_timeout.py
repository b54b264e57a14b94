"""Tests for L{egress.grpc.timeout}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.grpc.timeout import parse_timeout, timeout_of


class TimeoutTests(SynchronousTestCase):
    """The values of C{grpc-timeout}."""

    def test_units(self) -> None:
        for value, seconds in {
            b"1H": 3600.0,
            b"2M": 120.0,
            b"3S": 3.0,
            b"500m": 0.5,
            b"0n": 0.0,
            b"99999999H": 99999999 * 3600.0,
        }.items():
            self.assertEqual(parse_timeout(value), seconds)
        self.assertAlmostEqual(parse_timeout(b"7u") or 0.0, 7e-6)

    def test_invalid(self) -> None:
        for value in (b"", b"1", b"S", b"1s", b"-1S", b"1.5S", b"999999999S", b"1 S", b"1S "):
            self.assertIsNone(parse_timeout(value))

    def test_of_a_request(self) -> None:
        self.assertEqual(timeout_of(((b"A", b"b"), (b"Grpc-Timeout", b"2S"))), 2.0)
        self.assertIsNone(timeout_of(((b"A", b"2S"),)))
