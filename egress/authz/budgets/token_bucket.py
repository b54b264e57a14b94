"""The arithmetic of token buckets, for a process and for the script of the engine.

The only state of a bucket is the time at which it will be full.  Taking a token postpones this time by the interval in
which one token is refilled.  So a bucket without a state is full, and only time refills it.  All times are in
microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import attrs

from egress.model.budget import Budget

SECOND: Final = 1_000_000.0

# Rounding must not cost the last token: a part of the interval, and one microsecond.
_TOLERANCE: Final = 0.01
_ROUNDING: Final = 1.0


@attrs.frozen
class Rate:
    """The size of a bucket, and how fast it is refilled.

    @ivar interval: the time in which one token is refilled.
    @ivar capacity: the number of tokens in a full bucket.
    """

    interval: float
    capacity: float

    @classmethod
    def of(cls, budget: Budget) -> Rate:
        """Return the rate of a budget."""
        return cls(budget.per * SECOND / budget.amount, budget.capacity)

    @property
    def span(self) -> float:
        """The time in which an empty bucket becomes full."""
        return self.capacity * self.interval

    @property
    def latest(self) -> float:
        """The greatest distance of the time at which a bucket is full, with a tolerance for rounding."""
        return self.span + _TOLERANCE * self.interval + _ROUNDING


def wait_for(rate: Rate, full_at: float, now: float, tokens: float) -> float:
    """Return the time after which a bucket contains a number of tokens; zero: it contains them now."""
    return max(0.0, max(full_at, now) + tokens * rate.interval - now - rate.latest)


@attrs.frozen
class Operation:
    """A change of one bucket in the engine.

    @ivar rate: the rate of the bucket.
    @ivar owed: the number of tokens that were used without the engine; negative: the number that is returned.
    @ivar need: the number of tokens that the bucket must contain; otherwise, no bucket loses tokens.
    @ivar want: the number of tokens to take if there are as many.
    @ivar floor: the time at which the bucket is full, at the earliest, as far as the caller knows; 0: it knows nothing.
    """

    rate: Rate
    owed: int = 0
    need: int = 0
    want: int = 0
    floor: float = 0.0


@attrs.frozen
class Outcome:
    """The outcome of an operation.

    @ivar granted: the number of tokens that were taken.
    @ivar full_at: the time at which the bucket is full.
    """

    granted: int
    full_at: float


def operate(states: Sequence[float | None], operations: Sequence[Operation], now: float) -> tuple[bool, list[Outcome]]:
    """Apply operations to buckets, as the script of the engine does.

    @param states: the time at which each bucket is full; C{None}: it has no state.
    @param now: the time of the engine.
    @return: whether all needed tokens were taken, and the outcomes.
    """
    known = []
    enough = True
    for state, each in zip(states, operations, strict=True):
        rate = each.rate
        # A state that nothing but an attacker can have written would deny for a long time.
        full_at = min(max(state or 0.0, each.floor, now), now + 2 * rate.span)
        full_at = max(full_at + each.owed * rate.interval, now)
        known.append(full_at)
        if each.need > 0 and full_at + each.need * rate.interval > now + rate.latest:
            enough = False
    outcomes = []
    for full_at, each in zip(known, operations, strict=True):
        granted = 0
        if enough and each.want > 0:
            rate = each.rate
            granted = min(each.want, math.floor((now + rate.latest - full_at) / rate.interval))
            # Rounding must not cost a token.
            granted = max(granted, min(each.need, each.want))
        outcomes.append(Outcome(granted, float(round(full_at + granted * each.rate.interval))))
    return enough, outcomes
