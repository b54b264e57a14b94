"""A queue that serves the requests of several clients in turn.  Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """A queue of items by client.

    However many items of one client are in the queue, the next item of another client is at most one round away.  If
    only one client has items, they can fill the whole queue; once other clients need the capacity, a client that has
    more than its share loses it to them.
    """

    def __init__(self) -> None:
        # The client whose turn it is comes first.
        self._by_client: OrderedDict[str, deque[T]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, client: str, item: T) -> None:
        """Append an item for a client."""
        self._by_client.setdefault(client, deque()).append(item)
        self._length += 1

    @property
    def next(self) -> T:
        """The item whose turn it is.

        @raise IndexError: if the queue is empty.
        """
        for items in self._by_client.values():
            return items[0]
        raise IndexError("the queue is empty")

    def take(self) -> T:
        """Remove the item whose turn it is.  The turn passes to the next client.

        @raise IndexError: if the queue is empty.
        """
        item = self.next
        client, items = next(iter(self._by_client.items()))
        items.popleft()
        self._length -= 1
        if items:
            self._by_client.move_to_end(client)
        else:
            del self._by_client[client]
        return item

    def remove(self, client: str, item: T) -> None:
        """Remove an item, at any position.

        @raise KeyError: if the client has no item in the queue.
        @raise ValueError: if the client does not have this item in the queue.
        """
        items = self._by_client[client]
        items.remove(item)
        self._length -= 1
        if not items:
            del self._by_client[client]

    def displaced_by(self, client: str) -> T | None:
        """Find the item to remove so that one more item of a client fits.

        @return: the newest item of the client that has most; C{None} if this client already has its share, or if no
            other client has more items than it would have.
        """
        own = len(self._by_client.get(client, ())) + 1
        if own * len(self._by_client) > self._length + 1:
            # The client has at least its share, so some client has no more items.  A client that floods ends here.
            return None
        most_items = max(self._by_client.values(), key=len, default=deque[T]())
        return most_items[-1] if len(most_items) > own else None
