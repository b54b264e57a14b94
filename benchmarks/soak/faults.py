"""Which faults happen when: the same for the same seed.  Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

from benchmarks.soak import authorizer, origin

AUTHORIZER = "authorizer"
ORIGINS = ("http", "https", "tunnel")

# What can be done to any program: killed and started anew, or stopped for a while.
SIGNALS = ("kill", "stop")


@dataclass(frozen=True)
class Fault:
    """One fault.

    @ivar at: seconds after the beginning.
    @ivar lasts: seconds.
    """

    at: float
    target: str
    kind: str
    lasts: float


def schedule(seed: int, seconds: float) -> list[Fault]:
    """Faults one after the other, with peace between them.  Half of them are the authorization service's."""
    chosen = random.Random(seed)
    made: list[Fault] = []
    at = chosen.uniform(1.0, 3.0)
    while at < seconds - 3.0:
        target = AUTHORIZER if chosen.random() < 0.5 else chosen.choice(ORIGINS)
        moods = authorizer.MOODS if target == AUTHORIZER else origin.MOODS
        lasts = chosen.uniform(0.5, 5.0)
        made.append(Fault(at, target, chosen.choice((*moods, *SIGNALS)), lasts))
        at += lasts + chosen.uniform(1.0, 6.0)
    return made
