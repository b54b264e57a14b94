"""The schedule of faults and attacks, which the seed determines.  Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

from benchmarks.soak import attackers, authorizer, origin

AUTHORIZER = "authorizer"
ATTACKERS = "attackers"
ORIGINS = ("http", "https", "tunnel")

# The faults of every program: it is killed and restarted, or stopped for some time.
SIGNALS = ("kill", "stop")


@dataclass(frozen=True)
class Fault:
    """One fault.

    @ivar at: the start, in seconds after the beginning.
    @ivar lasts: the duration in seconds.
    """

    at: float
    target: str
    kind: str
    lasts: float


def schedule(seed: int, seconds: float) -> list[Fault]:
    """Return faults one after the other, with pauses between them.

    A third of them are attacks, and a third are faults of the authorization service.
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
        # A longer attack covers more requests of the measuring client.
        lasts = chosen.uniform(3.0, 7.0) if target == ATTACKERS else chosen.uniform(0.5, 5.0)
        made.append(Fault(at, target, kind, lasts))
        at += lasts + chosen.uniform(1.0, 6.0)
    return made
