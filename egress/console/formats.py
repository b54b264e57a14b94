"""Numbers and times as people read them: with units, and in one width."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Final

NONE: Final = "\u2013"
"""The text for a value that does not exist: an en dash."""

_UNITS: Final = ("kB", "MB", "GB", "TB", "PB")
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


def number(value: float) -> str:
    """Format an integer with a thin space between thousands."""
    return f"{value:,.0f}".replace(",", "\u202f")


def size(value: int) -> str:
    """Format a number of bytes, with at most three significant digits."""
    if value < 1000:
        return f"{value} B"
    power = 1
    while value >= 999.5 * 1000**power and power < len(_UNITS):
        power += 1
    scaled = value / 1000**power
    return f"{scaled:.{0 if scaled >= 99.95 else 1}f} {_UNITS[power - 1]}"


def milliseconds(value: float | None) -> str:
    """Format a duration in milliseconds."""
    if value is None:
        return NONE
    if value < 0.9995:
        return f"{value:.2f} ms"
    if value < 9.95:
        return f"{value:.1f} ms"
    if value < 999.5:
        return f"{value:.0f} ms"
    return seconds(value / 1000)


def seconds(value: float) -> str:
    """Format a duration in seconds, in the largest unit that it fills."""
    if value < 9.95:
        return f"{value:.1f} s"
    if value < 2 * _MINUTE:
        return f"{value:.0f} s"
    if value < 2 * _HOUR:
        return f"{value / _MINUTE:.0f} min"
    if value < 2 * _DAY:
        return f"{value / _HOUR:.0f} h"
    return f"{value / _DAY:.0f} d"


def moment(value: float) -> str:
    """Format a time in seconds since the epoch: the date and the time in UTC."""
    return f"{datetime.fromtimestamp(value, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def ago(value: float, now: float) -> str:
    """Format a time in seconds since the epoch relative to now."""
    return f"{seconds(max(0.0, now - value))} ago"


def clock_time(written: str) -> str:
    """Return the time of day of a time in RFC 3339, with milliseconds."""
    return written.partition("T")[2].rstrip("Z")


def day(written: str) -> str:
    """Return the date of a time in RFC 3339."""
    return written.partition("T")[0]
