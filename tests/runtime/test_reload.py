"""Tests for L{egress.runtime.reload}."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError
from egress.runtime.reload import Reloader


class ReloaderTests(SynchronousTestCase):
    """Reloads run one after the other, and each reads the latest content."""

    def setUp(self) -> None:
        self.file = "first"
        self.threads: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self.used: list[str] = []
        self.turns = DeferredLock()
        self.reading = self.make("")

    def make(self, label: str) -> Reloader[str]:
        return Reloader(self.turns, self.in_thread, self.read, lambda found: self.used.append(label + found))

    def read(self) -> str:
        if self.file == "garbage":
            raise ConfigError("--policy", "", "write it anew")
        return self.file

    def in_thread(self, call: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.threads.append((call, done))
        return done

    def finish(self) -> None:
        """Complete the read in the thread, and process its result."""
        ((call, done),) = self.threads
        self.threads.clear()
        try:
            found = call()
        except ConfigError as error:
            done.errback(error)
        else:
            done.callback(found)

    def test_used_when_complete(self) -> None:
        done = self.reading.begin()
        self.assertEqual(self.used, [])
        self.assertNoResult(done)
        self.finish()
        self.assertEqual(self.used, ["first"])
        self.assertIsNone(self.successResultOf(done))

    def test_invalid_content(self) -> None:
        """It is not used, and the next reload runs normally."""
        self.file = "garbage"
        done = self.reading.begin()
        self.finish()
        self.failureResultOf(done, ConfigError)
        self.file = "second"
        done = self.reading.begin()
        self.finish()
        self.successResultOf(done)
        self.assertEqual(self.used, ["second"])

    def test_one_at_a_time(self) -> None:
        """A request during a read starts another read: the file may have changed after the first read began."""
        other = self.make("other ")
        done = [self.reading.begin()]
        done += [self.reading.begin(), other.begin(), self.reading.begin(), other.begin()]
        self.finish()
        self.assertIsNone(self.successResultOf(done[0]))
        for one in done[1:]:
            self.assertNoResult(one)
        self.file = "second"
        self.finish()
        self.file = "third"
        self.finish()
        self.assertEqual(self.threads, [], "those that wait for the same share it")
        self.assertEqual(self.used, ["first", "second", "other third"])
        for one in done[1:]:
            self.assertIsNone(self.successResultOf(one))

    def test_shared_failure(self) -> None:
        first, *others = [self.reading.begin() for _ in range(3)]
        self.finish()
        self.successResultOf(first)
        self.file = "garbage"
        self.finish()
        for one in others:
            self.failureResultOf(one, ConfigError)

    def test_unexpected_errors(self) -> None:
        """Neither an error of the thread nor one of the use blocks further reloads."""

        def broken(_: object) -> Any:
            raise RuntimeError("no")

        for reading in (
            Reloader(self.turns, broken, self.read, self.used.append),
            Reloader(self.turns, self.in_thread, self.read, broken),
        ):
            done = reading.begin()
            if self.threads:
                self.finish()
            self.failureResultOf(done, RuntimeError)
        self.reading.begin()
        self.finish()
        self.assertEqual(self.used, ["first"])
