"""Work that continues in a later turn of the reactor, shared fairly among the clients.

A connection does a bounded amount of work in one turn.  What remains of its input waits here.  Each turn then takes
jobs of all clients in rotation until its time is used up, so that the number of connections with remaining work does
not delay a connection that has just received its first request.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from egress.config.model import KIB

# The time that all jobs together may use in one turn of the reactor, in seconds.
SLICE: Final = 0.001
# The size of a read while request heads are expected, in bytes.  What is read and not yet parsed stays in memory.
HEAD_READ: Final = 16 * KIB

# How many pieces of content are taken in one turn: a piece is everything that was read of a content with a length, or a
# bounded number of chunks.
PIECES: Final = 2

Job = Callable[[], object]

_log = Logger()


class RoundRobin:
    """Runs jobs in later turns of the reactor: one job of each client in rotation.

    A connection has at most one job here at a time, so the number of jobs is bounded by the number of connections.

    @param clock: the reactor.
    @param time_slice: seconds that jobs may use in one turn.  The job that exceeds them is finished.
    """

    def __init__(self, clock: IReactorTime, time_slice: float = SLICE) -> None:
        self._clock = clock
        self._time_slice = time_slice
        self._waiting: OrderedDict[Hashable, deque[Job]] = OrderedDict()
        self._scheduled = False

    def later(self, client: Hashable, job: Job) -> None:
        """Run a job in a later turn.

        @param client: what the jobs of one client have in common: as per-client limits count it
            (L{egress.model.limit_key}), and not a name or a port, which a client can change at will.
        """
        jobs = self._waiting.get(client)
        if jobs is None:
            jobs = self._waiting[client] = deque()
        jobs.append(job)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._run)

    def _run(self) -> None:
        self._scheduled = False
        seconds = self._clock.seconds
        end = seconds() + self._time_slice
        while self._waiting:
            client, jobs = self._waiting.popitem(last=False)
            job = jobs.popleft()
            if jobs:
                self._waiting[client] = jobs
            try:
                job()
            except Exception:  # noqa: BLE001 - a job of one connection must not stop those of the others
                _log.failure("work that was left for a later turn failed")
            if seconds() >= end and self._waiting:
                self._schedule()
                return


class Pace:
    """The work that one connection leaves for a later turn of the reactor.

    @param turns: the jobs of all connections.
    @param go_on: continues with the work; C{queued} is false by then.
    @ivar queued: whether the connection waits for its next turn.
    """

    __slots__ = ("_go_on", "_turns", "queued")

    def __init__(self, turns: RoundRobin, go_on: Job) -> None:
        self.queued = False
        self._turns = turns
        self._go_on = go_on

    def wait(self, client: Hashable, transport: object) -> None:
        """Continue in a later turn.

        @param client: see L{RoundRobin.later}.
        @param transport: has more than can be taken now, so it reads little at a time.
        """
        if not self.queued:
            self.queued = True
            read_little(transport)
            self._turns.later(client, self._take_turn)

    def _take_turn(self) -> None:
        self.queued = False
        self._go_on()


def read_little(transport: object) -> None:
    """Have the TCP transport below all layers read a little at a time again, until it carries content in bulk.

    See L{egress.transport.write_through} for how the size grows.
    """
    below = getattr(transport, "transport", None)
    while below is not None:
        transport, below = below, getattr(below, "transport", None)
    if getattr(transport, "bufferSize", 0) > HEAD_READ:
        transport.bufferSize = HEAD_READ  # type: ignore[attr-defined]
