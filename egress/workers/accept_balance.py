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
# How often a worker that waits looks whether it may accept again.
POLL: Final = 0.001
# The number of delays in a second.  With many new connections, they are balanced anyway, and delays cost more than they
# gain.  If a worker does not respond, the others soon accept without a delay.
MAX_DELAYS: Final = 8


def free_share(own: int, others: Iterable[int]) -> int:
    """Return the number of connections that a worker may accept without a delay.

    @param own: its number of connections.
    @param others: the number of connections of each other worker; negative for a worker that does not accept.
    """
    least = min((count for count in others if count >= 0), default=own + MAX_ACCEPTED)
    # With many connections, a small difference does not matter.
    return min(max(least + least // 8 - own + 1, 0), MAX_ACCEPTED)


class ConnectionCounts:
    """The number of open client connections of each worker, in memory that all processes share.

    Each worker writes only its own number.  Another worker may read an old number, and then balances less well.

    @param descriptor: the memory.
    """

    def __init__(self, descriptor: int, workers: int) -> None:
        self.descriptor = descriptor
        self._counts = memoryview(mmap.mmap(descriptor, workers * _BYTES)).cast("q")

    @classmethod
    def of_new_memory(cls, workers: int) -> ConnectionCounts:
        """Make the memory.  No worker accepts connections yet."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("egress-connections")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, workers * _BYTES)
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
        self._change(worker, 1)

    def closed(self, worker: int) -> None:
        """Count a connection that has closed."""
        self._change(worker, -1)

    def _change(self, worker: int, by: int) -> None:
        # A worker that no longer accepts still has connections.
        if self[worker] != _ABSENT:
            self._counts[worker - 1] += by

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
    """

    def __init__(self, clock: Any, port: Any, counts: ConnectionCounts, worker: int) -> None:
        self._second = self._until = 0.0
        self._delays = 0
        self._clock = clock
        self._port = port
        self._counts = counts
        self._worker = worker
        self._accept = port.doRead
        port.doRead = self._readable
        port.transport = _counted(port.transport, counts, worker)

    def _readable(self) -> None:
        share = self._counts.share(self._worker)
        if share or not self._may_wait():
            self._take(share or MAX_ACCEPTED)
            return
        # While the port is not read, the waiting connection does not wake this worker again.
        self._port.stopReading()
        self._until = self._clock.seconds() + LONGEST
        self._clock.callLater(POLL, self._waited)

    def _may_wait(self) -> bool:
        now = self._clock.seconds()
        if now - self._second >= 1:
            self._second, self._delays = now, 0
        self._delays += 1
        return self._delays <= MAX_DELAYS

    def _waited(self) -> None:
        if self._port.disconnecting or not self._port.connected:
            return
        share = self._counts.share(self._worker)
        if not share and self._clock.seconds() < self._until:
            self._clock.callLater(POLL, self._waited)
            return
        self._port.startReading()
        self._take(share or 1)

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
