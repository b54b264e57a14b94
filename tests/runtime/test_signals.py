"""Tests for L{egress.runtime.signals}."""

from __future__ import annotations

import signal
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError
from egress.runtime.signals import read_anew, reload_at_hangup


class _Reactor(MemoryReactorClock):
    def __init__(self) -> None:
        super().__init__()
        self.from_threads: list[Callable[[], object]] = []

    def callFromThread(self, call: Callable[..., object], *arguments: object) -> None:
        self.from_threads.append(lambda: call(*arguments))


class HangupTests(SynchronousTestCase):
    """SIGHUP has files read anew, in the reactor's own time."""

    def test_signal(self) -> None:
        reactor = _Reactor()
        done: list[str] = []
        reload_at_hangup(reactor, lambda: succeed(done.append("read")))  # type: ignore[func-returns-value]
        ((install, arguments, _),) = reactor.triggers["before"]["startup"]
        self.assertEqual((install, arguments[0]), (signal.signal, signal.SIGHUP))
        arguments[1](signal.SIGHUP, None)
        self.assertEqual(done, [], "a signal may come in the middle of anything")
        for call in reactor.from_threads:
            call()
        self.assertEqual(done, ["read"])


class ReadAnewTests(SynchronousTestCase):
    """What is wrong is said, and changes nothing."""

    def logged(self, reload: Callable[[], Deferred[None]]) -> tuple[bool, LogLevel, str]:
        with capturedLogs() as events:
            result = self.successResultOf(read_anew(reload))
        (event,) = events
        return result, event["log_level"], event["log_format"].format(**event)

    def test_read(self) -> None:
        reading: Deferred[None] = Deferred()
        with capturedLogs() as events:
            result = read_anew(lambda: reading)
            self.assertEqual(events, [], "it is not done yet")
            reading.callback(None)
        self.assertTrue(self.successResultOf(result))
        self.assertEqual([event["log_level"] for event in events], [LogLevel.info])

    def test_defect(self) -> None:
        self.assertEqual(self.logged(lambda: fail(RuntimeError("what")))[:2], (False, LogLevel.critical))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_refused(self) -> None:
        self.assertEqual(
            self.logged(lambda: fail(ConfigError("--policy", "", "there is nothing in it"))),
            (
                False,
                LogLevel.error,
                "the files of the configuration cannot be used, all remains as it was: "
                "--policy: there is nothing in it",
            ),
        )

    def test_stopped_meanwhile(self) -> None:
        result, level, text = self.logged(lambda: fail(CancelledError()))
        self.assertEqual((result, level), (False, LogLevel.info))
        self.assertIn("being stopped", text)
