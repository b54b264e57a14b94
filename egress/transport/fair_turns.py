"""The scheduler of deferred work, which shares the turns of the reactor fairly among the clients.

A connection does a bounded amount of work in one turn. The rest of its input waits here. Each turn runs jobs of all
clients in rotation until its time is used up.  Thus connections with remaining work do not delay a connection that has
just received its first request.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from egress.config.model import KIB
from egress.transport.idle_buffers import IdleBuffers
from egress.transport.write_batch import WriteBatch

# The time that all jobs together may use in one turn of the reactor, in seconds.
SLICE: Final = 0.001
# The size of a read while request heads are expected, in bytes. Data that is read and not parsed stays in memory.
HEAD_READ: Final = 16 * KIB

# The number of pieces of content that are processed in one turn: a piece is one read of content with a length, or a
# bounded number of chunks.
PIECES: Final = 2

Job = Callable[[], object]

_log = Logger()


class RoundRobin:
    """Runs jobs in later turns of the reactor: one job of each client in rotation.

    A connection has at most one job here at a time, so the number of connections limits the number of jobs.

    @param clock: the reactor.
    @param time_slice: seconds that jobs may use in one turn. The job that exceeds them is finished.
    @ivar writes: the writes that wait until one connection has processed its input.
    @ivar buffers: the buffers of TLS sessions, which are freed some time after their last use.
    """

    def __init__(self, clock: IReactorTime, time_slice: float = SLICE) -> None:
        self.writes = WriteBatch()
        self.buffers = IdleBuffers(clock.seconds)
        self._clock = clock
        self._time_slice = time_slice
        self._waiting: OrderedDict[Hashable, deque[Job]] = OrderedDict()
        self._scheduled = False

    def later(self, client: Hashable, job: Job) -> None:
        """Run a job in a later turn.

        @param client: the client's key for per-client limits (L{egress.model.limit_key}), and not a name or a port,
            which a client can change at will.
        @param job: the job.
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
                _log.failure("postponed work failed")
            if seconds() >= end and self._waiting:
                self._schedule()
                return


class Pace:
    """The work that one connection defers to a later turn of the reactor.

    @param turns: the scheduler of all connections.
    @param resume: continues the work; C{queued} is false by then.
    @ivar queued: whether the connection waits for its next turn.
    """

    __slots__ = ("_resume", "_turns", "queued")

    def __init__(self, turns: RoundRobin, resume: Job) -> None:
        self.queued = False
        self._turns = turns
        self._resume = resume

    def wait(self, client: Hashable, transport: object) -> None:
        """Continue in a later turn.

        @param client: see L{RoundRobin.later}.
        @param transport: the transport; its reads become small, because it already has more data than can be processed
            now.
        """
        if not self.queued:
            self.queued = True
            read_little(transport)
            self._turns.later(client, self._take_turn)

    def _take_turn(self) -> None:
        self.queued = False
        self._resume()


def read_little(transport: object) -> None:
    """Set the TCP transport below all layers to small reads, until it carries content in bulk.

    See L{egress.transport.write_through} for the growth of the size.
    """
    below = getattr(transport, "transport", None)
    while below is not None:
        transport, below = below, getattr(below, "transport", None)
    if getattr(transport, "bufferSize", 0) > HEAD_READ:
        transport.bufferSize = HEAD_READ  # type: ignore[attr-defined]
