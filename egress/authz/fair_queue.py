"""A queue that serves the requests of several clients in turn."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from egress.model.client_queues import ClientQueues

T = TypeVar("T", bound=Hashable)


class FairQueue(Generic[T]):
    """A queue of items by client.

    However many items of one client are in the queue, the next item of another client is at most one round away.  If
    only one client has items, they can fill the whole queue; once other clients need the capacity, a client that has
    more than its share loses it to them.
    """

    def __init__(self) -> None:
        self._items: ClientQueues[str, T] = ClientQueues()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, client: str, item: T) -> None:
        """Append an item for a client."""
        self._items.add(client, item)

    @property
    def next(self) -> T:
        """The item whose turn it is.

        @raise IndexError: if the queue is empty.
        """
        for client in self._items.clients:
            return self._items.first(client)
        raise IndexError("the queue is empty")

    def take(self) -> T:
        """Remove the item whose turn it is.  The turn passes to the next client.

        @raise IndexError: if the queue is empty.
        """
        if not self._items:
            raise IndexError("the queue is empty")
        return self._items.take()

    def remove(self, client: str, item: T) -> None:
        """Remove an item, at any position.

        @raise KeyError: if the client has no item in the queue.
        @raise ValueError: if the client does not have this item in the queue.
        """
        if not self._items.discard(client, item):
            raise ValueError(item) if self._items.count(client) else KeyError(client)

    def displaced_by(self, client: str) -> T | None:
        """Find the item to remove so that one more item of a client fits.

        @return: the newest item of the client that has most; C{None} if this client already has its share, or if no
            other client has more items than it would have.
        """
        own = self._items.count(client) + 1
        if own * len(self._items.clients) > len(self._items) + 1:
            # The client has at least its share, so some client has no more items.  A client that floods ends here.
            return None
        longest = self._items.longest()
        return longest[1] if longest is not None and longest[0] > own else None
