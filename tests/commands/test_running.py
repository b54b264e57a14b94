"""Tests for L{egress.commands.running}."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from egress.commands.running import run


class Reactor:
    """A reactor that turns once, and is then interrupted, unless it was stopped."""

    def __init__(self) -> None:
        self.running = False
        self.calls: list[Callable[[], None]] = []
        self.triggers: list[Callable[[], object]] = []

    def callWhenRunning(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def addSystemEventTrigger(self, phase: str, event: str, call: Callable[[], object]) -> Callable[[], object]:
        self.triggers.append(call)
        return call

    def removeSystemEventTrigger(self, trigger: Callable[[], object]) -> None:
        self.triggers.remove(trigger)

    def stop(self) -> None:
        self.running = False

    def run(self) -> None:
        self.running = True
        for call in self.calls:
            call()
        self.running = False
        for trigger in list(self.triggers):
            trigger()


class RunTests(SynchronousTestCase):
    """One result, and the end."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.patch(sys.modules["twisted.internet"], "reactor", self.reactor)

    def test_result(self) -> None:
        self.assertEqual(run(lambda reactor: succeed((reactor, 1))), (self.reactor, 1))
        self.assertEqual(self.reactor.triggers, [])

    def test_failure(self) -> None:
        self.assertRaises(ZeroDivisionError, run, lambda reactor: fail(ZeroDivisionError()))
        self.assertRaises(TypeError, run, lambda: None)

    def test_interrupted(self) -> None:
        """What is under way is given up."""
        waiting: Deferred[Any] = Deferred()
        self.assertRaises(KeyboardInterrupt, run, lambda reactor: waiting)
        self.assertTrue(waiting.called)
