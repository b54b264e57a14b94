"""The model: how often a fleet calls its authorizer and its engine, from the rate of requests and the time to live.

Each key stands for the requests that have one decision.  Its requests arrive at random (a Poisson process), and the
load balancer sends each of them to any process.  The expected values follow from renewal theory: a decision lives for
the time to live, and the next request after that is a call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Load:
    """The requests of all clients.

    @ivar rate: requests per second.
    @ivar keys: the number of different requests.
    @ivar skew: the exponent of Zipf's law, after which the popularity of the keys decreases; 0: all are equal.
    @ivar ttl: the seconds for which a decision can be reused.
    @ivar call: the seconds of a call of the authorizer.
    """

    rate: float
    keys: int = 200
    skew: float = 1.0
    ttl: float = 2.0
    call: float = 0.01

    @cached_property
    def weights(self) -> tuple[float, ...]:
        """The share of each key in the requests."""
        raw = [1 / (number + 1) ** self.skew for number in range(self.keys)]
        total = sum(raw)
        return tuple(weight / total for weight in raw)


@dataclass(frozen=True)
class Rates:
    """What happens in a second.

    @ivar questions: calls of the authorizer.
    @ivar lookups: decisions that a process looks up in the engine, because it does not have them itself.
    """

    questions: float
    lookups: float


def alone(load: Load, processes: int) -> Rates:
    """Return the rates of a fleet without shared state: each process has its own decisions."""
    return Rates(_sum(load, lambda rate: processes / (load.ttl + processes / rate)), 0.0)


def shared(load: Load, processes: int) -> Rates:
    """Return the rates of a fleet with shared decisions.

    All processes use a decision until the same moment.  In this time, each process that has a request for it looks it
    up once.
    """

    def lookups(rate: float) -> float:
        others = (processes - 1) * -math.expm1(-rate * load.ttl / processes)
        return (1 + others) / (load.ttl + 1 / rate)

    return Rates(_sum(load, lambda rate: 1 / (load.ttl + 1 / rate)), _sum(load, lookups))


def _sum(load: Load, of_key: Callable[[float], float]) -> float:
    return sum(of_key(load.rate * weight) for weight in load.weights)
