"""Tests for L{egress.http2.windows}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http2.windows import CLIENT_GROWTH, MAX_WINDOW, ORIGIN_GROWTH, WINDOW, GrowthBudget, Windows


def grow(windows: Windows, stream_id: int) -> int:
    """Take as much content as makes the window grow; return its growth."""
    total = 0
    while growth := windows.grow(stream_id, 2 * (WINDOW + total)):
        total += growth
    return total


class WindowsTests(SynchronousTestCase):
    """Windows grow where the receiver keeps up, within limits."""

    def test_growth(self) -> None:
        windows = Windows(GrowthBudget(ORIGIN_GROWTH))
        self.assertEqual(windows.grow(1, 2 * WINDOW - 1), 0)
        self.assertEqual(windows.grow(1, 1), WINDOW)
        self.assertEqual(windows.grow(1, 4 * WINDOW - 1), 0)
        self.assertEqual(windows.grow(1, 1), 2 * WINDOW)

    def test_limit_of_a_stream(self) -> None:
        self.assertEqual(WINDOW + grow(Windows(GrowthBudget(100 * MAX_WINDOW)), 1), MAX_WINDOW)

    def test_limit_of_a_connection(self) -> None:
        """A stream gets at most half of the rest, without the first windows of the streams."""
        windows = Windows(GrowthBudget(CLIENT_GROWTH))
        grown = [grow(windows, stream_id) for stream_id in range(1, 20, 2)]
        self.assertEqual([size // WINDOW for size in grown], [7, 3, 1, 1, 0, 0, 0, 0, 0, 0])
        self.assertEqual(grow(Windows(GrowthBudget(CLIENT_GROWTH)), 1), 7 * WINDOW)

    def test_many_streams(self) -> None:
        """Their windows do not grow."""
        windows = Windows(GrowthBudget(CLIENT_GROWTH))
        for stream_id in range(1, 34, 2):
            self.assertEqual(windows.grow(stream_id, 1), 0)
        self.assertEqual([grow(windows, stream_id) for stream_id in range(1, 34, 2)], [0] * 17)

    def test_the_end_of_a_stream(self) -> None:
        windows = Windows(GrowthBudget(4 * WINDOW))
        self.assertEqual([grow(windows, stream_id) for stream_id in (1, 3, 5)], [WINDOW, WINDOW, 0])
        for stream_id in (3, 3, 5, 7):
            windows.forget(stream_id)
        self.assertEqual([grow(windows, stream_id) for stream_id in (9, 11)], [WINDOW, 0])

    def test_limit_of_a_process(self) -> None:
        process = GrowthBudget(5 * WINDOW)
        one, two = (Windows(GrowthBudget(ORIGIN_GROWTH, process)) for _ in range(2))
        self.assertEqual(grow(one, 1), 3 * WINDOW)
        self.assertEqual([grow(two, stream_id) for stream_id in (1, 3, 5)], [WINDOW, WINDOW, 0])
        two.forget(1)
        self.assertEqual([grow(two, stream_id) for stream_id in (5, 7)], [WINDOW, 0])
        one.close()
        self.assertEqual((grow(one, 1), grow(two, 7)), (0, WINDOW))
