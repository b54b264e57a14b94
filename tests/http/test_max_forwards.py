"""Tests for L{egress.http.max_forwards}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.max_forwards import decrement_max_forwards
from egress.model.errors import BadRequest, MaxForwardsReached


class MaxForwardsTests(SynchronousTestCase):
    """The proxy decrements Max-Forwards."""

    def test_decremented(self) -> None:
        for value, expected in ((b"5", b"4"), (b"1", b"0"), (b"012", b"11"), (b"9" * 20, b"9" * 19 + b"8")):
            with self.subTest(value):
                headers = ((b"A", b"b"), (b"max-Forwards", value))
                self.assertEqual(decrement_max_forwards(headers), ((b"A", b"b"), (b"max-Forwards", expected)))

    def test_without(self) -> None:
        headers = ((b"A", b"b"),)
        self.assertIs(decrement_max_forwards(headers), headers)

    def test_zero(self) -> None:
        for value in (b"0", b"000"):
            self.assertRaises(MaxForwardsReached, decrement_max_forwards, ((b"Max-Forwards", value),))

    def test_not_a_number(self) -> None:
        for value in (b"", b"-1", b"+1", b"1.0", b"x", b"1, 2", b"1" * 21, b"\xb2"):
            with self.subTest(value):
                self.assertRaises(BadRequest, decrement_max_forwards, ((b"Max-Forwards", value),))
        self.assertRaises(BadRequest, decrement_max_forwards, ((b"Max-Forwards", b"1"), (b"max-forwards", b"1")))
