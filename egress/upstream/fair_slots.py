"""A fair queue for a scarce resource, with a total limit and a limit per client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from egress.model.client_queues import ClientQueues
from egress.model.fair_shares import FairShares

# The reasons for a full queue.
OF_CLIENT: Final = "client"
OF_ALL: Final = "all"


class NoSlot(Exception):
    """The queue is full.

    @ivar of_client: whether the client's own share of the queue is full.
    """

    def __init__(self, *, of_client: bool) -> None:
        super().__init__(OF_CLIENT if of_client else OF_ALL)
        self.of_client = of_client


class Ticket:
    """A queue entry of one client.

    @ivar client: the client's key for per-client limits (L{egress.model.limit_key}).
    @ivar begin: called when a slot is free; each call requires one later call of L{FairSlots.over}.
    """

    __slots__ = ("begin", "client")

    def __init__(self, client: str, begin: Callable[[], None]) -> None:
        self.client = client
        self.begin = begin


class FairSlots:
    """Assigns slots to clients, round-robin.

    The queue of one client never delays another client.  One client cannot occupy all slots either: it gets a slot only
    while it occupies fewer slots than are free (L{egress.model.fair_shares}).  With 32 slots it takes six clients to
    occupy all of them.  A client that occupies no slot gets any free slot.

    @param slots: the number of slots; at least 2, so that no client can occupy all of them.
    @param queue: the maximum number of queued entries.
    @param queue_per_client: the maximum number of queued entries of one client.
    """

    def __init__(self, slots: int, queue: int, queue_per_client: int) -> None:
        self._slots = FairShares(max(2, slots))
        self._queue = queue
        self._queue_per_client = queue_per_client
        self._waiting: ClientQueues[str, Ticket] = ClientQueues()
        self._assigning = False

    @property
    def waiting(self) -> int:
        """The number of queued entries."""
        return len(self._waiting)

    @property
    def busy(self) -> int:
        """The number of occupied slots."""
        return self._slots.held

    def enter(self, client: str, begin: Callable[[], None]) -> Ticket:
        """Add an entry to the queue; C{begin} may be called before this method returns.

        @raise NoSlot: if the queue is full.
        """
        queued = self._waiting.count(client)
        if queued >= self._queue_per_client:
            raise NoSlot(of_client=True)
        if len(self._waiting) >= self._queue and (queued or not self._slots.fits(client)):
            raise NoSlot(of_client=False)
        ticket = Ticket(client, begin)
        self._waiting.add(client, ticket)
        self._assign()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Remove an entry from the queue; has no effect after C{begin} was called."""
        self._waiting.discard(ticket.client, ticket)

    def over(self, client: str) -> None:
        """Free a slot of a client."""
        self._slots.give_back(client, 1)
        self._assign()

    def _assign(self) -> None:
        # C{begin} may free its slot immediately, and so call this method again.
        if self._assigning:
            return
        self._assigning = True
        try:
            ticket = self._next()
            while ticket is not None:
                ticket.begin()
                ticket = self._next()
        finally:
            self._assigning = False

    def _next(self) -> Ticket | None:
        if self._slots.held >= self._slots.total:
            return None
        # A client without a slot is never skipped, so at most as many clients are skipped as there are occupied slots.
        client = next(filter(self._slots.fits, self._waiting.clients), None)
        if client is None:
            return None
        self._slots.take(client, 1)
        return self._waiting.take_from(client)
