"""Tests for L{egress.policy.match.time_windows}."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.policy.match.time_windows import Window, compile_zone, is_within, until_boundary

BERLIN: Final = compile_zone("Europe/Berlin")
_WINDOWS: Final = ("mon-fri 08:00-18:00", "22:00-06:00", "sat,sun", "fri-mon 23:00-01:30", "01:30-02:30", "10:00-24:00")


def at(text: str, zone: str = "Europe/Berlin") -> float:
    """Return a local time in seconds since the epoch."""
    return datetime.fromisoformat(text).replace(tzinfo=compile_zone(zone)).timestamp()


class WindowTests(SynchronousTestCase):
    """Time windows."""

    # 2 March 2026 is a Monday.
    CASES: dict[str, tuple[list[str], list[str]]] = {
        "mon-fri 08:00-18:00": (
            ["2026-03-02T08:00", "2026-03-06T17:59:59"],
            ["2026-03-02T07:59:59", "2026-03-02T18:00", "2026-03-07T12:00"],
        ),
        "08:00-24:00": (["2026-03-01T23:59"], ["2026-03-02T00:00"]),
        "22:00-06:00": (["2026-03-02T22:00", "2026-03-02T05:59"], ["2026-03-02T06:00", "2026-03-02T21:59"]),
        # The day is that on which the window begins.
        "fri 22:00-06:00": (["2026-03-06T22:00", "2026-03-07T05:00"], ["2026-03-06T05:00", "2026-03-07T22:00"]),
        "sun 22:00-06:00": (["2026-03-02T05:00"], ["2026-03-01T05:00"]),
        "sat,SUN": (["2026-03-07T00:00", "2026-03-08T23:59"], ["2026-03-06T23:59", "2026-03-09T00:00"]),
        "fri-mon": (["2026-03-06T12:00", "2026-03-08T12:00", "2026-03-02T12:00"], ["2026-03-03T12:00"]),
    }

    def test_cases(self) -> None:
        for text, (inside, outside) in self.CASES.items():
            windows = (Window.parse(text),)
            for moment in inside + outside:
                with self.subTest(text, moment=moment):
                    self.assertIs(is_within(windows, BERLIN, at(moment)), moment in inside)

    def test_zones(self) -> None:
        windows = (Window.parse("08:00-09:00"),)
        self.assertTrue(is_within(windows, timezone.utc, at("2026-03-02T09:30")))
        self.assertFalse(is_within(windows, BERLIN, at("2026-03-02T09:30")))
        self.assertIs(compile_zone("UTC"), timezone.utc)

    def test_over_midnight(self) -> None:
        """A window that ends after midnight belongs to the day on which it begins."""
        windows = (Window.parse("fri,sun 22:00-06:00"),)
        for moment, inside in (
            ("2026-03-06T21:59", False),  # Friday
            ("2026-03-06T22:00", True),
            ("2026-03-07T05:59", True),
            ("2026-03-07T06:00", False),
            ("2026-03-07T23:00", False),  # Saturday
            ("2026-03-08T03:00", False),
            ("2026-03-08T22:30", True),  # Sunday
            ("2026-03-09T05:00", True),
            ("2026-03-06T05:00", False),  # the window began on Thursday
        ):
            self.assertIs(is_within(windows, BERLIN, at(moment)), inside, moment)

    def test_skipped_and_repeated_hours(self) -> None:
        """Windows use local time: in spring the hour does not exist, in autumn it occurs twice."""
        for text, day, seconds in (
            ("02:00-03:00", "2026-03-29", 0),
            ("01:00-04:00", "2026-03-29", 7200),
            ("22:00-06:00", "2026-03-28", 7 * 3600),
            ("02:00-03:00", "2026-10-25", 7200),
            ("22:00-06:00", "2026-10-24", 9 * 3600),
        ):
            noon = at(f"{day}T00:00") + (12 * 3600 if text.startswith("22") else 0)
            windows = (Window.parse(text),)
            inside = sum(is_within(windows, BERLIN, noon + minute * 60) for minute in range(22 * 60))
            self.assertEqual(inside * 60, seconds, (text, day))

    def test_rejected(self) -> None:
        for text in (
            "",
            " ",
            "day",
            "mon-",
            "mon 8:00-9:00",
            "08:00",
            "08:00-08:00",
            "00:00-24:30",
            "mon 08:00-09:00 x",
            "08:00-09:00 mon",
        ):
            with self.subTest(text):
                self.assertRaises(ValueError, Window.parse, text)
        for text in ("", "Mars", "../etc/passwd", "/etc/passwd", "Europe", "a\0b", "x" * 5000):
            with self.subTest(text):
                self.assertRaises(ValueError, compile_zone, text)

    def test_boundaries(self) -> None:
        windows = (Window.parse("mon-fri 08:00-18:00"),)
        self.assertEqual(until_boundary(windows, BERLIN, at("2026-03-02T07:59:30")), 30.0)
        self.assertEqual(until_boundary(windows, BERLIN, at("2026-03-02T17:00")), 3600.0)
        self.assertEqual(until_boundary(windows, BERLIN, at("2026-03-02T08:00")), 36000.0)

    def test_end_of_daylight_saving_time(self) -> None:
        """On 25 October 2026, the clock goes back from three to two, so a window repeats."""
        windows = (Window.parse("02:00-02:30"),)
        before = at("2026-10-25T02:40")
        self.assertFalse(is_within(windows, BERLIN, before))
        self.assertTrue(is_within(windows, BERLIN, before + 1200))
        self.assertLessEqual(until_boundary(windows, BERLIN, before), 1200)
        self.assertGreater(until_boundary(windows, BERLIN, before), 1190)

    @given(
        st.sampled_from(_WINDOWS).map(Window.parse),
        # The weeks of the clock changes in spring and in autumn.
        st.one_of(st.integers(1774400000, 1775000000), st.integers(1792500000, 1793100000)),
        st.floats(0, 0.999),
    )
    def test_no_change_before_the_boundary(self, window: Window, now: int, share: float) -> None:
        lasts = until_boundary((window,), BERLIN, now)
        self.assertGreaterEqual(lasts, 0)
        before = is_within((window,), BERLIN, now)
        for step in (share, 0.5, 0.999):
            self.assertIs(is_within((window,), BERLIN, now + lasts * step), before)
