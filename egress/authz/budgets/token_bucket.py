"""The arithmetic of token buckets, for a process and for the script of the engine.

What a bucket contains follows from the time at which it will be full.  Taking a token postpones this time by the
interval in which one token is refilled.  So a bucket without a state is full, and only time refills it.  All times are
in microseconds.

An engine can lose the state of a bucket.  The next operation then begins a new generation of it.  The processes know
the state as they last saw it, and the latest of them is the state that was lost.  So each process sends what it last
saw, with its generation.  The bucket is postponed as far as this is later than the base: what the new generation began
with, and has learned since.  It counts once, however often and in which order the processes send it.
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
class State:
    """The state of a bucket in the engine.

    @ivar full_at: the time at which the bucket is full.
    @ivar base: the time at which it would be full if no token had been taken in this generation.
    @ivar generation: the time at which the generation began, which identifies it.
    """

    full_at: int
    base: int
    generation: int


@attrs.frozen
class Operation:
    """A change of one bucket in the engine.

    @ivar rate: the rate of the bucket.
    @ivar owed: the number of tokens that were used without the engine; negative: the number that is returned.
    @ivar need: the number of tokens that the bucket must contain; otherwise, no bucket loses tokens.
    @ivar want: the number of tokens to take if there are as many.
    @ivar seen: the time at which the bucket is full, as the caller last saw it; 0: it has never seen it.
    @ivar generation: the generation to which this time belongs.
    @ivar moved: whether the caller has connected since then: the engine can have an older state of this generation.
    """

    rate: Rate
    owed: int = 0
    need: int = 0
    want: int = 0
    seen: int = 0
    generation: int = 0
    moved: bool = False


@attrs.frozen
class Outcome:
    """The outcome of an operation.

    @ivar granted: the number of tokens that were taken.
    @ivar full_at: the time at which the bucket is full.
    @ivar generation: its generation.
    """

    granted: int
    full_at: int
    generation: int


def operate(
    states: Sequence[State | None], operations: Sequence[Operation], now: int
) -> tuple[bool, list[Outcome], list[State]]:
    """Apply operations to buckets, as the script of the engine does.

    @param states: the state of each bucket; C{None}: it has none.
    @param now: the time of the engine.
    @return: whether all needed tokens were taken, the outcomes, and the new states.
    """
    known = []
    enough = True
    for state, each in zip(states, operations, strict=True):
        full_at, base, generation = _known(state, each, now)
        known.append((full_at, base, generation))
        if each.need > 0 and full_at + each.need * each.rate.interval > now + each.rate.latest:
            enough = False
    outcomes = []
    after = []
    for (full_at, base, generation), each in zip(known, operations, strict=True):
        granted = 0
        if enough and each.want > 0:
            rate = each.rate
            granted = min(each.want, math.floor((now + rate.latest - full_at) / rate.interval))
            # Rounding must not cost a token.
            granted = max(granted, min(each.need, each.want))
        postponed = round(full_at + granted * each.rate.interval)
        outcomes.append(Outcome(granted, postponed, generation))
        after.append(State(postponed, round(base), generation))
    return enough, outcomes, after


def _known(state: State | None, operation: Operation, now: int) -> tuple[float, float, int]:
    """Return the state of a bucket with what the caller knows, and without what it takes."""
    # A state that nothing but an attacker can have written would deny for a long time.
    limit = now + 2 * operation.rate.span
    full_at: float = 0
    base: float = 0
    generation = 0
    seen = min(operation.seen, limit)
    if state is not None:
        full_at, base = min(state.full_at, limit), state.base
        generation = state.generation if state.generation <= now else 0
    if generation == 0 or operation.generation > generation or (operation.moved and operation.generation == generation):
        # There is no state, or an older one.
        base = full_at = max(full_at, seen, now)
        generation = now
    elif operation.generation < generation and seen > base:
        full_at = min(full_at + seen - base, limit)
        base = seen
    for change in (0.0, operation.owed * operation.rate.interval):
        full_at += change
        if full_at < now:
            # It was full meanwhile, and would be full later with what others still have to send.
            base += now - full_at
            full_at = now
    return full_at, base, generation
