"""The lines of a byte stream, such as the output of another process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

# Longer than any line that a process of the proxy writes.
_LONGEST_LINE: Final = 1024 * 1024


class Lines:
    """Splits a byte stream into lines.

    @param take: is called with each line, without its line feed.
    @param lost: is called for a line that is incomplete or too long.
    """

    def __init__(self, take: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._take = take
        self._lost = lost
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> None:
        """Receive a piece."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._skipping:
                self._skipping = False
            else:
                self._take(line)
        if len(self._rest) > _LONGEST_LINE:
            if not self._skipping:
                self._lost()
            self._skipping = True
            self._rest = b""

    def end(self) -> None:
        """End the stream."""
        if self._rest and not self._skipping:
            self._lost()
        self._rest = b""
