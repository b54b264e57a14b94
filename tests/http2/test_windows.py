"""Tests for L{egress.http2.windows}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http2.windows import MAX_GROWTH, MAX_WINDOW, WINDOW, Window, Windows


class WindowsTests(SynchronousTestCase):
    """Windows grow where the receiver keeps up, within a limit for the connection."""

    def test_growth(self) -> None:
        windows, window = Windows(), Window()
        self.assertEqual(windows.grow(window, 2 * WINDOW - 1), 0)
        self.assertEqual(windows.grow(window, 1), WINDOW)
        self.assertEqual((window.size, window.taken), (2 * WINDOW, 0))
        self.assertEqual(windows.grow(window, 4 * WINDOW), 2 * WINDOW)

    def test_limit_of_a_stream(self) -> None:
        windows, window = Windows(), Window()
        while windows.grow(window, 2 * window.size):
            pass
        self.assertEqual(window.size, MAX_WINDOW)

    def test_limit_of_a_connection(self) -> None:
        windows = Windows()
        grown = [Window() for _ in range(200)]
        total = sum(windows.grow(window, 2 * WINDOW) for window in grown)
        self.assertEqual(total, MAX_GROWTH)
        windows.forget(grown[0])
        self.assertEqual(windows.grow(grown[-1], 0), WINDOW)
