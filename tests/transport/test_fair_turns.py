"""Tests for L{egress.transport.fair_turns}."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.transport.fair_turns import HEAD_READ, Pace, RoundRobin, read_little

STEP = 0.25


class RoundRobinTests(SynchronousTestCase):
    """The jobs of all clients run in rotation, for a limited time in each turn."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = RoundRobin(self.clock, time_slice=2 * STEP)
        self.done: list[str] = []

    def job(self, name: str) -> None:
        self.done.append(name)
        # Time advances within a turn, without a new turn.
        self.clock.rightNow += STEP

    def later(self, client: str, number: int) -> None:
        self.turns.later(client, lambda: self.job(f"{client}{number}"))

    def test_nothing_runs_in_the_same_turn(self) -> None:
        self.later("a", 1)
        self.assertEqual(self.done, [])
        self.clock.advance(0)
        self.assertEqual(self.done, ["a1"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_clients_take_turns(self) -> None:
        for number in range(3):
            self.later("a", number)
        self.later("b", 0)
        self.later("c", 0)
        for _ in range(5):
            self.clock.advance(0)
        self.assertEqual(self.done, ["a0", "b0", "c0", "a1", "a2"])

    def test_the_time_of_one_turn_is_bounded(self) -> None:
        for number in range(5):
            self.later("a", number)
        (call,) = self.clock.getDelayedCalls()
        run: Callable[[], None] = call.func  # type: ignore[attr-defined]
        call.cancel()
        run()
        self.assertEqual(self.done, ["a0", "a1"])

    def test_a_job_that_fails(self) -> None:
        def fail() -> None:
            raise ZeroDivisionError

        self.turns.later("a", fail)
        self.later("b", 0)
        self.clock.advance(0)
        self.assertEqual(self.done, ["b0"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class PaceTests(SynchronousTestCase):
    """A connection waits at most once."""

    def test_waiting(self) -> None:
        clock = Clock()
        ran: list[bool] = []
        pace = Pace(RoundRobin(clock), lambda: ran.append(pace.queued))
        pace.wait("a", None)
        pace.wait("a", None)
        self.assertTrue(pace.queued)
        clock.advance(0)
        self.assertEqual((ran, pace.queued), ([False], False))


class _Layer:
    def __init__(self, transport: object) -> None:
        self.transport = transport


class _Tcp:
    bufferSize = 4 * HEAD_READ


class ReadLittleTests(SynchronousTestCase):
    """The read size applies to the TCP transport below all layers."""

    def test_below_layers(self) -> None:
        tcp = _Tcp()
        read_little(_Layer(_Layer(tcp)))
        self.assertEqual(tcp.bufferSize, HEAD_READ)

    def test_no_size(self) -> None:
        transport = object()
        read_little(transport)
        self.assertFalse(hasattr(transport, "bufferSize"))
