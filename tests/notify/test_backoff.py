"""Tests for L{egress.notify.backoff}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.notify.backoff import (
    LAST_DELAY,
    MAX_RETRY_AFTER,
    Pace,
    Result,
    final_result,
    parse_retry_after,
    retry_delay,
)


class ResultTests(SynchronousTestCase):
    """A response is final, or the message is sent again."""

    def test_statuses(self) -> None:
        for statuses, expected in (
            ((200, 202, 204, 299), Result.DELIVERED),
            ((301, 307, 400, 401, 403, 404, 410, 413), Result.REJECTED),
            ((408, 425, 429, 500, 502, 503, 599), None),
        ):
            for status in statuses:
                with self.subTest(status):
                    self.assertIs(final_result(status), expected)


class DelayTests(SynchronousTestCase):
    """The delay doubles up to a limit, and a receiver can increase it."""

    def test_doubling(self) -> None:
        self.assertEqual([retry_delay(attempts, 1.0, None) for attempts in (1, 2, 3, 6)], [1.0, 2.0, 4.0, 32.0])
        for attempts in (7, 100, 10_000):
            self.assertEqual(retry_delay(attempts, 1.0, None), LAST_DELAY)

    def test_jitter(self) -> None:
        self.assertEqual((retry_delay(3, 0.0, None), retry_delay(3, 0.5, None)), (2.0, 3.0))

    def test_retry_after(self) -> None:
        self.assertEqual(retry_delay(1, 1.0, 30.0), 30.0)
        self.assertEqual(retry_delay(6, 1.0, 5.0), 32.0)
        self.assertEqual(retry_delay(1, 1.0, 1e9), MAX_RETRY_AFTER)

    def test_parse(self) -> None:
        now = 784111777.0
        for value, expected in (
            (None, None),
            ("120", 120.0),
            (" 0 ", 0.0),
            ("9" * 40, 999999999.0),
            ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
            ("Sun, 06 Nov 1994 08:50:37 -0000", 60.0),
            ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
            ("soon", None),
            ("-5", None),
            ("\u0665", None),
            ("", None),
        ):
            with self.subTest(value):
                self.assertEqual(parse_retry_after(value, now), expected)


class PaceTests(SynchronousTestCase):
    """A burst is possible, and then one message in an interval."""

    def test_pace(self) -> None:
        pace = Pace(2, 10.0)
        self.assertEqual([pace.take(100.0), pace.take(100.0), pace.take(100.0)], [0.0, 0.0, 10.0])
        self.assertEqual(pace.take(104.0), 6.0)
        self.assertEqual([pace.take(110.0), pace.take(110.0)], [0.0, 10.0])

    def test_the_burst_is_limited(self) -> None:
        pace = Pace(2, 10.0)
        self.assertEqual([pace.take(1e6) for _ in range(3)], [0.0, 0.0, 10.0])

    def test_rounding(self) -> None:
        pace = Pace(1, 0.1)
        now = 0.0
        self.assertEqual(pace.take(now), 0.0)
        for _ in range(10):
            now = now + 0.1 / 3 + 0.1 / 3 + 0.1 / 3
            self.assertEqual(pace.take(now), 0.0)
