"""The windows in which a peer sends content, and their growth (RFC 9113 section 5.2).

A window limits the content that waits for its receiver. It also limits the speed, so that it grows where the receiver
keeps up. The growth has a limit for a stream, for all streams of a connection, and for all connections of a process.
"""

from __future__ import annotations

from typing import Final

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB

# The window of a stream at first.
WINDOW: Final = 64 * _KIB
MAX_WINDOW: Final = 4 * _MIB
# The sums by which the windows of one connection grow at most.
CLIENT_GROWTH: Final = _MIB
ORIGIN_GROWTH: Final = 8 * _MIB
# The sum of all connections with clients, and of all connections with origins.
PROCESS_GROWTH: Final = 64 * _MIB


class GrowthBudget:
    """The sum by which windows may grow.

    @param limit: the sum.
    @param parent: a budget of which this is a part.
    """

    __slots__ = ("_left", "_parent")

    def __init__(self, limit: int, parent: GrowthBudget | None = None) -> None:
        self._left = limit
        self._parent = parent

    def take(self, size: int, reserve: int = 0) -> bool:
        """Take a part, if it is at most half of the rest, or the smallest part.

        @param reserve: a part of the rest that must be left.
        """
        left = self._left - reserve
        if size > left or (size > WINDOW and 2 * size > left):
            return False
        if self._parent is not None and not self._parent.take(size):
            return False
        self._left -= size
        return True

    def give_back(self, size: int) -> None:
        """Give back a part."""
        self._left += size
        if self._parent is not None:
            self._parent.give_back(size)


class Windows:
    """The windows of the streams of one connection.

    A window doubles each time the receiver has taken twice its size. Where many streams carry content, the sum of their
    windows does not limit the speed, and they grow less.

    @param budget: the budget of the connection.
    """

    __slots__ = ("_budget", "_sizes", "_taken")

    def __init__(self, budget: GrowthBudget) -> None:
        self._budget = budget
        # The content that was taken after the last growth of a window, and the sizes of the windows that have grown.
        self._taken: dict[int, int] = {}
        self._sizes: dict[int, int] = {}

    def grow(self, stream_id: int, size: int) -> int:
        """Note content that was taken.

        @param size: the size of the content.
        @return: the size by which the window grows now.
        """
        taken = self._taken.get(stream_id, 0) + size
        if taken >= 2 * WINDOW:
            window = self._sizes.get(stream_id, WINDOW)
            reserve = WINDOW * len(self._taken)
            if taken >= 2 * window and window < MAX_WINDOW and self._budget.take(window, reserve):
                self._taken[stream_id] = 0
                self._sizes[stream_id] = 2 * window
                return window
        self._taken[stream_id] = taken
        return 0

    def forget(self, stream_id: int) -> None:
        """Handle the end of a stream, of which no content waits for the receiver any more."""
        if self._taken.pop(stream_id, None) is not None:
            window = self._sizes.pop(stream_id, WINDOW)
            if window > WINDOW:
                self._budget.give_back(window - WINDOW)

    def close(self) -> None:
        """Handle the end of the connection. Received content may still be taken."""
        for stream_id in list(self._taken):
            self.forget(stream_id)
        self._budget = GrowthBudget(0)
