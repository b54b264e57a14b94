"""Content that waits for its receiver."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

_SMALL: Final = 4096


def add_event(waiting: deque[Any], event: Any) -> None:
    """Add an event to the waiting events.

    Content in small frames is joined.  Windows limit the bytes that wait, and an object for each byte would take forty
    times as much.
    """
    if waiting and isinstance(event, bytes) and len(event) < _SMALL:
        last = waiting[-1]
        if isinstance(last, bytes) and len(last) < _SMALL:
            waiting[-1] = last + event
            return
    waiting.append(event)
