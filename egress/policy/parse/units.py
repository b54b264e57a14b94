"""The parsers of sizes, durations and ports."""

from __future__ import annotations

import re
from typing import Final

_SIZE: Final = re.compile(r"([0-9]{1,15}) ?(B|KB|KiB|MB|MiB|GB|GiB|TB|TiB)?")
_UNITS: Final = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PORTS: Final = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_LONGEST: Final = 366 * 86400.0


def size(value: object) -> int:
    """Parse a size in bytes: an integer, or text as in C{"64KiB"}.

    @raise ValueError: if the value is not a size.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('a size is a number of bytes, or a number and a unit as in "64KiB" or "10MB"')
    return int(match[1]) * _UNITS[match[2] or "B"]


def duration(value: object) -> float:
    """Parse a duration in seconds: a number greater than zero, or text as in C{"90s"}.

    @raise ValueError: if the value is not a duration, or is more than a year.
    """
    seconds = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(min(value, 2 * _LONGEST))
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value)) is not None:
        seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds is None or not 0 < seconds <= _LONGEST:
        raise ValueError('a duration is a number of seconds, or a number and a unit as in "90s", "15m" or "8h"')
    return seconds


def ports(value: object) -> range:
    """Parse a port, or a range of ports as in C{"8000-8999"}.

    @raise ValueError: if the value is not a port or a range of ports.
    """
    if isinstance(value, str) and (match := _PORTS.fullmatch(value)) is not None:
        found = range(int(match[1]), int(match[2]) + 1)
    elif isinstance(value, int) and not isinstance(value, bool):
        found = range(value, value + 1)
    else:
        raise ValueError('write a number, or a range as in "8000-8999"')
    if not found:
        raise ValueError("the range is empty; write the lower port first")
    if found[0] < 1 or found[-1] > 65535:
        raise ValueError("a port is 1 to 65535")
    return found
