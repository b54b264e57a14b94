"""Tests for L{egress.runtime.signals}."""

from __future__ import annotations

import builtins
import os
import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError
from egress.runtime import signals
from egress.runtime.signals import (
    StopSignals,
    end_when_interrupted,
    forwarded_signals,
    in_foreground,
    reload_and_log,
    reload_on_sighup,
)


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


class _StoppedReactor(_Reactor):
    """A reactor with signal handlers, which cannot be stopped twice."""

    stops = 0

    def sigInt(self, number: int, frame: object) -> None:
        self.callFromThread(self.stop)

    sigTerm = sigInt

    def stop(self) -> None:
        self.stops += 1

    def begin(self) -> None:
        """Start, after the handlers of the reactor are installed."""
        ((call, arguments, _),) = self.triggers["after"]["startup"]
        call(*arguments)

    def turn(self) -> None:
        calls, self.from_threads = self.from_threads, []
        for call in calls:
            call()


class StopSignalTests(SynchronousTestCase):
    """The first signal stops the reactor, and each later one ends the wait."""

    def setUp(self) -> None:
        self.reactor = reactor = _StoppedReactor()
        self.aborted: list[str] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.stops = StopSignals(reactor)
        signal.signal(signal.SIGINT, reactor.sigInt)
        signal.signal(signal.SIGTERM, reactor.sigTerm)

    def abort(self) -> None:
        self.aborted.append("aborted")

    def test_one_after_the_other(self) -> None:
        self.reactor.begin()
        signal.raise_signal(signal.SIGTERM)
        self.assertEqual(self.reactor.stops, 0)
        self.reactor.turn()
        self.stops.began(self.abort)
        self.assertEqual((self.reactor.stops, self.aborted), (1, []))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        self.assertEqual(self.aborted, [])
        self.reactor.turn()
        self.assertEqual((self.reactor.stops, self.aborted), (1, ["aborted"] * 2))

    def test_both_before_the_stop(self) -> None:
        self.reactor.begin()
        for number in (signal.SIGINT, signal.SIGINT):
            signal.raise_signal(number)
        self.reactor.turn()
        self.assertEqual((self.reactor.stops, self.aborted), (1, []), "there is no wait yet")
        self.stops.began(self.abort)
        self.assertEqual((self.reactor.stops, self.aborted), (1, ["aborted"]))

    def test_stopped_without_a_signal(self) -> None:
        self.reactor.begin()
        self.stops.began(self.abort)
        signal.raise_signal(signal.SIGINT)
        self.reactor.turn()
        self.assertEqual((self.reactor.stops, self.aborted), (0, ["aborted"]))

    def test_other_handlers_are_preserved(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.reactor.begin()
        self.assertIs(signal.getsignal(signal.SIGINT), signal.SIG_IGN)


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


class ForwardedSignalsTests(SynchronousTestCase):
    """Signals of this process reach a program."""

    def received(self, number: int, in_foreground: bool) -> list[int]:
        reactor = _Reactor()
        found: list[int] = []
        self.patch(signals, "in_foreground", lambda: in_foreground)
        before = signal.getsignal(number)
        with forwarded_signals(reactor, found.append):
            signal.raise_signal(number)
            self.assertEqual(found, [], "a signal may come in the middle of anything")
            for call in reactor.from_threads:
                call()
        self.assertIs(signal.getsignal(number), before)
        return found

    def test_forwarded(self) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT):
            self.assertEqual(self.received(number, False), [number])

    def test_in_the_foreground(self) -> None:
        """The terminal sends these signals to the program itself."""
        for number, expected in ((signal.SIGINT, []), (signal.SIGQUIT, []), (signal.SIGTERM, [signal.SIGTERM])):
            self.assertEqual(self.received(number, True), expected)

    def test_foreground(self) -> None:
        self.patch(os, "tcgetpgrp", lambda descriptor: os.getpgrp())
        self.patch(builtins, "open", lambda *_, **__: os.fdopen(os.open(os.devnull, os.O_RDONLY)))
        self.assertTrue(in_foreground())
        self.patch(os, "tcgetpgrp", lambda descriptor: os.getpgrp() + 1)
        self.assertFalse(in_foreground())

    def test_no_terminal(self) -> None:
        def no_terminal(*arguments: object, **more: object) -> None:
            raise OSError(6, "No such device or address")

        self.patch(builtins, "open", no_terminal)
        self.assertFalse(in_foreground())
