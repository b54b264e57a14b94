"""A bucket as a process knows it: what it used itself, what it has taken in advance, and the state of all replicas."""

from __future__ import annotations

import math
from typing import Final

from egress.authz.budgets.token_bucket import SECOND, Operation, Outcome, Rate, wait_for
from egress.model.budget import Budget, Unit

# A process takes at most this part of a bucket in advance, so that few requests need a command.
_PART: Final = 1000
# The same for bytes that are transferred faster than they are taken.
_FAST_PART: Final = 250
# A process that does not use a bucket looks at it after this part of the time of the budget.
_OLD: Final = 0.01
# All processes together transfer at most this part of a budget of bytes before the engine has counted it.
_AHEAD: Final = 100
# The number of processes, while it is not known.
_PROCESSES: Final = 4


class Bucket:
    """A bucket.  Times are in microseconds of the clock of this process, unless they are the engine's.

    The own consumption of the process never exceeds the budget, whatever the engine says.

    @ivar budget: the budget.
    @ivar rate: its rate.
    @ivar name: the name in the engine; empty without an engine.
    @ivar held: the number of tokens that were taken from the engine and not used; negative: the number that was used
        without the engine, and that the engine must still learn.
    @ivar asked: the number of tokens that commands without a reply take in advance.
    @ivar users: the number of exchanges that use it.
    @ivar touched: whether it was used since the last sweep.
    @ivar refused_until: until when the engine would refuse, as far as known.
    @ivar connection: the number of the connection on which the engine last told its state.
    @ivar seen_at: when the engine last told its state.
    @ivar used_at: when this process last used it.
    """

    __slots__ = (
        "_fleet",
        "_generation",
        "_own",
        "_seen",
        "_telling",
        "asked",
        "budget",
        "chunk",
        "connection",
        "held",
        "key",
        "name",
        "rate",
        "refused_until",
        "seen_at",
        "touched",
        "used_at",
        "users",
    )

    def __init__(self, key: tuple[Budget, str], name: bytes = b"") -> None:
        self.key = key
        self.budget = budget = key[0]
        self.rate = Rate.of(budget)
        self.name = name
        self.chunk = max(1, budget.capacity // _PART)
        self.held = self.asked = self.users = 0
        self.touched = False
        self.refused_until = 0.0
        # The times at which the bucket is full: by the own consumption, and by the consumption of all replicas.
        self._own = self._fleet = 0.0
        # The latter as the engine last said it, in its time, and the generation of the bucket.
        self._seen = self._generation = 0
        # The number of owed tokens in commands without a reply.
        self._telling = 0
        self.connection = 0
        self.seen_at = self.used_at = 0.0

    def is_idle(self, now: float) -> bool:
        """Return whether the bucket is full and unused: then a new one is equal to it."""
        return not (self.users or self.held or self.asked or self._telling) and max(self._own, self._fleet) <= now

    def is_known(self, now: float) -> bool:
        """Return whether the engine has told the state, and the bucket is not full: the engine may lose this state."""
        return self._generation != 0 and self._fleet > now

    def is_recent(self, now: float) -> bool:
        """Return whether this process has used the bucket in the time of the budget, so that it may use it again."""
        return self._generation != 0 and now - self.used_at < self.budget.per * SECOND

    def is_old(self, now: float) -> bool:
        """Return whether other processes can have used much after the engine told the state."""
        return now - self.seen_at >= _OLD * self.budget.per * SECOND

    # -- without the engine

    def own_wait(self, tokens: int, now: float) -> float:
        """Return the time after which the own consumption of this process permits tokens; zero: now."""
        return wait_for(self.rate, self._own, now, tokens)

    def wait(self, tokens: int, now: float, weight: int = 0) -> float:
        """Return the time after which tokens can be used, as far as this process knows; zero: now.

        @param weight: the number of processes among which the bucket is divided while there is no engine; 0: the engine
            counts the tokens.
        """
        rate = self.rate
        own = self.own_wait(tokens, now)
        missing = tokens + self._telling - (max(self.held, 0) if weight else self.held)
        if missing <= 0:
            return own
        if weight > 1:
            # Each token counts for all processes.  A share has at least one token.
            rate = Rate(rate.interval * weight, max(1.0, rate.capacity / weight))
        return max(own, wait_for(rate, self._fleet, now, missing))

    def left(self, now: float, weight: int = 0) -> int:
        """Return the number of tokens that can be used now; see L{wait}."""
        rate = self.rate
        own = (rate.latest - max(0.0, self._own - now)) / rate.interval
        held = (max(self.held, 0) if weight else self.held) - self._telling
        if weight > 1:
            rate = Rate(rate.interval * weight, max(1.0, rate.capacity / weight))
        together = held + (rate.latest - max(0.0, self._fleet - now)) / rate.interval
        return max(0, math.floor(min(own, together)))

    def ahead(self, processes: int) -> int:
        """Return the number of tokens that this process may use before the engine has counted them.

        @param processes: the number of processes that do so; 0: it is not known.
        """
        return max(1, self.budget.capacity // (_AHEAD * (processes or _PROCESSES)))

    def room(self, processes: int) -> int:
        """Return the number of tokens that can be used until the engine must have counted them; see L{ahead}."""
        return self.held - self._telling + self.ahead(processes)

    @property
    def is_asking(self) -> bool:
        """Whether a command that takes tokens in advance, or tells about owed tokens, has no reply."""
        return self.asked > 0 or self._telling > 0

    def spend(self, tokens: int, now: float, weight: int = 0) -> None:
        """Use tokens; see L{wait}."""
        interval = self.rate.interval
        self.touched = True
        self.used_at = now
        self._own = max(self._own, now) + tokens * interval
        if weight:
            missing = max(0, tokens - max(self.held, 0))
            self._fleet = max(self._fleet, now) + missing * interval * weight
        if self.name:
            self.held -= tokens

    def refund(self, tokens: int, weight: int) -> None:
        """Return used tokens, because they are not needed; see L{wait}."""
        self.release(tokens)
        if self.name:
            # The engine is told, or learns less.
            self.held += tokens
        else:
            self._fleet -= tokens * self.rate.interval * weight

    def take_held(self, tokens: int) -> None:
        """Use tokens that were taken from the engine, and reserved."""
        self.touched = True
        self.held -= tokens

    def reserve(self, tokens: int, now: float) -> None:
        """Count tokens that are about to be taken from the engine as used by this process."""
        self.used_at = now
        self._own = max(self._own, now) + tokens * self.rate.interval

    def release(self, tokens: int) -> None:
        """Return reserved tokens, which were not taken."""
        self._own -= tokens * self.rate.interval

    # -- with the engine

    def operation(self, connection: int, need: int = 0, *, ahead: bool = True) -> Operation:
        """Return the operation that takes tokens, and tells the engine about owed tokens.

        @param connection: the number of the present connection to the engine.
        @param need: the number of tokens that are needed.
        @param ahead: whether to take tokens in advance.
        """
        owed, self.held = max(0, -self.held), max(0, self.held)
        self._telling += owed
        if owed and ahead and self.chunk > 1 and self.budget.unit is Unit.BYTES:
            # They were used faster than they were taken.
            self.chunk = min(2 * self.chunk, max(2, self.budget.capacity // _FAST_PART))
        # A bucket with few tokens has none to spare.
        more = self.chunk if ahead and self.chunk > 1 and not self.asked and self.held < self.chunk else 0
        # Bytes are taken as they are transferred.
        want = more if self.budget.unit is Unit.BYTES else need + more
        self.asked += want
        return Operation(self.rate, owed, need, want, self._seen, self._generation, connection != self.connection)

    def returned(self, connection: int) -> Operation:
        """Return the operation that returns the tokens that were taken in advance."""
        held, self.held = self.held, 0
        self.chunk = max(1, self.budget.capacity // _PART)
        return Operation(self.rate, -held, 0, 0, self._seen, self._generation, connection != self.connection)

    def answered(
        self, operation: Operation, outcome: Outcome, engine_now: int, now: float, *, is_complete: bool = True
    ) -> None:
        """Take over the outcome of an operation.

        @param engine_now: the time of the engine.
        @param now: the time of this process.
        @param is_complete: whether the engine knows what all processes used without it.
        """
        self.asked -= operation.want
        self._telling -= max(0, operation.owed)
        self.held += outcome.granted
        self._seen = outcome.full_at
        self._generation = outcome.generation
        self.seen_at = now
        fleet = now + outcome.full_at - engine_now
        # Until then, the own tokens have counted for all processes.
        self._fleet = fleet if is_complete else max(fleet, self._fleet)

    def unanswered(self, operation: Operation) -> None:
        """Handle an operation without a reply: owed tokens are still owed."""
        owed = max(0, operation.owed)
        self.asked -= operation.want
        self._telling -= owed
        self.held -= owed
