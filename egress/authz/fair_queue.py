"""Questions that wait for their turn: each client has its own line, and the lines take turns.  Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """What waits, by client.

    However much one client has waiting, the next item of another client is at most one round away.  One client alone
    may use all of the room; the room of a client that has more than others is theirs once it is needed.
    """

    def __init__(self) -> None:
        # The line whose turn it is comes first.
        self._lines: OrderedDict[str, deque[T]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, client: str, item: T) -> None:
        """Put an item at the end of its client's line."""
        self._lines.setdefault(client, deque()).append(item)
        self._length += 1

    @property
    def next(self) -> T:
        """The item whose turn it is.

        @raise IndexError: when nothing waits.
        """
        for line in self._lines.values():
            return line[0]
        raise IndexError("nothing waits")

    def take(self) -> T:
        """Remove the item whose turn it is; then it is the turn of the next client.

        @raise IndexError: when nothing waits.
        """
        item = self.next
        client, line = next(iter(self._lines.items()))
        line.popleft()
        self._length -= 1
        if line:
            self._lines.move_to_end(client)
        else:
            del self._lines[client]
        return item

    def remove(self, client: str, item: T) -> None:
        """Remove an item, wherever it is in its client's line.

        @raise KeyError: when the client has nothing waiting.
        @raise ValueError: when the client does not have this item waiting.
        """
        line = self._lines[client]
        line.remove(item)
        self._length -= 1
        if not line:
            del self._lines[client]

    def displaced_by(self, client: str) -> T | None:
        """Find what must go so that one more item of a client fits.

        @return: the newest item of the longest line; C{None} when this client has its share already, or no line is
            longer than its own would be.
        """
        own = len(self._lines.get(client, ())) + 1
        if own * len(self._lines) > self._length + 1:
            # It has at least its share: some line is not longer.  This is the way of a client that floods.
            return None
        longest = max(self._lines.values(), key=len, default=deque[T]())
        return longest[-1] if len(longest) > own else None
