"""Turns at something scarce: bounded in all and per client, and fair between clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

# Why there is no place in the queue.
OF_CLIENT: Final = "client"
OF_ALL: Final = "all"


class NoSlot(Exception):
    """The queue is full.

    @ivar of_client: whether it is the client's own part of the queue that is full.
    """

    def __init__(self, *, of_client: bool) -> None:
        super().__init__(OF_CLIENT if of_client else OF_ALL)
        self.of_client = of_client


@attrs.frozen(eq=False)
class Ticket:
    """A place in the queue of one client.

    @ivar begin: is called when its turn comes; L{FairSlots.over} must follow once for each call.
    """

    client: str
    begin: Callable[[], None]


class FairSlots:
    """Gives turns to clients, round-robin.

    The queue of one client never delays another.  Nor can one client take all places: it begins something only while it
    has less under way than there are free places (the "dynamic threshold" of Choudhury and Hahne, IEEE/ACM Transactions
    on Networking 6(3), 1998).  So one client gets at most half of the places, the next one half of the rest, and so on:
    with 32 places it takes six clients to fill all of them.  A client with nothing under way gets any free place.

    @param at_once: how much may be under way; at least 2, so that no client can hold all of it.
    @param queue: how much may wait.
    @param queue_per_client: how much of one client may wait.
    """

    def __init__(self, at_once: int, queue: int, queue_per_client: int) -> None:
        self._at_once = max(2, at_once)
        self._queue = queue
        self._queue_per_client = queue_per_client
        self._waiting: dict[str, dict[Ticket, None]] = {}
        self._number = 0
        self._under_way: dict[str, int] = {}
        self._busy = 0
        self._giving = False

    @property
    def waiting(self) -> int:
        """How much waits."""
        return self._number

    @property
    def busy(self) -> int:
        """How much is under way."""
        return self._busy

    def enter(self, client: str, begin: Callable[[], None]) -> Ticket:
        """Queue up; the turn may come at once, before this returns.

        @raise NoSlot: when the queue is full.
        """
        queue = self._waiting.get(client)
        if queue is not None and len(queue) >= self._queue_per_client:
            raise NoSlot(of_client=True)
        if self._number >= self._queue and (queue is not None or not self._may_begin(client)):
            raise NoSlot(of_client=False)
        ticket = Ticket(client, begin)
        self._waiting.setdefault(client, {})[ticket] = None
        self._number += 1
        self._give()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give up a place in the queue; nothing happens when the turn has come already."""
        queue = self._waiting.get(ticket.client)
        if queue is not None and ticket in queue:
            self._remove(ticket, queue)

    def over(self, client: str) -> None:
        """Learn that what a client had under way has ended."""
        self._busy -= 1
        self._under_way[client] -= 1
        if not self._under_way[client]:
            del self._under_way[client]
        self._give()

    def _remove(self, ticket: Ticket, queue: dict[Ticket, None]) -> None:
        del queue[ticket]
        self._number -= 1
        if not queue:
            del self._waiting[ticket.client]

    def _give(self) -> None:
        # What begins may end at once, and call us again.
        if self._giving:
            return
        self._giving = True
        try:
            ticket = self._next()
            while ticket is not None:
                ticket.begin()
                ticket = self._next()
        finally:
            self._giving = False

    def _may_begin(self, client: str) -> bool:
        return self._under_way.get(client, 0) < self._at_once - self._busy

    def _next(self) -> Ticket | None:
        if self._busy >= self._at_once:
            return None
        # At most as many are passed over as have something under way: a client without is never passed over.
        client = next(filter(self._may_begin, self._waiting), None)
        if client is None:
            return None
        # It goes to the end of the round.
        queue = self._waiting[client] = self._waiting.pop(client)
        ticket = next(iter(queue))
        self._remove(ticket, queue)
        self._busy += 1
        self._under_way[client] = self._under_way.get(client, 0) + 1
        return ticket
