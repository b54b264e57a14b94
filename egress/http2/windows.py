"""The growth of the windows in which a peer sends content (RFC 9113 section 5.2)."""

from __future__ import annotations

from typing import Final

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB

# The window of a stream at first.  It doubles each time the receiver has taken twice its size, up to the maximum.
WINDOW: Final = 64 * _KIB
MAX_WINDOW: Final = 4 * _MIB
# The sum by which the windows of one connection grow at most.  Together with L{WINDOW} for each stream it limits the
# content that waits for receivers that do not keep up.
MAX_GROWTH: Final = 8 * _MIB


class Window:
    """The window of one stream.

    @ivar size: its size.
    @ivar taken: the content that was taken while the window had this size.
    """

    __slots__ = ("size", "taken")

    def __init__(self) -> None:
        self.size = WINDOW
        self.taken = 0


class Windows:
    """The windows of one connection, which grow where the receiver keeps up: there, the window may limit the speed."""

    def __init__(self) -> None:
        self._growth = 0

    def grow(self, window: Window, size: int) -> int:
        """Note content that was taken.

        @param window: the window of the stream.
        @param size: the size of the content.
        @return: the size by which the window grows now.
        """
        window.taken += size
        growth = window.size
        if window.taken < 2 * growth or growth >= MAX_WINDOW or self._growth + growth > MAX_GROWTH:
            return 0
        self._growth += growth
        window.size += growth
        window.taken = 0
        return growth

    def forget(self, window: Window) -> None:
        """Handle the end of a stream."""
        self._growth -= window.size - WINDOW
