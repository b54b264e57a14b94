"""The buffers of TLS sessions that are idle, which OpenSSL does not make smaller again.

After a handshake, the buffers of a session hold 2 to 5 KiB, and after a bulk transfer more than 100 KiB. This is more
than the rest of an idle connection takes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from typing import Protocol as Structure

# The time after which the buffers of a session are freed. A session that is in use pays for new ones no more often.
IDLE_SECONDS: Final = 2.0
# The number of sessions whose buffers are freed when one more session is added.
_MAX_FREED: Final = 4


class Buffers(Structure):
    """The interface of a session with buffers."""

    def free_buffers(self) -> bool:
        """Free the buffers.

        @return: whether they are free; false if they hold data.
        """


class IdleBuffers:
    """Frees the buffers of sessions that have used them some time ago.

    This happens when another session is added, and not on a timer: a proxy without new connections and bulk transfers
    does not need more memory. The work in one turn of the reactor is bounded.

    @param seconds: returns the current time.
    """

    __slots__ = ("_added", "_seconds")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        # In the order of the times.
        self._added: OrderedDict[Buffers, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._added)

    def add(self, buffers: Buffers) -> None:
        """Free the buffers of a session later; before that, free the buffers of earlier sessions."""
        now = self._seconds()
        added = self._added
        for _ in range(_MAX_FREED):
            oldest = next(iter(added), None)
            if oldest is None or now - added[oldest] < IDLE_SECONDS:
                break
            del added[oldest]
            if not oldest.free_buffers():
                added[oldest] = now
        added[buffers] = now

    def discard(self, buffers: Buffers) -> None:
        """Forget a session that has ended."""
        self._added.pop(buffers, None)
