"""Time windows of the week, as in C{"mon-fri 08:00-18:00"}."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

import attrs

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = 24 * 60
_HOURS: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]|24):([0-5][0-9])")
_HELP: Final = 'write days, hours or both, as in "mon-fri 08:00-18:00", "sat,sun" or "22:00-06:00"'


def compile_zone(name: str) -> tzinfo:
    """Return a time zone by its name in the IANA database.

    @raise ValueError: if the time zone is not found.
    """
    if name == "UTC":
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise ValueError("is not a time zone that this machine knows; write one as in Europe/Berlin, or UTC") from None


@attrs.frozen
class Window:
    """A range of hours on some days of the week.

    @ivar days: the days on which the window begins; 0 is Monday.
    @ivar begin: the start, in minutes after midnight.
    @ivar end: the end, up to 1440; if it is not after C{begin}, it is on the next day.
    """

    days: frozenset[int]
    begin: int = 0
    end: int = _DAY

    @classmethod
    def parse(cls, text: str) -> Window:
        """Parse a window.

        @raise ValueError: if the text is not valid.
        """
        words = text.lower().split()
        days = frozenset(range(7))
        if words and not words[0][0].isdigit():
            days = frozenset(day for part in words.pop(0).split(",") for day in _days(part))
        if not words:
            if not text.strip():
                raise ValueError(_HELP)
            return cls(days)
        match = _HOURS.fullmatch(words[0])
        if match is None or len(words) > 1:
            raise ValueError(_HELP)
        hour, minute, last_hour, last_minute = map(int, match.groups())
        begin, end = hour * 60 + minute, last_hour * 60 + last_minute
        if end > _DAY:
            raise ValueError("a day ends at 24:00")
        if begin == end:
            raise ValueError("its end equals its start; remove the hours for whole days")
        return cls(days, begin, end)

    def has(self, day: int, minute: int) -> bool:
        """Whether a minute of a day of the week is in the window."""
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        return (day in self.days and minute >= self.begin) or ((day - 1) % 7 in self.days and minute < self.end)


def _days(part: str) -> list[int]:
    first, dash, last = part.partition("-")
    try:
        begin = _DAYS.index(first)
        end = _DAYS.index(last) if dash else begin
    except ValueError:
        raise ValueError(_HELP) from None
    return [(begin + step) % 7 for step in range((end - begin) % 7 + 1)]


def is_within(windows: tuple[Window, ...], zone: tzinfo, now: float) -> bool:
    """Whether a time is in one of the windows.

    @param windows: the windows.
    @param zone: the time zone of the windows.
    @param now: seconds since the epoch.
    """
    local = datetime.fromtimestamp(now, zone)
    minute = local.hour * 60 + local.minute
    return any(window.has(local.weekday(), minute) for window in windows)


def until_boundary(windows: tuple[Window, ...], zone: tzinfo, now: float) -> float:
    """Return a lower bound of the seconds for which the result of L{is_within} does not change."""
    local = datetime.fromtimestamp(now, zone)
    passed = (local.hour * 60 + local.minute) * 60 + local.second + local.microsecond / 1e6
    borders = {border * 60 for window in windows for border in (window.begin, window.end)} | {_DAY * 60}
    seconds = min((border - passed) % (_DAY * 60) or _DAY * 60 for border in borders)
    # If clocks change before the boundary, stop at the change; the rest is computed then.
    if _offset(zone, now + seconds) != _offset(zone, now):
        low, high = 0.0, seconds
        while high - low > 1.0:
            middle = (low + high) / 2
            if _offset(zone, now + middle) == _offset(zone, now):
                low = middle
            else:
                high = middle
        return low
    return seconds


def _offset(zone: tzinfo, at: float) -> timedelta | None:
    return datetime.fromtimestamp(at, zone).utcoffset()
