"""Tests for L{egress.runtime.interrupt}."""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from egress.runtime.interrupt import end_when_interrupted


class _Reactor(MemoryReactorClock):
    def sigInt(self, number: int, frame: object) -> None:
        """As the reactor's own."""


class InterruptTests(SynchronousTestCase):
    """SIGINT ends the process until the reactor takes care of it."""

    def setUp(self) -> None:
        self.reactor = _Reactor()
        self.done: list[Any] = []
        self.handler: Any = signal.default_int_handler
        self.patch(signal, "getsignal", lambda number: self.handler)
        self.patch(signal, "signal", self.install)
        self.patch(signal, "raise_signal", lambda number: self.done.append(("raise", number)))
        self.patch(os, "_exit", lambda status: self.done.append(("exit", status)))
        end_when_interrupted(self.reactor, lambda: self.done.append("tidy"))

    def install(self, number: int, handler: Any) -> None:
        self.assertEqual(number, signal.SIGINT)
        self.handler = handler

    def test_it_ends_by_the_signal(self) -> None:
        self.handler(signal.SIGINT, None)
        self.assertEqual(self.done[:2], ["tidy", ("raise", signal.SIGINT)])
        self.assertEqual(self.handler, signal.SIG_DFL)
        # Where the signal does nothing.
        self.assertEqual(self.done[2:], [("exit", 130)])

    def start(self) -> None:
        ((call, arguments, _),) = self.reactor.triggers["after"]["startup"]
        call(*arguments)

    def test_the_reactor_takes_over(self) -> None:
        self.start()
        self.assertEqual(self.handler, self.reactor.sigInt)

    def test_whoever_has_taken_over_stays(self) -> None:
        self.handler = print
        self.start()
        self.assertIs(self.handler, print)

    def test_what_others_made_of_it_stays(self) -> None:
        reactor = MemoryReactorClock()
        for handler in (signal.SIG_IGN, print, None):
            with self.subTest(handler=handler):
                self.handler = handler
                end_when_interrupted(reactor, self.fail)
                self.assertIs(self.handler, handler)
        self.assertEqual(reactor.triggers, {})
