"""A memory budget that clients share, with a total limit, fair shares and rotation between clients."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from egress.model.client_queues import ClientQueues
from egress.model.fair_shares import FairShares

# The maximum number of clients that one turn of the reactor considers.
_LOOKED_AT: Final = 64


class Claim:
    """A claim on memory for the content of one request.

    @ivar size: the number of bytes granted.
    """

    def __init__(self, budget: MemoryBudget, client: str, wanted: int, granted: Callable[[], object]) -> None:
        self.client = client
        self.wanted = wanted
        self.on_grant = granted
        self.size = 0
        self._budget = budget

    @property
    def granted(self) -> bool:
        """Whether the whole claim is granted."""
        return self.size >= self.wanted

    def grow(self, wanted: int) -> None:
        """Request more memory, ahead of waiting claims of the same client."""
        self.wanted = max(wanted, self.wanted)
        self._budget.request(self, first=True)

    def shrink(self, size: int) -> None:
        """Release the memory that is not needed."""
        self.wanted = min(size, self.size)
        self._budget.release(self, self.size - self.wanted)

    def end(self) -> None:
        """Release all memory, or stop waiting."""
        self._budget.cancel(self)
        self._budget.release(self, self.size)
        self.wanted = 0


class MemoryBudget:
    """Distributes memory between clients.

    A client gets its share of the memory that is free (L{egress.model.fair_shares}). A claim that does not fit waits.
    Claims of one client are granted in the order of their arrival, and clients take turns.

    @param clock: the reactor; waiting claims are granted in a later turn.
    @param total: bytes.
    """

    def __init__(self, clock: IReactorTime, total: int) -> None:
        self._clock = clock
        self._memory = FairShares(total)
        self._waiting: ClientQueues[str, Claim] = ClientQueues()
        self._scheduled: IDelayedCall | None = None

    @property
    def total(self) -> int:
        """The number of bytes."""
        return self._memory.total

    @property
    def held(self) -> int:
        """The number of bytes granted to all claims."""
        return self._memory.held

    @property
    def waiting(self) -> int:
        """The number of waiting claims."""
        return len(self._waiting)

    def claim(self, client: str, size: int, granted: Callable[[], object]) -> Claim:
        """Request memory.

        @param client: the client's key for per-client limits (L{egress.model.limit_key}).
        @param size: bytes, at most the total.
        @param granted: is called in a later turn of the reactor if the memory is not available immediately; see
            L{Claim.granted}.
        """
        claim = Claim(self, client, min(size, self.total), granted)
        self.request(claim)
        return claim

    def request(self, claim: Claim, *, first: bool = False) -> None:
        """Grant a claim, now or later."""
        if (first or not self._waiting.count(claim.client)) and self._fits(claim):
            self._grant(claim)
        elif first:
            self._waiting.add_first(claim.client, claim)
        else:
            self._waiting.add(claim.client, claim)

    def _fits(self, claim: Claim) -> bool:
        return self._memory.fits(claim.client, claim.wanted, claim.size)

    def _grant(self, claim: Claim) -> None:
        self._memory.take(claim.client, claim.wanted - claim.size)
        claim.size = claim.wanted

    def cancel(self, claim: Claim) -> None:
        """Cancel a waiting claim."""
        if self._waiting.discard(claim.client, claim):
            self._schedule()

    def release(self, claim: Claim, size: int) -> None:
        """Return memory to the budget."""
        if size:
            claim.size -= size
            self._memory.give_back(claim.client, size)
            self._schedule()

    def _schedule(self) -> None:
        if self._waiting and self._scheduled is None:
            self._scheduled = self._clock.callLater(0, self._grant_waiting)

    def _grant_waiting(self) -> None:
        """Grant the claims that fit now: one claim per client, in rotation."""
        self._scheduled = None
        granted: list[Claim] = []
        for client in list(islice(self._waiting.clients, _LOOKED_AT)):
            claim = self._waiting.first(client)
            if self._fits(claim):
                self._waiting.take_from(client)
                self._grant(claim)
                granted.append(claim)
            else:
                self._waiting.skip(client)
        if granted:
            self._schedule()
        for claim in granted:
            claim.on_grant()
