"""Memory that clients share: bounded in all, with a share for each client, and handed out in rotation."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

# How many clients are looked at in one turn of the reactor, when many wait.
_LOOKED_AT: Final = 64


class Claim:
    """A part of the memory for one content.

    @ivar size: how many bytes are held.
    @ivar granted: whether all that was asked for is held.
    """

    def __init__(self, budget: MemoryBudget, client: str, wanted: int, granted: Callable[[], object]) -> None:
        self.client = client
        self.wanted = wanted
        self.on_grant = granted
        self.size = 0
        self._budget = budget

    @property
    def granted(self) -> bool:
        """See the class."""
        return self.size >= self.wanted

    def grow(self, wanted: int) -> None:
        """Ask for more, before others of the same client who have nothing yet."""
        self.wanted = max(wanted, self.wanted)
        self._budget.ask(self, first=True)

    def shrink(self, size: int) -> None:
        """Give back what is not needed."""
        self.wanted = min(size, self.size)
        self._budget.give_back(self, self.size - self.wanted)

    def end(self) -> None:
        """Give everything back, or stop waiting."""
        self._budget.forget(self)
        self._budget.give_back(self, self.size)
        self.wanted = 0


class MemoryBudget:
    """Hands out memory.

    A client gets no more than what would then be free, as in L{egress.upstream.fair_slots}: one client alone gets half
    of all, the next one half of the rest.  A client that holds nothing gets whatever fits.  What does not fit waits;
    claims of one client wait in the order in which they came, and clients take turns.

    @param clock: the reactor: what waits goes on in a later turn of it.
    @param total: bytes.
    """

    def __init__(self, clock: IReactorTime, total: int) -> None:
        self.total = total
        self.held = 0
        self._clock = clock
        self._of_client: dict[str, int] = {}
        self._waiting: dict[str, deque[Claim]] = {}
        self._pumping: IDelayedCall | None = None

    @property
    def waiting(self) -> int:
        """How many claims wait."""
        return sum(map(len, self._waiting.values()))

    def claim(self, client: str, size: int, granted: Callable[[], object]) -> Claim:
        """Ask for memory.

        @param size: bytes, at most all there are.
        @param granted: is called in a later turn of the reactor, where it is not there at once; see L{Claim.granted}.
        """
        claim = Claim(self, client, min(size, self.total), granted)
        self.ask(claim)
        return claim

    def ask(self, claim: Claim, *, first: bool = False) -> None:
        """Have what a claim wants granted, now or later."""
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
        free, more = self.total - self.held, claim.wanted - claim.size
        # What the claim itself holds already is not in its way.
        others = self._of_client.get(claim.client, 0) - claim.size
        return more <= free and (others == 0 or others + claim.wanted <= free + claim.size)

    def _grant(self, claim: Claim) -> None:
        more = claim.wanted - claim.size
        claim.size = claim.wanted
        self.held += more
        self._of_client[claim.client] = self._of_client.get(claim.client, 0) + more

    def forget(self, claim: Claim) -> None:
        """Let a claim wait no more."""
        queue = self._waiting.get(claim.client)
        if queue is not None and claim in queue:
            queue.remove(claim)
            if not queue:
                del self._waiting[claim.client]
            self._later()

    def give_back(self, claim: Claim, size: int) -> None:
        """Take memory back."""
        if not size:
            return
        claim.size -= size
        self.held -= size
        left = self._of_client[claim.client] - size
        if left:
            self._of_client[claim.client] = left
        else:
            del self._of_client[claim.client]
        self._later()

    def _later(self) -> None:
        if self._waiting and self._pumping is None:
            self._pumping = self._clock.callLater(0, self._pump)

    def _pump(self) -> None:
        """Grant what fits by now: one claim of each client in rotation."""
        self._pumping = None
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
            self._later()
        for claim in granted:
            claim.on_grant()
