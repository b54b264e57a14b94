"""The simulation: what each process of a fleet does with each request, at the time of the request."""

from __future__ import annotations

import heapq
import random
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate

from benchmarks.scaling.model import Load
from egress.authz.shared_cache import FIRST_POLL, LAST_POLL


@dataclass(frozen=True, order=True)
class Arrival:
    """A request: the seconds since the start, the number of its key, and the process that receives it."""

    time: float
    key: int
    process: int


def arrivals(load: Load, seconds: float, processes: int, seed: int) -> list[Arrival]:
    """Return the requests of a period."""
    source = random.Random(seed)  # noqa: S311 - it must be repeatable
    bounds = list(accumulate(load.weights))
    found, now = [], source.expovariate(load.rate)
    while now < seconds:
        key = min(bisect(bounds, source.random()), load.keys - 1)
        found.append(Arrival(now, key, source.randrange(processes)))
        now += source.expovariate(load.rate)
    return found


@dataclass
class Counts:
    """What happened to the requests.

    @ivar hits: decided from the cache of the process.
    @ivar joined: waited for an equal request in the same process.
    @ivar shared: decided from the engine.
    @ivar waited: waited for the call of another process; a part of C{shared}.
    @ivar questions: calls of the authorizer.
    """

    hits: int = 0
    joined: int = 0
    shared: int = 0
    waited: int = 0
    questions: int = 0

    @property
    def requests(self) -> int:
        """The number of all requests."""
        return self.hits + self.joined + self.shared + self.questions

    def rows(self) -> Iterator[tuple[str, int]]:
        """Return the names and the numbers."""
        for each in fields(self):
            yield each.name, getattr(self, each.name)


class Fleet:
    """The processes of a fleet.

    @param shares: whether they share their decisions.
    """

    def __init__(self, load: Load, shares: bool) -> None:
        self.counts = Counts()
        self._load = load
        self._shares = shares
        # Until when a decision is fresh: in each process, and in the engine.
        self._fresh: dict[tuple[int, int], float] = {}
        self._shared: dict[int, float] = {}
        # When the lookup or the call in progress ends: in each process, and of the fleet.
        self._busy: dict[tuple[int, int], float] = {}
        self._leases: dict[int, float] = {}
        self._ends: list[tuple[float, int, int, int, bool]] = []
        self._number = 0

    def run(self, requests: Sequence[Arrival]) -> Counts:
        """Process requests in the order of their times, and return what happened."""
        for each in requests:
            self._finish(each.time)
            self._request(each)
        return self.counts

    def _request(self, each: Arrival) -> None:
        place = (each.process, each.key)
        if each.time < self._fresh.get(place, 0.0):
            self.counts.hits += 1
        elif place in self._busy:
            self.counts.joined += 1
        elif not self._shares:
            self._ask(each)
        elif each.time < self._shared.get(each.key, 0.0):
            self.counts.shared += 1
            self._fresh[place] = self._shared[each.key]
        elif each.key in self._leases:
            self.counts.shared += 1
            self.counts.waited += 1
            self._end(self._poll(each.time, self._leases[each.key]), each, called=False)
        else:
            self._leases[each.key] = each.time + self._load.call
            self._ask(each)

    def _ask(self, each: Arrival) -> None:
        self.counts.questions += 1
        self._end(each.time + self._load.call, each, called=True)

    @staticmethod
    def _poll(since: float, until: float) -> float:
        """Return the time of the first look at the engine after a call has ended."""
        delay = FIRST_POLL
        while since <= until:
            since += delay
            delay = min(2 * delay, LAST_POLL)
        return since

    def _end(self, time: float, each: Arrival, *, called: bool) -> None:
        self._busy[each.process, each.key] = time
        self._number += 1
        heapq.heappush(self._ends, (time, self._number, each.process, each.key, called))

    def _finish(self, now: float) -> None:
        """Apply the results of the calls that ended before now."""
        while self._ends and self._ends[0][0] <= now:
            time, _, process, key, called = heapq.heappop(self._ends)
            del self._busy[process, key]
            if called:
                self._fresh[process, key] = time + self._load.ttl
                if self._shares:
                    # For the others, the decision lives from the beginning of the call.
                    self._shared[key] = self._leases.pop(key) - self._load.call + self._load.ttl
            else:
                self._fresh[process, key] = self._shared[key]
