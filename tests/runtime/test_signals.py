"""Tests for L{egress.runtime.signals}."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError
from egress.runtime.signals import end_when_interrupted, reload_and_log, reload_on_sighup


class _Reactor(MemoryReactorClock):
    def __init__(self) -> None:
        super().__init__()
        self.from_threads: list[Callable[[], object]] = []

    def callFromThread(self, call: Callable[..., object], *arguments: object) -> None:
        self.from_threads.append(lambda: call(*arguments))


class HangupTests(SynchronousTestCase):
    """SIGHUP reloads files, in the reactor's thread."""

    def test_signal(self) -> None:
        reactor = _Reactor()
        done: list[str] = []
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        reload_on_sighup(reactor, lambda: succeed(done.append("read")))  # type: ignore[func-returns-value]
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual(done, [], "a signal may come in the middle of anything")
        for call in reactor.from_threads:
            call()
        self.assertEqual(done, ["read"])


class ReadAnewTests(SynchronousTestCase):
    """An error is logged, and changes nothing."""

    def logged(self, reload: Callable[[], Deferred[None]]) -> tuple[bool, LogLevel, str]:
        with capturedLogs() as events:
            result = self.successResultOf(reload_and_log(reload))
        (event,) = events
        return result, event["log_level"], event["log_format"].format(**event)

    def test_read(self) -> None:
        reading: Deferred[None] = Deferred()
        with capturedLogs() as events:
            result = reload_and_log(lambda: reading)
            self.assertEqual(events, [], "it is not done yet")
            reading.callback(None)
        self.assertTrue(self.successResultOf(result))
        self.assertEqual([event["log_level"] for event in events], [LogLevel.info])

    def test_unexpected_error(self) -> None:
        self.assertEqual(self.logged(lambda: fail(RuntimeError("what")))[:2], (False, LogLevel.critical))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_rejected(self) -> None:
        self.assertEqual(
            self.logged(lambda: fail(ConfigError("--policy", "", "there is nothing in it"))),
            (
                False,
                LogLevel.error,
                "configuration reload failed, keeping the previous configuration: --policy: there is nothing in it",
            ),
        )

    def test_stopped_meanwhile(self) -> None:
        result, level, text = self.logged(lambda: fail(CancelledError()))
        self.assertEqual((result, level), (False, LogLevel.info))
        self.assertIn("is stopping", text)


class _InterruptedReactor(MemoryReactorClock):
    def sigInt(self, number: int, frame: object) -> None:
        """Act as the reactor's own handler."""


class InterruptTests(SynchronousTestCase):
    """SIGINT ends the process until the reactor handles it."""

    def setUp(self) -> None:
        self.reactor = _InterruptedReactor()
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

    def test_process_ends_by_the_signal(self) -> None:
        self.handler(signal.SIGINT, None)
        self.assertEqual(self.done[:2], ["tidy", ("raise", signal.SIGINT)])
        self.assertEqual(self.handler, signal.SIG_DFL)
        # The signal has no effect here.
        self.assertEqual(self.done[2:], [("exit", 130)])

    def start(self) -> None:
        ((call, arguments, _),) = self.reactor.triggers["after"]["startup"]
        call(*arguments)

    def test_reactor_takes_over(self) -> None:
        self.start()
        self.assertEqual(self.handler, self.reactor.sigInt)

    def test_later_handler_is_preserved(self) -> None:
        self.handler = print
        self.start()
        self.assertIs(self.handler, print)

    def test_existing_handler_is_preserved(self) -> None:
        reactor = MemoryReactorClock()
        for handler in (signal.SIG_IGN, print, None):
            with self.subTest(handler=handler):
                self.handler = handler
                end_when_interrupted(reactor, self.fail)
                self.assertIs(self.handler, handler)
        self.assertEqual(reactor.triggers, {})
