"""Tests for L{egress.workers.accept_balance}."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.transport.tcp_reactor import MAX_ACCEPTED
from egress.workers import accept_balance
from egress.workers.accept_balance import (
    LONGEST,
    MAX_DELAYS,
    POLL,
    BalancedPort,
    BalancedReactor,
    ConnectionCounts,
    free_share,
)


class FakeTransport:
    """An accepted connection."""

    def __init__(self, port: FakePort) -> None:
        self.port = port
        self.socket = "socket"

    def connectionLost(self, reason: Failure) -> None:
        """Twisted ignores a second call."""
        if hasattr(self, "socket"):
            del self.socket


class FakePort:
    """A port of Twisted, of one worker, on the socket that all share."""

    transport: Any = FakeTransport

    def __init__(self, socket: FakeSocket) -> None:
        self.socket = socket
        self.connected, self.disconnecting, self.reading = True, False, True
        self.sessionno = 0
        self.numberAccepts = 100
        self.open: list[Any] = []

    def startReading(self) -> None:
        self.reading = True

    def stopReading(self) -> None:
        self.reading = False

    def doRead(self) -> None:
        """Accept, as far as there are connections."""
        for _ in range(self.numberAccepts):
            if not self.socket.waiting:
                return
            self.socket.waiting -= 1
            self.sessionno += 1
            self.open.append(self.transport(self))


class FakeSocket:
    """A listening socket.

    @ivar waiting: the length of its backlog.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self.ports: list[FakePort] = []

    def turn(self, *workers: int) -> None:
        """Have these workers, from 1, react to the backlog, in this order."""
        for worker in workers:
            port = self.ports[worker - 1]
            if self.waiting and port.reading:
                port.doRead()

    def numbers(self) -> list[int]:
        return [len(port.open) for port in self.ports]


class ShareTests(SynchronousTestCase):
    """How many connections a worker accepts without a delay."""

    def test_shares(self) -> None:
        for own, others, expected in (
            (0, [0], 1),
            (1, [0], 0),
            (5, [7, 9], 3),
            (5, [7, 4], 0),
            (0, [100], MAX_ACCEPTED),
            # No other worker accepts.
            (100, [], MAX_ACCEPTED),
            (100, [-1], MAX_ACCEPTED),
            (3, [-1, 3], 1),
        ):
            with self.subTest(own=own, others=others):
                self.assertEqual(free_share(own, others), expected)


class CountsTests(SynchronousTestCase):
    """The shared memory."""

    def make(self, workers: int = 2) -> ConnectionCounts:
        made = ConnectionCounts.of_new_memory(workers)
        self.addCleanup(made.close)
        return made

    def test_two_processes(self) -> None:
        counts = self.make()
        inherited = os.dup(counts.descriptor)
        self.addCleanup(os.close, inherited)
        others = ConnectionCounts(inherited, 2)
        counts.join(1)
        others.join(2)
        counts.opened(1)
        counts.opened(1)
        self.assertEqual((others[1], others[2], others.share(2), counts.share(1)), (2, 0, 3, 0))
        counts.closed(1)
        self.assertEqual(others[1], 1)

    def test_absent(self) -> None:
        """A worker that does not accept has no count, and a worker joins once."""
        counts = self.make()
        counts.opened(1)
        self.assertEqual(counts[1], -1)
        counts.join(1)
        counts.opened(1)
        counts.join(1)
        self.assertEqual(counts[1], 1)
        counts.leave(1)
        counts.closed(1)
        self.assertEqual(counts[1], -1)

    def test_without_memfd(self) -> None:
        without = SimpleNamespace(dup=os.dup, ftruncate=os.ftruncate, close=os.close)
        self.patch(accept_balance, "os", without)
        counts = self.make(3)
        counts.join(3)
        self.assertEqual([counts[worker] for worker in (1, 2, 3)], [-1, -1, 0])

    def test_closed_once(self) -> None:
        counts = self.make()
        counts.close()
        self.assertEqual(counts.descriptor, -1)
        counts.close()
        counts.join(1)
        self.assertEqual(counts[1], 0)


class BalanceTests(SynchronousTestCase):
    """Two workers on one socket."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.counts = ConnectionCounts.of_new_memory(2)
        self.addCleanup(self.counts.close)
        self.socket = FakeSocket()
        self.balanced = [self.worker(number) for number in (1, 2)]

    def worker(self, number: int) -> BalancedPort:
        port = FakePort(self.socket)
        self.socket.ports.append(port)
        self.counts.join(number)
        return BalancedPort(self.clock, port, self.counts, number)

    def connect(self, number: int, *workers: int) -> None:
        """New connections, to which these workers react, in this order."""
        self.socket.waiting += number
        self.socket.turn(*workers)

    def test_one_at_a_time(self) -> None:
        """Eight clients, for which the same worker always comes first."""
        for _ in range(8):
            self.connect(1, 1, 2)
            self.clock.advance(LONGEST)
        self.assertEqual((self.socket.numbers(), self.socket.waiting), ([4, 4], 0))

    def test_a_burst(self) -> None:
        self.connect(8, *[1, 2] * 4)
        self.assertEqual((self.socket.numbers(), self.socket.waiting), ([4, 4], 0))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in which the first worker reacts to the backlog."""
        for _ in range(round(seconds / POLL)):
            self.socket.turn(1)
            self.clock.advance(POLL)

    def test_a_busy_worker(self) -> None:
        """The other one accepts one connection after each delay: no connection is refused or starves."""
        self.connect(4, 1)
        found = [self.socket.numbers()]
        for _ in range(3):
            self.pass_time(LONGEST + POLL)
            found.append(self.socket.numbers())
        self.assertEqual(found, [[1, 0], [2, 0], [3, 0], [4, 0]])

    def test_a_worker_that_hangs(self) -> None:
        """The other one waits a limited number of times in a second."""
        self.connect(100, 1)
        self.pass_time((MAX_DELAYS + 2) * LONGEST)
        self.assertEqual((self.socket.numbers(), self.socket.waiting), ([100, 0], 0))
        self.pass_time(1)
        self.connect(1, 1)
        self.assertEqual(self.socket.waiting, 1)

    def test_many_connections(self) -> None:
        """A difference of an eighth does not matter."""
        for _ in range(16):
            self.counts.opened(2)
        for _ in range(18):
            self.counts.opened(1)
        self.connect(1, 1)
        self.assertEqual(self.socket.numbers(), [1, 0])
        self.connect(1, 1)
        self.assertEqual(self.socket.numbers(), [1, 0])

    def test_the_others_catch_up(self) -> None:
        """Then the delay ends early, and so does the one of a worker whose connections close."""
        for change in (lambda: self.counts.opened(2), lambda: self.counts.closed(1)):
            self.setUp()
            self.connect(2, 1, 1)
            self.assertEqual((self.socket.numbers(), self.socket.ports[0].reading), ([1, 0], False))
            change()
            self.clock.advance(POLL)
            self.assertEqual((self.socket.numbers(), self.socket.ports[0].reading), ([2, 0], True))

    def test_closed_connections(self) -> None:
        """They count no more, and only once."""
        self.connect(2, 1, 2)
        gone = self.socket.ports[0].open.pop()
        gone.connectionLost(Failure(ConnectionDone()))
        gone.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.counts[1], self.counts[2]), (0, 1))
        self.connect(2, 2, 1)
        self.assertEqual(self.socket.numbers(), [2, 1])

    def test_a_worker_that_died(self) -> None:
        self.connect(2, 1, 2)
        self.counts.leave(2)
        self.connect(20, 1)
        self.assertEqual(self.socket.numbers(), [1 + MAX_ACCEPTED, 1])

    def test_a_port_that_closes_in_the_delay(self) -> None:
        for name, value in (("disconnecting", True), ("connected", False)):
            with self.subTest(name):
                self.setUp()
                port = self.socket.ports[0]
                self.connect(2, 1, 1)
                setattr(port, name, value)
                self.clock.advance(LONGEST)
                self.assertEqual((port.reading, self.socket.waiting), (False, 1))


class ReactorTests(SynchronousTestCase):
    """The reactor of the endpoints."""

    def test_adopt(self) -> None:
        counts, socket = ConnectionCounts.of_new_memory(2), FakeSocket()
        self.addCleanup(counts.close)
        adopted: list[tuple[object, ...]] = []

        class Adopting:
            def adoptStreamPort(self, *arguments: object) -> FakePort:
                adopted.append(arguments)
                return FakePort(socket)

        port: Any = BalancedReactor(Adopting(), Clock(), counts, 2).adoptStreamPort(5, 2, "factory")
        self.assertEqual((adopted, counts[2]), ([(5, 2, "factory")], 0))
        socket.waiting = 1
        port.doRead()
        self.assertEqual(counts[2], 1)
