"""The distribution of new connections among workers that accept from one listening socket.

The kernel wakes all workers for a new connection, and the first one to accept gets it.  A busy worker comes to that
later than an idle one.  In addition, each worker publishes its number of open connections in memory that all of them
share.  A worker that has more connections than another one leaves a new connection to the others for a moment.  Then it
accepts the connection itself, so a worker that does not respond delays clients, but never starves them.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable
from typing import Any, Final

from twisted.internet.interfaces import IListeningPort
from twisted.python.failure import Failure

from egress.transport.tcp_reactor import MAX_ACCEPTED

_ABSENT: Final = -1
_BYTES: Final = 8

# How long a worker leaves a new connection to the others, in seconds.  Even on a busy machine, an idle worker wakes up
# within this time.
LONGEST: Final = 0.03
SHORTEST: Final = 0.0005
# The delays after which it accepts more connections each time, and the number of delays up to the shortest one.
_WIDER: Final = 4
_MOST: Final = 10
# After this time without a delay, the other workers get the longest delay again.
_FORGOTTEN: Final = 1.0


def free_share(own: int, others: Iterable[int]) -> int:
    """Return the number of connections that a worker may accept without a delay.

    @param own: its number of connections.
    @param others: the number of connections of each other worker; negative for a worker that does not accept.
    """
    least = min((count for count in others if count >= 0), default=own + MAX_ACCEPTED)
    return min(max(least - own + 1, 0), MAX_ACCEPTED)


class ConnectionCounts:
    """The number of open client connections of each worker, and of all that it accepted, in memory that all processes
    share.

    Each worker writes only its own numbers.  Another worker may read old numbers, and then balances less well.

    @param descriptor: the memory.
    """

    def __init__(self, descriptor: int, workers: int) -> None:
        self.descriptor = descriptor
        numbers = memoryview(mmap.mmap(descriptor, 2 * workers * _BYTES)).cast("q")
        self._counts, self._accepted = numbers[:workers], numbers[workers:]

    @classmethod
    def of_new_memory(cls, workers: int) -> ConnectionCounts:
        """Make the memory.  No worker accepts connections yet."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("egress-connections")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, 2 * workers * _BYTES)
        made = cls(descriptor, workers)
        for worker in range(1, workers + 1):
            made.leave(worker)
        return made

    def __getitem__(self, worker: int) -> int:
        return self._counts[worker - 1]

    def leave(self, worker: int) -> None:
        """A worker accepts no more connections.

        @param worker: the number of a worker, from 1.
        """
        self._counts[worker - 1] = _ABSENT

    def join(self, worker: int) -> None:
        """A worker without connections starts to accept them."""
        if self[worker] == _ABSENT:
            self._counts[worker - 1] = 0

    def opened(self, worker: int) -> None:
        """Count a connection that a worker accepted."""
        self._accepted[worker - 1] += 1
        self._change(worker, 1)

    def closed(self, worker: int) -> None:
        """Count a connection that has closed."""
        self._change(worker, -1)

    def _change(self, worker: int, by: int) -> None:
        # A worker that no longer accepts still has connections.
        if self[worker] != _ABSENT:
            self._counts[worker - 1] += by

    def accepted_by_others(self, worker: int) -> int:
        """Return the number of connections that all other workers have accepted."""
        return sum(self._accepted.tolist()) - self._accepted[worker - 1]

    def share(self, worker: int) -> int:
        """Return the number of connections that a worker may accept without a delay."""
        counts = self._counts.tolist()
        return free_share(counts.pop(worker - 1), counts)

    def close(self) -> None:
        """Close the descriptor, if it is open; the memory remains."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class BalancedPort:
    """A port that accepts its share.

    @param clock: schedules the delay.
    @param port: a port of Twisted.
    @ivar unheeded: the number of successive delays in which no other worker accepted a connection.  It makes this
        worker accept more after a delay, and then shortens the delay.
    """

    def __init__(self, clock: Any, port: Any, counts: ConnectionCounts, worker: int) -> None:
        self.unheeded = 0
        self._last = 0.0
        self._clock = clock
        self._port = port
        self._counts = counts
        self._worker = worker
        self._accept = port.doRead
        port.doRead = self._readable
        port.transport = _counted(port.transport, counts, worker)

    def _readable(self) -> None:
        share = self._counts.share(self._worker)
        if share:
            self._take(share)
            return
        # While the port is not read, the waiting connection does not wake this worker again.
        self._port.stopReading()
        if self._clock.seconds() - self._last > _FORGOTTEN:
            self.unheeded = 0
        shorter = max(self.unheeded - _WIDER, 0)
        others = self._counts.accepted_by_others(self._worker)
        self._clock.callLater(max(LONGEST / 2**shorter, SHORTEST), self._waited, others)

    def _waited(self, others: int) -> None:
        self._last = self._clock.seconds()
        if self._port.disconnecting or not self._port.connected:
            return
        self._port.startReading()
        before = self._port.sessionno
        self._take(min(2**self.unheeded, MAX_ACCEPTED))
        if self._counts.accepted_by_others(self._worker) != others:
            self.unheeded = 0
        elif self._port.sessionno != before:
            self.unheeded = min(self.unheeded + 1, _MOST)

    def _take(self, number: int) -> None:
        self._port.numberAccepts = number
        self._accept()


def _counted(transport: Any, counts: ConnectionCounts, worker: int) -> Any:
    """Return a class of transports that count themselves."""

    class Counted(transport):  # type: ignore[misc]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            counts.opened(worker)

        def connectionLost(self, reason: Failure) -> None:
            # Twisted may call this twice; the first time, there is a socket.
            was_open = hasattr(self, "socket")
            super().connectionLost(reason)
            if was_open:
                counts.closed(worker)

    return Counted


class BalancedReactor:
    """A reactor whose adopted ports accept their share of the connections.

    @param reactor: the reactor.
    @param clock: schedules the delays.
    """

    def __init__(self, reactor: Any, clock: Any, counts: ConnectionCounts, worker: int) -> None:
        self._reactor = reactor
        self._clock = clock
        self._counts = counts
        self._worker = worker

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: object) -> IListeningPort:
        """See C{IReactorSocket}."""
        self._counts.join(self._worker)
        port: IListeningPort = self._reactor.adoptStreamPort(fileDescriptor, addressFamily, factory)
        BalancedPort(self._clock, port, self._counts, self._worker)
        return port
