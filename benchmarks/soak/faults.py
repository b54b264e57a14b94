"""Which faults and attacks happen when: the same for the same seed.  Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

from benchmarks.soak import attackers, authorizer, origin

AUTHORIZER = "authorizer"
ATTACKERS = "attackers"
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
    """Faults one after the other, with peace between them.

    A third of them are attacks, and a third the authorization service's.
    """
    chosen = random.Random(seed)
    made: list[Fault] = []
    at = chosen.uniform(1.0, 3.0)
    while at < seconds - 3.0:
        target = chosen.choice((ATTACKERS, AUTHORIZER, chosen.choice(ORIGINS)))
        if target == ATTACKERS:
            kind = chosen.choice(attackers.MOODS)
        else:
            moods = authorizer.MOODS if target == AUTHORIZER else origin.MOODS
            kind = chosen.choice((*moods, *SIGNALS))
        # An attack that lasts longer meets more requests of those who behave well.
        lasts = chosen.uniform(3.0, 7.0) if target == ATTACKERS else chosen.uniform(0.5, 5.0)
        made.append(Fault(at, target, kind, lasts))
        at += lasts + chosen.uniform(1.0, 6.0)
    return made
