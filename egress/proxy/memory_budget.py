"""A memory budget that clients share, with a total limit, fair shares and rotation between clients."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

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

    A client gets at most as much as then remains free, as in L{egress.upstream.fair_slots}: a single client gets half
    of the total, the next one half of the rest. A client without memory gets any amount that fits. A claim that does
    not fit waits. Claims of one client are granted in the order of their arrival, and clients take turns.

    @param clock: the reactor; waiting claims are granted in a later turn.
    @param total: bytes.
    @ivar held: the number of bytes granted to all claims.
    """

    def __init__(self, clock: IReactorTime, total: int) -> None:
        self.total = total
        self.held = 0
        self._clock = clock
        self._by_client: dict[str, int] = {}
        self._waiting: dict[str, deque[Claim]] = {}
        self._scheduled: IDelayedCall | None = None

    @property
    def waiting(self) -> int:
        """The number of waiting claims."""
        return sum(map(len, self._waiting.values()))

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
        queue = self._waiting.get(claim.client)
        if (first or queue is None) and self._fits(claim):
            self._grant(claim)
        elif queue is None:
            self._waiting[claim.client] = deque((claim,))
        elif first:
            queue.appendleft(claim)
        else:
            queue.append(claim)

    def _fits(self, claim: Claim) -> bool:
        free, additional = self.total - self.held, claim.wanted - claim.size
        # Memory that the claim already holds does not count against it.
        others = self._by_client.get(claim.client, 0) - claim.size
        return additional <= free and (others == 0 or others + claim.wanted <= free + claim.size)

    def _grant(self, claim: Claim) -> None:
        additional = claim.wanted - claim.size
        claim.size = claim.wanted
        self.held += additional
        self._by_client[claim.client] = self._by_client.get(claim.client, 0) + additional

    def cancel(self, claim: Claim) -> None:
        """Cancel a waiting claim."""
        queue = self._waiting.get(claim.client)
        if queue is not None and claim in queue:
            queue.remove(claim)
            if not queue:
                del self._waiting[claim.client]
            self._schedule()

    def release(self, claim: Claim, size: int) -> None:
        """Return memory to the budget."""
        if not size:
            return
        claim.size -= size
        self.held -= size
        remaining = self._by_client[claim.client] - size
        if remaining:
            self._by_client[claim.client] = remaining
        else:
            del self._by_client[claim.client]
        self._schedule()

    def _schedule(self) -> None:
        if self._waiting and self._scheduled is None:
            self._scheduled = self._clock.callLater(0, self._grant_waiting)

    def _grant_waiting(self) -> None:
        """Grant the claims that fit now: one claim per client, in rotation."""
        self._scheduled = None
        granted: list[Claim] = []
        for client in list(islice(self._waiting, _LOOKED_AT)):
            queue = self._waiting.pop(client)
            if self._fits(queue[0]):
                claim = queue.popleft()
                self._grant(claim)
                granted.append(claim)
            if queue:
                self._waiting[client] = queue
        if granted:
            self._schedule()
        for claim in granted:
            claim.on_grant()
