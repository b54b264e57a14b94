"""Queues of several clients that take turns."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, KeysView
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)
T = TypeVar("T", bound=Hashable)


class ClientQueues(Generic[C, T]):
    """One queue of items for each client, and a rotation of the clients that have items.

    The items of one client keep their order. However many items other clients have, the next item of a client is at
    most one round away. An item can be in the queues only once.

    The queues have no limit of their own, because a full queue has a different effect for each user.  A user compares
    the number of items, or the number of items of one client, with its limits before it adds an item.

    Every operation takes constant time, except L{longest}.

    @ivar clients: the clients that have items, in the order of their turns; a view.
    """

    __slots__ = ("_length", "_next", "_rest", "clients")

    def __init__(self) -> None:
        # Most clients have one item. Further items are stored separately, because a queue for one item is expensive.
        self._next: OrderedDict[C, T] = OrderedDict()
        self._rest: dict[C, OrderedDict[T, None]] = {}
        self._length = 0
        self.clients: KeysView[C] = self._next.keys()

    def __len__(self) -> int:
        return self._length

    def count(self, client: C) -> int:
        """Return the number of items of a client."""
        if client in self._rest:
            return 1 + len(self._rest[client])
        return 1 if client in self._next else 0

    def add(self, client: C, item: T) -> None:
        """Append an item. The turn of a client that had no items comes last."""
        if client not in self._next:
            self._next[client] = item
        elif client in self._rest:
            self._rest[client][item] = None
        else:
            self._rest[client] = OrderedDict(((item, None),))
        self._length += 1

    def add_first(self, client: C, item: T) -> None:
        """Insert an item before the other items of its client. See L{add} for the turn of the client."""
        if client in self._next:
            self._next[client], item = item, self._next[client]
        self.add(client, item)
        if client in self._rest:
            self._rest[client].move_to_end(item, last=False)

    def first(self, client: C) -> T:
        """Return the first item of a client.

        @raise KeyError: if the client has no items.
        """
        return self._next[client]

    def take(self) -> T:
        """Remove the first item of the client whose turn it is. The next turn of this client comes last.

        @raise KeyError: if there are no items.
        """
        client, item = self._next.popitem(last=False)
        if client in self._rest:
            rest = self._rest[client]
            self._next[client], _ = rest.popitem(last=False)
            if not rest:
                del self._rest[client]
        self._length -= 1
        return item

    def take_from(self, client: C) -> T:
        """Remove the first item of any client, as if it was the turn of this client.

        @raise KeyError: if the client has no items.
        """
        self._next.move_to_end(client, last=False)
        return self.take()

    def skip(self, client: C) -> None:
        """Let the turn of a client pass: its next turn comes last.

        @raise KeyError: if the client has no items.
        """
        self._next.move_to_end(client)

    def discard(self, client: C, item: T) -> bool:
        """Remove an item at any position. The order of the clients stays the same.

        @return: whether the client had this item.
        """
        if client not in self._next:
            return False
        rest = self._rest.get(client)
        if self._next[client] == item:
            if rest is None:
                del self._next[client]
            else:
                self._next[client], _ = rest.popitem(last=False)
        elif rest is not None and item in rest:
            del rest[item]
        else:
            return False
        if rest is not None and not rest:
            del self._rest[client]
        self._length -= 1
        return True

    def longest(self) -> tuple[int, T] | None:
        """Find the client that has the most items, or one of several such clients.

        @return: the number of its items, and the last of them; C{None} if there are no items.
        """
        if self._rest:
            rest = max(self._rest.values(), key=len)
            return 1 + len(rest), next(reversed(rest))
        return next(((1, item) for item in self._next.values()), None)
