"""Replies of the engine about a stream: its entries, and their numbers (Redis documentation, "Streams").

The first part of a number is a time in milliseconds, and the second part distinguishes entries of one millisecond.
"""

from __future__ import annotations

import re
from typing import Any, Final

_NUMBER: Final = re.compile(rb"[0-9]{1,20}-[0-9]{1,20}")


def is_number(number: object) -> bool:
    """Return whether the engine can have given a number to an entry."""
    return isinstance(number, bytes) and _NUMBER.fullmatch(number) is not None


def entries_of(reply: Any) -> list[Any] | None:
    """Return the events in a reply, each with its number; C{None}: it is not valid."""
    if reply is None:
        return []
    try:
        ((_, entries),) = reply
        is_valid = isinstance(entries, list) and all(is_number(number) for number, _ in entries)
    except (TypeError, ValueError):
        return None
    return entries if is_valid else None


def position(number: bytes) -> tuple[int, int]:
    """Return the place of an event in its stream."""
    moment, _, rest = number.partition(b"-")
    return int(moment), int(rest)


def earlier(number: bytes, milliseconds: int) -> bytes:
    """Return the number of an event that the engine would have received earlier."""
    moment, _, rest = number.partition(b"-")
    return b"%d-%b" % (max(0, int(moment) - milliseconds), rest) if milliseconds else number
